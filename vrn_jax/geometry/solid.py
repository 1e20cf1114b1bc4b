"""The solid that a VRN volume shows, and its exact occupancy at every voxel (paper section 3).

The face region of a head, turned to the front, is a height field: the front-most depth over
(x, y). The solid lies between it and a flat back at a fixed distance behind the front-most point,
and is then posed like the head. Nothing is resampled: a voxel's centre is carried back to the
frontal frame and compared with the height there, so a volume of 7 million voxels need never be
stored: it is a function of a few hundred kilobytes, evaluated where it is used.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.zbuffer import rasterize

__all__ = ["BACK_CM", "FIELD_CM", "Solid", "field_pixels", "front_z", "make_solid", "occupancy"]

BACK_CM = 11.0
"""From the front-most point of the face to the flat back; it fits the authors' released example."""

FIELD_CM = 24.0
"""Width and height that the height field spans, centred on the origin of the head frame."""

_CELL_CM = 0.1
_FINER = 2
_CELLS = round(FIELD_CM / _CELL_CM)
_SLOTS = 1 << 17


class Solid(NamedTuple):
    """A face region as a height field over the head's x and y, with its pose. A pytree.

    `height` is z in head centimetres on a grid of `FIELD_CM`, row 0 at the top, -inf outside of the
    region. `back` is the z of the flat back. `crop_from_head` maps head centimetres to crop pixels;
    its z is the crop frame's, whatever its zero.
    """

    height: Float[Array, "n n"]
    back: Float[Array, ""]
    crop_from_head: Float[Array, "3 4"]


def field_pixels(points_head: Float[Array, "v 3"]) -> Float[Array, "v 3"]:
    """Head centimetres to the cells of the height field (x right, y down), z as it is."""
    half = (_CELLS - 1) / 2
    x, y, z = points_head[..., 0], points_head[..., 1], points_head[..., 2]
    return jnp.stack([x / _CELL_CM + half, half - y / _CELL_CM, z], axis=-1)


def make_solid(
    points_head: Float[Array, "v 3"], region: Int[Array, "f 3"], crop_from_head: Float[Array, "3 4"]
) -> Solid:
    """The solid of the triangles of the face region, wound for a picture with y down.

    `points_head` are in centimetres in the head frame, x and y within `FIELD_CM`.
    """
    seen = rasterize(field_pixels(points_head), region, (_CELLS, _CELLS), slots=_SLOTS)
    height = jnp.where(seen.face >= 0, seen.z, -jnp.inf)
    return Solid(_finer(height), height.max() - BACK_CM, crop_from_head)


def front_z(solid: Solid) -> Float[Array, ""]:
    """The crop z of the posed solid's front-most point: what lies at the grid's origin plane.

    Front, back and the walls between them are ruled surfaces over the height field's cells, so the
    extreme is at the front or the back of a cell.
    """
    x, y = _cell_positions(solid.height.shape[0])
    row = solid.crop_from_head[2]
    inside = jnp.isfinite(solid.height)
    across = row[0] * x + row[1] * y + row[3]
    deepest = jnp.where(inside, jnp.maximum(row[2] * solid.height, row[2] * solid.back), 0)
    return jnp.where(inside, across + deepest, -jnp.inf).max()


def occupancy(
    solid: Solid,
    grid: VolumeGrid = VRN_GRID,
    planes: Float[Array, " d"] | None = None,
    *,
    stride: int = 1,
) -> Bool[Array, "h w d"]:
    """Which voxel centres lie inside the solid, for all planes of the grid or the given ones.

    With a `stride` only every `stride`-th row and column is looked at, from the first on. The
    solid's front-most point lies at the grid's origin plane (`origin = "front"`).
    """
    planes = jnp.arange(float(grid.planes)) if planes is None else planes
    row = jnp.arange(0.0, grid.rows, stride)[:, None, None]
    column = jnp.arange(0.0, grid.columns, stride)[None, :, None]
    z = ((planes - grid.origin_plane) * grid.plane_depth + front_z(solid))[None, None, :]
    matrix = jnp.linalg.inv(solid.crop_from_head[:, :3])
    offset = -matrix @ solid.crop_from_head[:, 3]

    def head(axis: int) -> Float[Array, "h w d"]:
        mx, my, mz = matrix[axis]
        return mx * column + my * row + mz * z + offset[axis]

    count = solid.height.shape[0]
    half, per_cm = (count - 1) / 2, _FINER / _CELL_CM
    i = jnp.round(half + head(0) * per_cm).astype(jnp.int32)
    j = jnp.round(half - head(1) * per_cm).astype(jnp.int32)
    within = (i >= 0) & (i < count) & (j >= 0) & (j < count)
    height = solid.height[jnp.clip(j, 0, count - 1), jnp.clip(i, 0, count - 1)]
    depth = head(2)
    return within & (depth <= height) & (depth >= solid.back)


def _finer(height: Float[Array, "n n"]) -> Float[Array, "m m"]:
    """Bilinear between cells that both have a height, so that the edge of the region stays put."""
    inside = jnp.isfinite(height).astype(jnp.float32)
    size = (height.shape[0] * _FINER,) * 2
    share = jax.image.resize(inside, size, "linear")
    filled = jax.image.resize(jnp.where(inside > 0, height, 0), size, "linear")
    return jnp.where(share > 0.5, filled / jnp.maximum(share, 1e-6), -jnp.inf)


def _cell_positions(count: int) -> tuple[Float[Array, "1 n"], Float[Array, "n 1"]]:
    along = (jnp.arange(float(count)) - (count - 1) / 2) * (_CELL_CM / _FINER)
    return along[None, :], -along[:, None]
