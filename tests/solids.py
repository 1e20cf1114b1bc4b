"""A ball in a photo, for tests of what happens to a mesh; its fixtures are in conftest."""

import numpy as np

from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.types import Mesh

BALL_RADIUS, BALL_CENTRE = 40.0, np.array([100.0, 90.0, -30.0])


def make_ball() -> Mesh:
    """A ball in a photo of 200 x 180 pixels."""
    grid = VolumeGrid(180, 200, 200, origin_plane=160.0)
    rows, columns, planes = np.mgrid[:180, :200, :200]
    x, y, z = columns, rows, (planes - 160) / 2
    inside = BALL_RADIUS - np.sqrt((x - 100) ** 2 + (y - 90) ** 2 + (z + 30) ** 2)
    mesh = isosurface(1 / (1 + np.exp(-inside)), grid)
    return Mesh(mesh.vertices, mesh.faces, "photo")


def painted_photo() -> np.ndarray:
    """Left half red, right half blue, a green stripe over the top of the ball."""
    photo = np.full((180, 200, 3), 128, np.uint8)
    photo[:, :100] = (200, 30, 30)
    photo[:, 100:] = (30, 30, 200)
    photo[50:75] = (30, 200, 30)
    return photo
