"""Our parameter tree <-> one named tensor a layer.

The network stacks the weights of equal blocks along leading axes so that each family compiles once
(`models.layers`). Files and foreign frameworks name every block by itself; this module is the one
place that knows both:

    stem.conv.kernel                          stem.res0.conv1.bias
    stack0.hourglass.skip0.bn0.scale          the outermost level of the first hourglass
    stack0.hourglass.inner.inner.pooled5...   two levels further in
    stack1.conv0.kernel                       head.out.bias

Kernels are HWIO. "scale", "bias", "mean" and "var" are those of batch normalisation.
"""

import functools
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vrn_jax.config import ModelConfig
from vrn_jax.errors import WeightsError
from vrn_jax.models.hourglass import BLOCKS, LEVELS
from vrn_jax.models.vrn import VRN, input_channels

__all__ = ["check_tensors", "layer_shapes", "layer_tensors", "variables_from_layers"]

Path = tuple[str, ...]
Shape = tuple[int, ...]


def _skip(i: int) -> str:
    level, block = divmod(i, BLOCKS["skip"])
    return f"{'inner.' * level}skip{block}"


def _pooled(i: int) -> str:
    level = min(i // BLOCKS["pooled"], LEVELS - 1)  # the innermost one has more
    return f"{'inner.' * level}pooled{i - level * BLOCKS['pooled']}"


_FAMILIES: dict[str, tuple[int, Callable[[int], str]]] = {
    "skip": (LEVELS * BLOCKS["skip"], _skip),
    "pooled": (LEVELS * BLOCKS["pooled"] + BLOCKS["pooled_last"], _pooled),
    "merge": (LEVELS, lambda i: f"{'inner.' * i}merge"),
}
"""Family of blocks of an hourglass -> how many there are, and the name of each by its number."""


def layer_tensors(variables: dict) -> dict[str, np.ndarray]:
    """Takes a variables tree {"params", "batch_stats"} apart into one tensor a layer."""
    tensors = {}
    for path, leaf in flatten_dict(variables).items():
        leaf = np.asarray(leaf)
        stacks = leaf.shape[0] if path[1] == "stacks" else 1
        for name, index in _layers(path[1:], stacks):
            tensors[name] = leaf[index]
    return tensors


def variables_from_layers(tensors: dict[str, np.ndarray], config: ModelConfig) -> dict:
    """Puts the float32 variables tree of the `config` network together from one tensor a layer.

    Raises:
        WeightsError: its `problems` list every tensor that is missing, left over or misshapen.
    """
    shapes = _tree_shapes(config)
    check_tensors(
        {name: tensor.shape for name, tensor in tensors.items()}, layer_shapes(config), config
    )
    leaves = {path: np.empty(leaf.shape, np.float32) for path, leaf in shapes.items()}
    for path in shapes:
        for name, index in _layers(path[1:], config.stacks):
            leaves[path][index] = tensors[name].astype(np.float32)
    return unflatten_dict(leaves)


def layer_shapes(config: ModelConfig) -> dict[str, Shape]:
    """The shape of every tensor of the `config` network by its name."""
    return {
        name: leaf.shape[len(index) :]
        for path, leaf in _tree_shapes(config).items()
        for name, index in _layers(path[1:], config.stacks)
    }


def check_tensors(
    found: Mapping[str, Shape], expected: Mapping[str, Shape], config: ModelConfig
) -> None:
    """Compares the names and shapes of tensors with those of the `config` network.

    Raises:
        WeightsError: its `problems` list every tensor that is missing, left over or misshapen.
    """
    problems = [f"missing {name}" for name in sorted(set(expected) - set(found))]
    problems += [f"left over {name}" for name in sorted(set(found) - set(expected))]
    problems += [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in sorted(expected.items())
        if name in found and found[name] != shape
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(
            f"these tensors are not those of the {config.task} network with stacks={config.stacks} "
            f"and features={config.features}: {'; '.join(problems[:5])}{more}",
            tuple(problems),
        )


@functools.cache
def _tree_shapes(config: ModelConfig) -> dict[Path, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct((1, 192, 192, input_channels(config)), jnp.float32)
    return flatten_dict(jax.eval_shape(VRN(config).init, jax.random.key(0), image))  # pyright: ignore[reportReturnType]


def _layers(path: Path, stacks: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields (layer name, index into the stacked leaf) for the leaf at `path`."""
    if path[0] == "stacks":
        for s in range(stacks):
            for name, index in _below_stack(path[1:]):
                yield f"stack{s}.{name}", (s, *index)
    elif path[0] == "landmark_stack":
        for name, index in _below_stack(path[1:]):
            yield f"landmark_stack.{name}", index
    else:
        yield ".".join(path), ()


def _below_stack(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if path[0] != "hourglass":
        yield ".".join(path), ()
        return
    count, block_name = _FAMILIES[path[1]]
    rest = ".".join(path[2:])
    for i in range(count):
        yield f"hourglass.{block_name(i)}.{rest}", (i,)
