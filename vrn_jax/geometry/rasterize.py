"""An orthographic z-buffer in numpy, for pictures and texture on machines without a display.

The camera looks along -z at pixel frames (x right, y down, z towards the viewer). Meshes here
consist of very many triangles a few pixels wide, so triangles are handled in groups of like size:
weights and depth are linear in the place, so those of all candidate pixels of a group are one
matrix product. Portions are small enough to stay in the processor's cache.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

__all__ = ["Fragments", "interpolate", "interpolate_seen", "rasterize"]

_CANDIDATES_AT_ONCE = 1 << 16
_SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Pixels: widths and heights of groups; larger ones double."""


class Fragments(NamedTuple):
    """What is seen at every pixel: the face (-1: none), and where on it (barycentric weights)."""

    face: Int[np.ndarray, "h w"]
    weights: Float[np.ndarray, "h w 3"]


def rasterize(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], shape: tuple[int, int]
) -> Fragments:
    """Finds the front-most face at each pixel centre of a picture of `shape` (height, width).

    Faces that turn their back to the camera are not drawn: of a closed surface they are never seen.
    """
    height, width = shape
    x, y, z = np.ascontiguousarray(vertices.T, np.float32)
    drawn = _front_faces(x, y, faces)
    corners = faces[drawn].T  # columns of their own: they are read over and over
    xs, ys = x[corners], y[corners]
    low = np.stack([np.ceil(side.min(axis=0)).clip(0, None) for side in (xs, ys)], axis=1)
    high = np.stack([np.floor(side.max(axis=0)) for side in (xs, ys)], axis=1)
    size = (np.minimum(high, [width - 1, height - 1]) - low + 1).clip(0).astype(np.int32)
    within = size.all(axis=1)
    drawn, low, size = drawn[within], low[within].astype(np.int32), size[within]
    planes = _planes(xs[:, within], ys[:, within], z[corners[:, within]], low)
    # Depth as an ordered integer, then the face: one maximum decides both.
    keys = np.zeros(height * width, np.uint64)
    for rows, pixel, z in _candidates(planes, low, size, shape):
        np.maximum.at(keys, pixel, (_ordered(z) << np.uint64(32)) | rows.astype(np.uint64))
    seen = np.flatnonzero(keys)
    row = (keys[seen] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    face = np.full(height * width, -1, np.int64)
    face[seen] = drawn[row]
    weights = np.zeros((height * width, 3), np.float32)
    weights[seen] = _weights(
        planes[:2, row], seen % width - low[row, 0], seen // width - low[row, 1]
    )
    return Fragments(face.reshape(shape), weights.reshape(*shape, 3))


def interpolate(
    fragments: Fragments, faces: Int[np.ndarray, "f 3"], values: Float[np.ndarray, "v c"]
) -> Float[np.ndarray, "h w c"]:
    """Values at the vertices, carried to the pixels; 0 where there is no face."""
    seen = fragments.face >= 0
    result = np.zeros((*seen.shape, values.shape[1]))
    result[seen] = interpolate_seen(fragments, faces, values)
    return result


def interpolate_seen(
    fragments: Fragments, faces: Int[np.ndarray, "f 3"], values: Float[np.ndarray, "v c"]
) -> Float[np.ndarray, "p c"]:
    """Values at the vertices, carried to the pixels that show a face, in the order of rows."""
    seen = fragments.face >= 0
    weights, corners = fragments.weights[seen], faces[fragments.face[seen]]
    return sum(weights[:, k, None] * values[corners[:, k]] for k in range(3))  # pyright: ignore


def _front_faces(x: np.ndarray, y: np.ndarray, faces: np.ndarray) -> Int[np.ndarray, " n"]:
    a, b, c = faces.T
    ax, ay = x[a], y[a]
    return np.flatnonzero((x[b] - ax) * (y[c] - ay) > (x[c] - ax) * (y[b] - ay))


def _planes(
    x: Float32[np.ndarray, "3 f"],
    y: Float32[np.ndarray, "3 f"],
    z: Float32[np.ndarray, "3 f"],
    low: Int[np.ndarray, "f 2"],
) -> Float32[np.ndarray, "3 f 3"]:
    """(weight of b, weight of c, z) of every face as coefficients of (x, y, 1), from `low` on."""
    (abx, acx), (aby, acy), (abz, acz) = (side[1:] - side[0] for side in (x, y, z))
    area = abx * acy - acx * aby
    px, py = low[:, 0] - x[0], low[:, 1] - y[0]
    planes = np.empty((3, len(low), 3), np.float32)
    planes[0].T[:] = np.stack([acy, -acx, px * acy - py * acx]) / area
    planes[1].T[:] = np.stack([-aby, abx, py * abx - px * aby]) / area
    planes[2] = planes[0] * abz[:, None] + planes[1] * acz[:, None]
    planes[2, :, 2] += z[0]
    return planes


def _candidates(
    planes: np.ndarray, low: np.ndarray, size: np.ndarray, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (row of `planes`, pixel, z) of the pixel centres within faces, by portions."""
    sides = np.array([*_SIDES, *(64 << k for k in range(1, max(shape).bit_length()))])
    # Width and height class as one number, so that one sort makes all groups.
    wide, high = np.searchsorted(sides, size).T
    group = wide * len(sides) + high
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))
    for first, stop in itertools.pairwise(starts.tolist()):
        height, width = sides[high[order[first]]], sides[wide[order[first]]]
        step = max(1, _CANDIDATES_AT_ONCE // int(height * width))
        for begin in range(first, stop, step):
            part = order[begin : min(begin + step, stop)]
            yield _covered(part, planes[:, part], low[part], (int(height), int(width)), shape)


def _covered(
    part: np.ndarray,
    planes: np.ndarray,
    low: np.ndarray,
    block: tuple[int, int],
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixel centres in faces that each fit into a block of (height, width) from `low`."""
    dy, dx = (d.ravel() for d in np.indices(block, np.int32))
    places = np.stack([dx, dy, np.ones_like(dx)]).astype(np.float32)
    on_b, on_c, z = planes @ places
    inside = (on_b >= 0) & (on_c >= 0) & (on_b + on_c <= 1)
    which, place = np.nonzero(inside)
    column, row = low[which, 0] + dx[place], low[which, 1] + dy[place]
    shown = (column < shape[1]) & (row < shape[0])
    pixel = row[shown].astype(np.int64) * shape[1] + column[shown]
    return part[which[shown]], pixel, z[inside][shown]


def _ordered(z: Float32[np.ndarray, " p"]) -> np.ndarray:
    """Unsigned integers, all above 0, that compare as these numbers do."""
    bits = z.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)


def _weights(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float32[np.ndarray, "p 3"]:
    on_b, on_c = planes[..., 0] * x + planes[..., 1] * y + planes[..., 2]
    return np.stack([1 - on_b - on_c, on_b, on_c], axis=1).astype(np.float32)
