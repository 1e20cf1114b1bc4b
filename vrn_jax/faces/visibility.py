"""Which faces inside eyes and mouth a camera can ever see."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int

from vrn_jax.geometry.rasterize import rasterize

__all__ = ["ever_seen"]

_YAWS_DEG = (-60, 0, 60)
_PITCHES_DEG = (-25, 0, 25)
_PIXELS_PER_CM = 24.0
_MARGIN_RINGS = 2


def ever_seen(
    shapes: Iterable[Float[np.ndarray, "v 3"]],
    faces: Int[np.ndarray, "f 3"],
    asked: Bool[np.ndarray, " f"],
) -> Bool[np.ndarray, " f"]:
    """Marks faces seen in any of the shapes from any side of the front, and their neighbours.

    Args:
        shapes: the same head with different faces pulled; centimetres.
        faces: all of them, since they hide one another.
        asked: the ones in question; all others come back as seen.
    """
    seen = ~asked
    for vertices in shapes:
        seen[_seen_faces(vertices, faces, asked)] = True
    return ~asked | _with_neighbours(seen & asked, faces)


def _seen_faces(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], asked: Bool[np.ndarray, " f"]
) -> Int[np.ndarray, " n"]:
    found = [np.empty(0, np.int64)]
    for yaw in np.radians(_YAWS_DEG):
        for pitch in np.radians(_PITCHES_DEG):
            turn = np.array(
                [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
            )
            nod = np.array(
                [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
            )
            placed = vertices @ (nod @ turn).T * [1, -1, 1] * _PIXELS_PER_CM
            used = placed[np.unique(faces[asked])]
            placed = placed - used.min(axis=0)
            width, height = (int(size) + 2 for size in np.ptp(used, axis=0)[:2])
            picture = rasterize(placed, faces[:, ::-1], (height, width)).face
            found.append(np.unique(picture[picture >= 0]))
    return np.unique(np.concatenate(found))


def _with_neighbours(
    seen: Bool[np.ndarray, " f"], faces: Int[np.ndarray, "f 3"]
) -> Bool[np.ndarray, " f"]:
    """Adds the faces around, so that faces seen for other people are there too."""
    for _ in range(_MARGIN_RINGS):
        touched = np.zeros(faces.max() + 1, bool)
        touched[faces[seen]] = True
        seen = np.any(touched[faces], axis=1)
    return seen
