"""Where the camera stands, and what it sees: an orthographic one, far away with a long lens."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vrn_jax.geometry.mesh import y_flipped
from vrn_jax.geometry.rasterize import Fragments, interpolate_seen, rasterize
from vrn_jax.types import Mesh

__all__ = ["Seen", "View", "look_at", "view_from_mesh"]


class View(NamedTuple):
    """A square picture of a mesh.

    `yaw_deg` says where the camera stands: 0 in front, 90 on the side of positive x. `pitch_deg`
    lifts it: 90 looks down from above. `view_width` is what the picture spans in the mesh's unit;
    None makes the mesh fit from every side. `centre`, in the mesh's frame, is what the camera looks
    at; None is the middle of the bounding box.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    size: int = 384
    view_width: float | None = None
    centre: tuple[float, float, float] | None = None


class Seen(NamedTuple):
    """What the pixels of a picture show. Axes: x right, y down, z to the viewer, in pixels.

    Pixels that show something are counted by rows, as `covered` has them.
    """

    fragments: Fragments
    faces: Int[np.ndarray, "f 3"]
    points: Float[np.ndarray, "v 3"]
    pixels_per_unit: float

    @property
    def covered(self) -> Bool[np.ndarray, "h w"]:
        """Whether a pixel shows the mesh."""
        return self.fragments.face >= 0

    def at_pixels(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "p c"]:
        """Values at the vertices, carried to the pixels that show the mesh."""
        return interpolate_seen(self.fragments, self.faces, values)


def view_from_mesh(view: View) -> Float[np.ndarray, "3 3"]:
    """The rotation from a frame with y down into the axes of the picture."""
    cos, sin = np.cos(np.radians(view.yaw_deg)), np.sin(np.radians(view.yaw_deg))
    around = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    cos, sin = np.cos(np.radians(view.pitch_deg)), np.sin(np.radians(view.pitch_deg))
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) @ around


def look_at(mesh: Mesh, view: View, oversampling: int = 1) -> tuple[Mesh, Seen]:
    """The mesh in axes with y down, and what a picture so many times finer than `view` shows."""
    centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    points = mesh.vertices - (centre if view.centre is None else np.array(view.centre))
    if mesh.frame == "metres":
        mesh, points = y_flipped(mesh), points * [1, -1, 1]
    pixels = view.size * oversampling
    width = view.view_width
    if width is None:
        width = 2.1 * float(np.linalg.norm(points, axis=1).max())
    points = points @ view_from_mesh(view).T * (pixels / width)
    points[:, :2] += (pixels - 1) / 2
    fragments = rasterize(points, mesh.faces, (pixels, pixels))
    return mesh, Seen(fragments, mesh.faces, points, pixels / width)
