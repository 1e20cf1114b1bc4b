"""What devices exchange in a step, each time in one buffer: weights before, gradients after.

Within `jax.shard_map`. Specs are those of `parallel.shardings`: where they name "fsdp", a device
holds a slice of the leaf along that axis.
"""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PyTree

from vrn_jax.training.parallel import AXES, DATA, FSDP

__all__ = ["gathered", "mean_over_devices"]


def gathered(tree: PyTree[Array], specs: PyTree[PartitionSpec]) -> PyTree[Array]:
    """The whole leaves, from the slices of this device and of its row of the mesh."""
    leaves, definition = jax.tree.flatten(tree)
    axes = _split_axes(specs)
    split = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
    if not split:
        return tree
    rows = lax.all_gather(jnp.concatenate([leaf.ravel() for leaf in split]), FSDP)
    pieces = iter(_cut(rows, [leaf.shape for leaf in split]))
    whole = [
        leaf if axis is None else _joined(next(pieces), axis)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    return jax.tree.unflatten(definition, whole)


def mean_over_devices(
    tree: PyTree[Array], specs: PyTree[PartitionSpec], others: PyTree[Array]
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The mean of every device's `tree`, of which a device keeps its slices, and of `others`.

    One sum over all devices where nothing is split.
    """
    leaves, definition = jax.tree.flatten(tree)
    axes = _split_axes(specs)
    split = [(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
    whole = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is None]
    share = 1 / lax.axis_size(AXES)
    flat, rebuild = ravel_pytree((whole, others))
    whole, others = rebuild(lax.psum(flat * share, AXES))
    slices = iter(_summed_slices(split, share)) if split else iter(())
    whole = iter(whole)
    leaves = [next(whole if axis is None else slices) for axis in axes]
    return jax.tree.unflatten(definition, leaves), others


def _summed_slices(split: list[tuple[Array, int]], share: float) -> list[Array]:
    """Of leaves split along an axis, this device's slices of the sums over all devices."""
    parted = [_parted(leaf, axis) for leaf, axis in split]
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in parted], axis=1) * share
    row = lax.psum(lax.psum_scatter(flat, FSDP), DATA)
    return _cut(row, [leaf.shape[1:] for leaf in parted])


def _split_axes(specs: PyTree[PartitionSpec]) -> list[int | None]:
    """Along which axis each leaf is split over "fsdp"."""
    leaves = jax.tree.leaves(specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    return [tuple(spec).index(FSDP) if FSDP in spec else None for spec in leaves]


def _parted(leaf: Float[Array, "..."], axis: int) -> Float[Array, "n ..."]:
    """Cuts an axis into as many slices as "fsdp" is long, numbered by a new first axis."""
    count = lax.axis_size(FSDP)
    shape = (*leaf.shape[:axis], count, leaf.shape[axis] // count, *leaf.shape[axis + 1 :])
    return jnp.moveaxis(leaf.reshape(shape), axis, 0)


def _joined(slices: Float[Array, "n ..."], axis: int) -> Float[Array, "..."]:
    """The inverse of `_parted`."""
    moved = jnp.moveaxis(slices, 0, axis)
    shape = (*moved.shape[:axis], -1, *moved.shape[axis + 2 :])
    return moved.reshape(shape)


def _cut(flat: Float[Array, "*n k"], shapes: list[tuple[int, ...]]) -> list[Array]:
    """Cuts the last axis into arrays of these shapes."""
    ends = np.cumsum([0, *map(math.prod, shapes)])
    return [
        flat[..., start:end].reshape(*flat.shape[:-1], *shape)
        for (start, end), shape in zip(pairwise(ends.tolist()), shapes, strict=True)
    ]
