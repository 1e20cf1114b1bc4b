"""An orthographic z-buffer in jax.numpy: compiled, batched by vmap, the same on every device.

Every triangle that faces the camera gets as many slots of one long list as its bounding box has
pixel centres, so the work follows what is seen, whatever the sizes of the triangles. A slot tests
one pixel centre; visibility is one scatter-max of a 32-bit key that holds depth and face. The rest
is computed afterwards, for the face that won its pixel.

The camera looks along -z at pixel frames (x right, y down, z towards the viewer).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

__all__ = ["MOST_FACES", "Fragments", "highest", "interpolate", "rasterize", "slots_needed"]

_FACE_BITS = 17
MOST_FACES = 1 << _FACE_BITS
"""The lower bits of a key name the face, the upper ones are its depth."""
_DEPTH_LEVELS = (1 << (32 - _FACE_BITS)) - 2
_EDGE = 1e-4
"""A pixel centre so little outside of a triangle (barycentric) is inside: no cracks by rounding."""

_LEAST_AREA = 1e-9
"""Twice that of a triangle that can be seen, pixels."""


class Fragments(NamedTuple):
    """What is seen at every pixel: the face (-1: none), where on it (barycentric), and its z."""

    face: Int[Array, "h w"]
    weights: Float[Array, "h w 3"]
    z: Float[Array, "h w"]


class _Slots(NamedTuple):
    """Pixel centres tested, one a slot: of which face, which pixel, whether hit, and at which z."""

    face: Int[Array, " s"]
    pixel: Int[Array, " s"]
    inside: Bool[Array, " s"]
    z: Float[Array, " s"]


class _Triangles(NamedTuple):
    """The bounding boxes of all triangles within the picture, and what to know at its pixels.

    Every number of a triangle is an array of its own: XLA makes slow code of small last axes.
    """

    left: Int[Array, " f"]
    top: Int[Array, " f"]
    width: Int[Array, " f"]
    """At least 1."""
    pixels: Int[Array, " f"]
    """Pixel centres in the box; none of a triangle that is not seen."""
    on_b: tuple[Float[Array, " f"], ...]
    """Weight of b: a step to the right, a step down, and at the first pixel of the box."""
    on_c: tuple[Float[Array, " f"], ...]
    z: tuple[Float[Array, " f"], ...]
    """At a, and from there to b and to c."""


def rasterize(
    points: Float[Array, "v 3"],
    corners: Int[Array, "f 3"],
    shape: tuple[int, int],
    *,
    slots: int,
) -> Fragments:
    """Finds the front-most triangle at each pixel centre of a picture of `shape` (height, width).

    Triangles are seen from the side to which cross(b - a, c - a) of their pixel coordinates points.
    Depths closer than 1/32,766 of the depth of the whole scene are not told apart; the z returned
    is exact for the winning face. Where the triangles need more than `slots`, the last ones are
    left out: `slots_needed` tells.

    Raises:
        ValueError: for more triangles than a key can name.
    """
    if len(corners) > MOST_FACES:
        raise ValueError(f"at most {MOST_FACES} triangles can be drawn at once, got {len(corners)}")
    covered = _cover(points, corners, shape, slots)
    low, high = points[:, 2].min(), points[:, 2].max()
    level = (covered.z - low) * (_DEPTH_LEVELS / jnp.maximum(high - low, 1e-6))
    near = jnp.clip(level, 0, _DEPTH_LEVELS).astype(jnp.uint32) + 1
    key = jnp.where(covered.inside, (near << _FACE_BITS) | covered.face.astype(jnp.uint32), 0)
    keys = jnp.zeros(shape[0] * shape[1], jnp.uint32).at[covered.pixel].max(key, mode="drop")
    return _resolve(keys.reshape(shape), points, corners)


def highest(
    points: Float[Array, "v 3"],
    corners: Int[Array, "f 3"],
    shape: tuple[int, int],
    *,
    slots: int,
) -> Float[Array, "h w"]:
    """The z that `rasterize` finds at each pixel centre, and no more; -inf where there is none."""
    covered = _cover(points, corners, shape, slots)
    z = jnp.where(covered.inside, covered.z, -jnp.inf)
    nothing = jnp.full(shape[0] * shape[1], -jnp.inf, z.dtype)
    return nothing.at[covered.pixel].max(z, mode="drop").reshape(shape)


def slots_needed(
    points: Float[Array, "v 3"], corners: Int[Array, "f 3"], shape: tuple[int, int]
) -> Int[Array, ""]:
    """How many slots `rasterize` needs for these triangles."""
    return _triangles(points, corners, shape).pixels.sum()


def interpolate(
    fragments: Fragments, corners: Int[Array, "f 3"], values: Float[Array, "v c"]
) -> Float[Array, "h w c"]:
    """Values at the vertices, carried to the pixels; those of face 0 where there is none."""
    at = corners[jnp.maximum(fragments.face, 0)]
    w = fragments.weights
    return sum(w[..., k, None] * values[at[..., k]] for k in range(3))  # pyright: ignore


def _cover(
    points: Float[Array, "v 3"], corners: Int[Array, "f 3"], shape: tuple[int, int], slots: int
) -> _Slots:
    triangles = _triangles(points, corners, shape)
    # A triangle's number fills the slots from its first to the next triangle's first.
    stop = jnp.cumsum(triangles.pixels)
    first = stop - triangles.pixels
    started = jnp.zeros(slots, jnp.int32).at[first].max(jnp.arange(len(corners)), mode="drop")
    face = lax.cummax(started)
    slot = jnp.arange(slots)
    offset, width = slot - first[face], triangles.width[face]
    row = lax.div(offset, width)
    column = offset - row * width
    on_b, on_c = (
        right[face] * column + down[face] * row + at_first[face]
        for right, down, at_first in (triangles.on_b, triangles.on_c)
    )
    inside = (on_b >= -_EDGE) & (on_c >= -_EDGE) & (on_b + on_c <= 1 + _EDGE)
    at_a, to_b, to_c = (part[face] for part in triangles.z)
    z = at_a + to_b * on_b + to_c * on_c
    pixel = (triangles.top * shape[1] + triangles.left)[face] + row * shape[1] + column
    return _Slots(face, pixel, inside & (slot < stop[-1]), z)


def _triangles(
    points: Float[Array, "v 3"], corners: Int[Array, "f 3"], shape: tuple[int, int]
) -> _Triangles:
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = (
        [axis[corners[:, k]] for k in range(3)] for axis in points.T
    )
    left, right = _span(ax, bx, cx, shape[1])
    top, bottom = _span(ay, by, cy, shape[0])
    width, height = jnp.maximum(right - left + 1, 0), jnp.maximum(bottom - top + 1, 0)
    abx, aby, acx, acy = bx - ax, by - ay, cx - ax, cy - ay
    area = abx * acy - aby * acx
    seen = area > _LEAST_AREA
    inverse = 1 / jnp.where(seen, area, 1.0)
    x, y = left - ax, top - ay
    on_b, on_c = (
        (right, down, right * x + down * y)
        for right, down in ((acy * inverse, -acx * inverse), (-aby * inverse, abx * inverse))
    )
    return _Triangles(
        left.astype(jnp.int32),
        top.astype(jnp.int32),
        jnp.maximum(width, 1).astype(jnp.int32),
        jnp.where(seen, width * height, 0).astype(jnp.int32),
        on_b,
        on_c,
        (az, bz - az, cz - az),
    )


def _span(
    a: Float[Array, " f"], b: Float[Array, " f"], c: Float[Array, " f"], pixels: int
) -> tuple[Float[Array, " f"], Float[Array, " f"]]:
    """The first and the last pixel centre between three coordinates, within the picture."""
    low, high = jnp.minimum(jnp.minimum(a, b), c), jnp.maximum(jnp.maximum(a, b), c)
    return jnp.maximum(jnp.ceil(low), 0), jnp.minimum(jnp.floor(high), pixels - 1)


def _resolve(
    keys: UInt32[Array, "h w"], points: Float[Array, "v 3"], corners: Int[Array, "f 3"]
) -> Fragments:
    seen = keys > 0
    face = (keys & (MOST_FACES - 1)).astype(jnp.int32)
    a, b, c = (points[corners[face, k]] for k in range(3))
    row, column = jnp.meshgrid(*(jnp.arange(float(n)) for n in keys.shape), indexing="ij")
    here = jnp.stack([column, row], axis=-1)
    area = _area(a, b, c)
    inverse = 1 / jnp.where(area > _LEAST_AREA, area, 1.0)
    xy = (a[..., :2], b[..., :2], c[..., :2])
    on_b, on_c = _area(xy[0], here, xy[2]) * inverse, _area(xy[0], xy[1], here) * inverse
    z = a[..., 2] + on_b * (b - a)[..., 2] + on_c * (c - a)[..., 2]
    weights = jnp.stack([1 - on_b - on_c, on_b, on_c], axis=-1)
    return Fragments(jnp.where(seen, face, -1), weights, z)


def _area(
    a: Float[Array, "*n c"], b: Float[Array, "*n c"], c: Float[Array, "*n c"]
) -> Float[Array, "*n"]:
    """Twice the signed area over x and y; positive if seen."""
    ab, ac = (b - a)[..., :2], (c - a)[..., :2]
    return ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
