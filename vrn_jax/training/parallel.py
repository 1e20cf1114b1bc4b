"""How a training step is laid out over devices: a mesh, and a few rules for what is split.

Everything is replicated unless a rule says otherwise; batches are split along "data". The same
code runs on one device, where the mesh has one.
"""

import re

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

__all__ = ["RULES", "batch_sharding", "device_mesh", "replicated", "shardings"]

RULES: tuple[tuple[str, PartitionSpec], ...] = ()
"""Pairs of a pattern and how a leaf is split whose path, such as `params/stem/conv/kernel`, it
matches somewhere; the first that does counts."""


def device_mesh() -> Mesh:
    """All devices along one axis, "data"."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Samples are split over "data"."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def shardings(tree: PyTree, mesh: Mesh) -> PyTree[NamedSharding]:
    """For every leaf of `tree` its sharding by `RULES`."""

    def of_leaf(path: tuple, _: object) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = next((s for pattern, s in RULES if re.search(pattern, name)), PartitionSpec())
        return NamedSharding(mesh, spec)

    return jax.tree.map_with_path(of_leaf, tree)
