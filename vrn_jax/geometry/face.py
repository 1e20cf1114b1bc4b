"""Faces given by hand, by a box or by landmarks."""

import math
from collections.abc import Sequence

import numpy as np

from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import landmark_box, quarter_turns
from vrn_jax.geometry.mesh import outer_eye_distance
from vrn_jax.types import Face

__all__ = ["face_of_box", "face_of_landmarks"]


def face_of_box(box: np.ndarray | Sequence[float]) -> Face:
    """The face of an upright head in (left, top, right, bottom), brows to chin, photo pixels.

    Raises:
        InputError: if these are not four numbers.
    """
    sides = _numbers(box, "a box is (left, top, right, bottom)")
    if sides.shape != (4,):
        raise InputError(f"a box is (left, top, right, bottom), got {sides.shape} numbers")
    return Face(sides, None, 1.0)


def face_of_landmarks(landmarks: np.ndarray | Sequence[Sequence[float]]) -> Face:
    """The face of 68 iBUG points, x y or x y z in photo pixels.

    Raises:
        InputError: if these are not 68 points, or cannot be those of a face.
    """
    points = _numbers(landmarks, "landmarks are 68 iBUG points [68 2] or [68 3]")
    if points.shape not in ((68, 2), (68, 3)) or not np.isfinite(points).all():
        raise InputError(
            "landmarks are 68 finite iBUG points [68 2] or [68 3] in photo pixels, got "
            f"{points.shape}{'' if np.isfinite(points).all() else ' with NaN or infinity'}"
        )
    sides = np.ptp(points[:, :2], axis=0)
    if points.shape[1] == 3 and not 0.2 < outer_eye_distance(points) / math.hypot(*sides) < 1.5:
        raise InputError(
            "these landmarks are no face: points 37 and 46, the outer eye corners, are "
            f"{outer_eye_distance(points):.3g} apart in a box of {sides[0]:.3g} x {sides[1]:.3g}; "
            "are they in iBUG's order?"
        )
    return Face(landmark_box(points), points, 1.0, quarter_turns(points))


def _numbers(values: object, expected: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected}, got something else: {error}") from error
