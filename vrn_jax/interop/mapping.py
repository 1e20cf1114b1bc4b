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

from collections.abc import Callable, Iterator
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vrn_jax.config import ModelConfig
from vrn_jax.errors import WeightsError
from vrn_jax.models.hourglass import BLOCKS, LEVELS
from vrn_jax.models.vrn import VRN, input_channels

__all__ = ["layer_tensors", "variables_from_layers"]

Path = tuple[str, ...]

_FAMILIES: dict[Path, tuple[tuple[int, ...], Callable[..., str]]] = {
    ("levels", "skip"): ((LEVELS, BLOCKS["skip"]), lambda n, i: f"{'inner.' * n}skip{i}"),
    ("levels", "pooled"): ((LEVELS, BLOCKS["pooled"]), lambda n, i: f"{'inner.' * n}pooled{i}"),
    ("pooled_last",): (
        (BLOCKS["pooled_last"],),
        lambda i: f"{'inner.' * (LEVELS - 1)}pooled{BLOCKS['pooled'] + i}",
    ),
    ("merge",): ((LEVELS,), lambda n: f"{'inner.' * n}merge"),
}
"""Path below "hourglass" -> sizes of the stacked axes, and the name of the block at an index."""


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
    image = jax.ShapeDtypeStruct((1, 192, 192, input_channels(config)), jnp.float32)
    shapes: dict[Path, jax.ShapeDtypeStruct] = flatten_dict(
        jax.eval_shape(VRN(config).init, jax.random.key(0), image)
    )  # pyright: ignore[reportAssignmentType]
    wanted = {
        name: (path, index, leaf.shape[len(index) :])
        for path, leaf in shapes.items()
        for name, index in _layers(path[1:], config.stacks)
    }
    problems = [f"missing {name}" for name in sorted(set(wanted) - set(tensors))]
    problems += [f"left over {name}" for name in sorted(set(tensors) - set(wanted))]
    problems += [
        f"{name} is {tensors[name].shape}, expected {shape}"
        for name, (_, _, shape) in sorted(wanted.items())
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(
            f"these tensors are not those of the {config.task} network with stacks={config.stacks} "
            f"and features={config.features}: {'; '.join(problems[:5])}{more}",
            tuple(problems),
        )
    leaves = {path: np.empty(leaf.shape, np.float32) for path, leaf in shapes.items()}
    for name, (path, index, _) in wanted.items():
        leaves[path][index] = tensors[name].astype(np.float32)
    return unflatten_dict(leaves)


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
    for family, (sizes, block_name) in _FAMILIES.items():
        if path[1 : 1 + len(family)] == family:
            rest = ".".join(path[1 + len(family) :])
            for index in product(*map(range, sizes)):
                yield f"hourglass.{block_name(*index)}.{rest}", index
