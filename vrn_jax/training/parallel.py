"""How a training step is laid out over devices: a mesh, and a few rules for what is split.

The mesh has two axes. Batches are split over both; weights and what belongs to them are split over
"fsdp" by the rules and the same along "data"; all else is the same everywhere. The same code runs
on one device, where both axes have length one, and on all devices of several processes.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from vrn_jax.config import ComputeConfig
from vrn_jax.errors import InputError
from vrn_jax.models.normalisation import Shared

__all__ = [
    "AXES", "DATA", "FSDP", "RULES", "device_mesh", "replicated", "shardings", "sharing",
    "whole_on_this_host",
]  # fmt: skip

DATA, FSDP = AXES = ("data", "fsdp")

RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = ((r"/kernel$", (FSDP, None)),)
"""Pairs of a pattern and how a leaf is split whose path, such as `params/stem/conv/kernel`, it
matches somewhere; the first that does counts. Axes are the leaf's last ones, since chains of blocks
stack theirs in front: a kernel is split by its input channels. What cannot be split evenly is not.
"""


def device_mesh(compute: ComputeConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """All devices (default: of all processes), `compute.fsdp` of them in a row of "fsdp".

    Raises:
        InputError: if the batch, the devices or the groups that `compute` asks for do not come out
            even.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    for what, part, whole in (
        ("--compute.fsdp must divide the devices", compute.fsdp, count),
        ("--compute.norm-devices must divide the devices", compute.norm_devices or count, count),
        ("--compute.batch-size must be a multiple of the devices", count, compute.batch_size),
    ):
        if part < 1 or whole % part:
            raise InputError(f"{what}: {part} does not divide {whole}")
    shape = (count // compute.fsdp, compute.fsdp)
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def sharing(compute: ComputeConfig, mesh: Mesh) -> Shared | None:
    """Which devices share the statistics of batch normalisation; None if each has its own."""
    size = compute.norm_devices or mesh.size
    if size == 1:
        return None
    if size == mesh.size:
        return Shared(AXES)
    numbers = range(mesh.size)
    return Shared(AXES, tuple(tuple(numbers[i : i + size]) for i in numbers[::size]))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def shardings(tree: PyTree, mesh: Mesh | AbstractMesh) -> PyTree[NamedSharding]:
    """For every leaf of `tree`, arrays or their shapes, its sharding by `RULES`."""

    def of_leaf(path: tuple, leaf: jax.ShapeDtypeStruct | jax.Array) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        last = next((axes for pattern, axes in RULES if re.search(pattern, name)), ())
        first = leaf.ndim - len(last)
        for size, axis in zip(leaf.shape[first:], last, strict=True):
            if axis is not None and (mesh.shape[axis] == 1 or size % mesh.shape[axis]):
                return replicated(mesh)
        return NamedSharding(mesh, PartitionSpec(*[None] * first, *last))

    return jax.tree.map_with_path(of_leaf, tree)


def whole_on_this_host(tree: PyTree, mesh: Mesh) -> PyTree[jax.Array]:
    """The leaves, gathered, on one device of this process. All processes have to ask for it."""
    everywhere = jax.jit(_same, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), everywhere)


def _same(tree: PyTree) -> PyTree:
    return tree
