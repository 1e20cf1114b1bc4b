"""An orthographic z-buffer in numpy, for pictures and texture on machines without a display.

The camera looks along -z at pixel frames (x right, y down, z towards the viewer). Meshes here
consist of very many triangles about a pixel wide, so triangles are handled in groups of like
size, and a group is one array of candidate pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Fragments", "interpolate", "interpolate_seen", "rasterize"]

_CANDIDATES_AT_ONCE = 1 << 20


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
    face = np.full(shape[0] * shape[1], -1, np.int64)
    weights = np.zeros((shape[0] * shape[1], 3), np.float32)
    depth = np.full(shape[0] * shape[1], -np.inf, np.float32)
    for index, pixel, bary, z in _fragments(vertices.astype(np.float32), faces, shape):
        np.maximum.at(depth, pixel, z)
        front = z == depth[pixel]
        face[pixel[front]], weights[pixel[front]] = index[front], bary[front]
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


def _fragments(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (face, pixel, barycentric weights, depth) of pixel centres in faces, by portions."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]
    low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)[:, :2]), 0).astype(np.int64)
    high = np.floor(np.maximum(np.maximum(a, b), c)[:, :2]).astype(np.int64)
    high = np.minimum(high, np.array(shape[::-1]) - 1)
    drawn = np.flatnonzero((area > 0) & (high >= low).all(axis=1))
    span = (high - low).max(axis=1)[drawn] + 1
    side = 1
    while len(drawn):
        group, drawn = drawn[span <= side], drawn[span > side]
        span = span[span > side]
        step = max(1, _CANDIDATES_AT_ONCE // side**2)
        for start in range(0, len(group), step):
            part = group[start : start + step]
            yield from _cover(part, a[part], b[part], c[part], area[part], low[part], side, shape)
        side *= 2


def _cover(
    part: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    area: np.ndarray,
    low: np.ndarray,
    side: int,
    shape: tuple[int, int],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The fragments of faces that each fit into side x side pixels from `low`."""
    dy, dx = np.divmod(np.arange(side * side), side)
    column, row = low[:, :1] + dx, low[:, 1:] + dy
    px, py = column.astype(np.float32) - a[:, :1], row.astype(np.float32) - a[:, 1:2]
    (bx, by), (cx, cy) = ((corner - a)[:, :2, None].swapaxes(0, 1) for corner in (b, c))
    on_b = (px * cy - py * cx) / area[:, None]
    on_c = (py * bx - px * by) / area[:, None]
    inside = (on_b >= 0) & (on_c >= 0) & (on_b + on_c <= 1)
    inside &= (column < shape[1]) & (row < shape[0])
    which = np.nonzero(inside)[0]
    bary = np.stack([1 - on_b[inside] - on_c[inside], on_b[inside], on_c[inside]], axis=1)
    z = np.einsum("pk,pk->p", bary, np.stack([a[which, 2], b[which, 2], c[which, 2]], axis=1))
    yield part[which], (row * shape[1] + column)[inside], bary, z
