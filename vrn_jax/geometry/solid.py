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
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.zbuffer import highest

__all__ = [
    "BACK_CM",
    "CELLS",
    "FIELD_CM",
    "SLOTS",
    "Packed",
    "Solid",
    "each",
    "field_pixels",
    "front_z",
    "height_field",
    "make_solid",
    "occupancy",
    "occupancy_of_planes",
    "solid_of_height",
]

BACK_CM = 11.0
"""From the front-most point of the face to the flat back; it fits the authors' released example."""

FIELD_CM = 24.0
"""Width and height that the height field spans, centred on the origin of the head frame."""

_CELL_CM = 0.1
_FINER = 2
CELLS = round(FIELD_CM / _CELL_CM)
"""Rows and columns of a height field as it is rasterised."""
SLOTS = 1 << 17
"""Enough for any head: see `zbuffer`."""


class Solid(NamedTuple):
    """A face region as a height field over the head's x and y, with its pose. A pytree.

    `height` is z in head centimetres on a grid of `FIELD_CM`, row 0 at the top, -inf outside of the
    region. `back` is the z of the flat back. `crop_from_head` maps head centimetres to crop pixels;
    its z is the crop frame's, whatever its zero.
    """

    height: Float[Array, "n n"]
    back: Float[Array, ""]
    crop_from_head: Float[Array, "3 4"]


class Packed(NamedTuple):
    """An occupancy that was stored: eight planes of `VRN_GRID` to a byte, as `numpy.packbits`."""

    bits: UInt8[Array, "h w p"]


def field_pixels(points_head: Float[Array, "v 3"]) -> Float[Array, "v 3"]:
    """Head centimetres to the cells of the height field (x right, y down), z as it is."""
    half = (CELLS - 1) / 2
    x, y, z = points_head[..., 0], points_head[..., 1], points_head[..., 2]
    return jnp.stack([x / _CELL_CM + half, half - y / _CELL_CM, z], axis=-1)


def make_solid(
    points_head: Float[Array, "v 3"],
    region: Int[Array, "f 3"],
    crop_from_head: Float[Array, "3 4"],
    *,
    slots: int = SLOTS,
) -> Solid:
    """The solid of the triangles of the face region, wound for a picture with y down.

    `points_head` are in centimetres in the head frame, x and y within `FIELD_CM`.
    """
    return solid_of_height(height_field(points_head, region, slots=slots), crop_from_head)


def height_field(
    points_head: Float[Array, "v 3"], region: Int[Array, "f 3"], *, slots: int = SLOTS
) -> Float[Array, "n n"]:
    """The front-most z of these triangles in every cell of `FIELD_CM`, -inf where there is none."""
    return highest(field_pixels(points_head), region, (CELLS, CELLS), slots=slots)


def solid_of_height(height: Float[Array, "n n"], crop_from_head: Float[Array, "3 4"]) -> Solid:
    """The solid behind a height field of `CELLS` rows and columns."""
    return Solid(_finer(height), height.max() - BACK_CM, crop_from_head)


@jax.jit
def each(solids: Solid) -> list[Solid]:
    """The solids of a batch, one by one."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], solids) for i in range(len(solids.back))]


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
    solid: Solid | Packed,
    grid: VolumeGrid = VRN_GRID,
    planes: Float[Array, " d"] | None = None,
) -> Bool[Array, "h w d"]:
    """Which voxel centres lie inside the solid, for all planes of the grid or the given ones.

    The solid's front-most point lies at the grid's origin plane (`origin = "front"`).

    Raises:
        ValueError: for a packed occupancy on another grid than the one it was stored on.
    """
    if planes is None:
        planes = jnp.arange(float(grid.planes))
    if isinstance(solid, Packed):
        return jnp.moveaxis(occupancy_of_planes(solid, planes, grid), 0, 2)
    row = jnp.arange(float(grid.rows))[:, None, None]
    column = jnp.arange(float(grid.columns))[None, :, None]
    return _inside(solid, row, column, _plane_z(solid, grid, planes)[None, None, :])


def occupancy_of_planes(
    solid: Solid | Packed,
    planes: Float[Array, " d"],
    grid: VolumeGrid = VRN_GRID,
    *,
    stride: int = 1,
) -> Bool[Array, "d h w"]:
    """`occupancy` of some planes, given by their numbers, which here come first.

    With a `stride` only every `stride`-th row and column is looked at, from the first on.

    Raises:
        ValueError: as `occupancy`.
    """
    if isinstance(solid, Packed):
        if grid != VRN_GRID:
            raise ValueError(f"a stored occupancy is on {VRN_GRID}, not on {grid}")
        plane = planes.astype(jnp.int32)
        bytes_ = jnp.moveaxis(solid.bits[::stride, ::stride, plane // 8], 2, 0)
        return (bytes_ >> (7 - plane % 8)[:, None, None].astype(jnp.uint8)) & 1 > 0
    row = jnp.arange(0.0, grid.rows, stride)[None, :, None]
    column = jnp.arange(0.0, grid.columns, stride)[None, None, :]
    z = _plane_z(solid, grid, planes)[:, None, None]
    return _inside(solid, row, column, z)


def _plane_z(solid: Solid, grid: VolumeGrid, planes: Float[Array, " d"]) -> Float[Array, " d"]:
    return (planes - grid.origin_plane) * grid.plane_depth + front_z(solid)


def _inside(
    solid: Solid, row: Float[Array, "..."], column: Float[Array, "..."], z: Float[Array, "..."]
) -> Bool[Array, "..."]:
    """Crop pixels are carried back to the head, and compared with the height there."""
    count = solid.height.shape[0]
    per_cm = _FINER / _CELL_CM
    cells = jnp.array([[per_cm], [-per_cm], [1.0]])
    matrix = cells * jnp.linalg.inv(solid.crop_from_head[:, :3])
    offset = -matrix @ solid.crop_from_head[:, 3]

    def head(axis: int) -> Float[Array, "..."]:
        mx, my, mz = matrix[axis]
        return mx * column + my * row + offset[axis] + mz * z

    # Columns and rows of the height field, from the outer edge of the first.
    x, y, depth = head(0) + count / 2, head(1) + count / 2, head(2)
    within = (x >= 0) & (x < count) & (y >= 0) & (y < count)
    # One number a voxel to look up with, not two: on accelerators these numbers pass the memory.
    place = jnp.clip(y.astype(jnp.int32) * count + x.astype(jnp.int32), 0, count**2 - 1)
    height = jnp.asarray(solid.height).reshape(-1).at[place].get(mode="promise_in_bounds")
    return within & (depth <= height) & (depth >= solid.back)


def _finer(height: Float[Array, "n n"]) -> Float[Array, "m m"]:
    """Bilinear between cells that both have a height, so that the edge of the region stays put."""
    inside = jnp.isfinite(height)
    share = _doubled(inside.astype(jnp.float32))
    filled = _doubled(jnp.where(inside, height, 0))
    return jnp.where(share > 0.5, filled / jnp.maximum(share, 1e-6), -jnp.inf)


def _doubled(values: Float[Array, "n n"]) -> Float[Array, "m m"]:
    """Twice as fine along both axes, linear, as `jax.image.resize` does it by a product."""
    for axis in (0, 1):
        low, high = (lax.slice_in_dim(values, a, b, axis=axis) for a, b in ((0, 1), (-1, None)))
        count = values.shape[axis]
        before = jnp.concatenate([low, lax.slice_in_dim(values, 0, count - 1, axis=axis)], axis)
        after = jnp.concatenate([lax.slice_in_dim(values, 1, count, axis=axis), high], axis)
        pairs = [0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after]
        shape = [n * (2 if k == axis else 1) for k, n in enumerate(values.shape)]
        values = jnp.stack(pairs, axis=axis + 1).reshape(shape)
    return values


def _cell_positions(count: int) -> tuple[Float[Array, "1 n"], Float[Array, "n 1"]]:
    along = (jnp.arange(float(count)) - (count - 1) / 2) * (_CELL_CM / _FINER)
    return along[None, :], -along[:, None]
