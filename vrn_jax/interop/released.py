"""The released network as its files nest it: ``nn.Sequential``, ``nn.ConcatTable`` and the rest.

Torch7's module tree and the PyTorch port that was translated from it agree: the port's keys are the
positions in the tree, "7.1.0.0.3.0.0..." for the second element of the eighth module's first and so
on, and registration order is forward order (of a ConcatTable's branches, the first one first). This
module builds that tree for any `ModelConfig`, with our name of the layer at each leaf, so it is at
the same time the one table between our names and theirs.

Nobody has released a multitask network: how its fork is nested here (two branches in a last
ConcatTable: the last stack and the volume; the third stack and the landmarks) is our choice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vrn_jax.config import ModelConfig
from vrn_jax.models.hourglass import BLOCKS, LEVELS

__all__ = ["KeyStyle", "Module", "released_graph", "torch_keys", "walk"]

KeyStyle = Literal["nested", "named"]
"""Keys of a state dict: positions, as the public port has them ("7.1.0.0.3.0.0.weight"), or the
names of layers, as one would write the network today ("stack0.hourglass.skip0.conv0.weight")."""

Kind = Literal[
    "Sequential", "ConcatTable", "CAddTable", "Identity", "Convolution", "BatchNorm", "ReLU",
    "MaxPool", "UpsampleNearest", "UpsampleBilinear", "Sigmoid",
]  # fmt: skip

_SUFFIXES = {
    "Convolution": {"kernel": "weight", "bias": "bias"},
    "BatchNorm": {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
}


@dataclass(frozen=True)
class Module:
    """A module of the tree. `layer` is our name of it where it has tensors."""

    kind: Kind
    children: tuple["Module", ...] = ()
    layer: str = ""


def released_graph(config: ModelConfig) -> Module:
    """The tree of the network that `config` says; that of the release for the default."""
    stem = (
        _conv("stem.conv"),
        *_norm_relu("stem.bn"),
        _residual("stem.res0", projects=True),
        Module("MaxPool"),
        _residual("stem.res1"),
        _residual("stem.res2", projects=config.features != 128),
    )
    if config.task != "multitask":
        stacks = [module for s in range(config.stacks) for module in _stack(f"stack{s}")]
        return _sequential(*stem, *stacks, _concat(_tail("head")))
    common = [module for s in range(config.stacks - 1) for module in _stack(f"stack{s}")]
    volume = _sequential(*_stack(f"stack{config.stacks - 1}"), _tail("head"))
    landmarks = _sequential(*_stack("landmark_stack"), _tail("landmark_head"))
    return _sequential(*stem, *common, _concat(volume, landmarks))


def torch_keys(config: ModelConfig, style: KeyStyle) -> dict[str, str]:
    """Our name of every tensor -> its key in a PyTorch state dict, in the order of that."""
    return {
        f"{module.layer}.{ours}": f"{path if style == 'nested' else module.layer}.{theirs}"
        for path, module in walk(released_graph(config))
        for ours, theirs in _SUFFIXES.get(module.kind, {}).items()
    }


def walk(module: Module, path: str = "") -> Iterator[tuple[str, Module]]:
    """All modules with their positions, each before its children."""
    yield path, module
    for i, child in enumerate(module.children):
        yield from walk(child, f"{path}.{i}" if path else str(i))


def _sequential(*children: Module) -> Module:
    return Module("Sequential", children)


def _concat(*children: Module) -> Module:
    return Module("ConcatTable", children)


def _conv(layer: str) -> Module:
    return Module("Convolution", layer=layer)


def _norm_relu(layer: str) -> tuple[Module, Module]:
    return Module("BatchNorm", layer=layer), Module("ReLU")


def _residual(name: str, projects: bool = False) -> Module:
    body = [m for i in range(3) for m in (*_norm_relu(f"{name}.bn{i}"), _conv(f"{name}.conv{i}"))]
    skip = _sequential(_conv(f"{name}.project")) if projects else Module("Identity")
    return _sequential(_concat(_sequential(*body), skip), Module("CAddTable"))


def _stack(name: str) -> tuple[Module, Module]:
    tail = (_sequential(_conv(f"{name}.conv{i}"), *_norm_relu(f"{name}.bn{i}")) for i in range(2))
    body = _sequential(*_hourglass(f"{name}.hourglass", LEVELS), *tail)
    return _concat(Module("Identity"), body), Module("CAddTable")


def _hourglass(name: str, levels: int) -> tuple[Module, Module, Module]:
    unpooled = [_residual(f"{name}.skip{i}") for i in range(BLOCKS["skip"])]
    pooled = BLOCKS["pooled"]
    if levels > 1:
        unpooled.append(_sequential(*_hourglass(f"{name}.inner", levels - 1)))
    else:
        pooled += BLOCKS["pooled_last"]
    branch = [_residual(f"{name}.pooled{i}") for i in range(pooled)]
    return (
        _concat(
            _sequential(*unpooled),
            _sequential(Module("MaxPool"), *branch, Module("UpsampleNearest")),
        ),
        Module("CAddTable"),
        _residual(f"{name}.merge"),
    )


def _tail(name: str) -> Module:
    return _sequential(
        _sequential(_conv(f"{name}.conv"), *_norm_relu(f"{name}.bn")),
        _conv(f"{name}.out"),
        Module("UpsampleBilinear"),
        Module("Sigmoid"),
    )
