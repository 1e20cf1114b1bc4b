"""Points that say where they are and in which unit, so that unlike things are never compared."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from vrn_jax.errors import InputError
from vrn_jax.types import Frame, Mesh

__all__ = ["PointSet", "Unit", "check_same_frame", "mesh_points", "sample_surface"]

Unit = Literal["px", "m", "cm", "mm"]
Handedness = Literal["left", "right"]

_MESH_FRAMES: dict[Frame, tuple[Unit, Handedness]] = {
    "photo": ("px", "left"),
    "crop": ("px", "left"),
    "metres": ("m", "right"),
}


@dataclass(frozen=True, eq=False)
class PointSet:
    """Points in space, with or without normals of length one.

    `frame` names the axes and their zero: one of `types.Frame`, or any name of the data's own, such
    as "scan". `unit` is that of all three axes.

    Raises:
        InputError: if there are no points, or not all are finite.
    """

    points: Float[np.ndarray, "p 3"]
    frame: str
    unit: Unit
    handedness: Handedness
    normals: Float[np.ndarray, "p 3"] | None = None

    def __post_init__(self) -> None:
        if not len(self.points) or not np.isfinite(self.points).all():
            raise InputError(
                f"points must be there and finite to be measured, got {self}"
                f"{' with NaN or infinity' if len(self.points) else ''}"
            )

    def __repr__(self) -> str:
        return (
            f"PointSet({len(self.points)} points, {self.frame}, {self.unit}, {self.handedness}-"
            "handed)"
        )


def check_same_frame(one: PointSet, other: PointSet) -> None:
    """Refuses to compare points of different frames, units or handedness.

    Raises:
        InputError: if they differ.
    """
    if (one.frame, one.unit, one.handedness) != (other.frame, other.unit, other.handedness):
        raise InputError(
            f"{one} and {other} are in different frames or units; bring both into one frame, or "
            "align them first (metrics.alignment.align)"
        )


def mesh_points(mesh: Mesh) -> PointSet:
    """The vertices of a mesh, with its normals where it has them."""
    unit, handedness = _MESH_FRAMES[mesh.frame]
    return PointSet(mesh.vertices, mesh.frame, unit, handedness, mesh.normals)


def sample_surface(mesh: Mesh, count: int, seed: int = 0) -> PointSet:
    """`count` points drawn evenly over the area of a mesh, with the normals of their faces.

    Vertices are dense where a modeller or a decimation put them; areas are not.
    """
    import trimesh

    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, faces = trimesh.sample.sample_surface(surface, count, seed=seed)[:2]
    unit, handedness = _MESH_FRAMES[mesh.frame]
    # In every frame cross(b - a, c - a) of the stored numbers points outwards.
    a, b, c = (mesh.vertices[mesh.faces[faces, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    return PointSet(np.asarray(points), mesh.frame, unit, handedness, normals)
