"""Boxes (left, top, right, bottom) and what two of them share. All have an area."""

import numpy as np
from jaxtyping import Float

__all__ = ["areas", "overlaps", "shares_of_smaller"]


def overlaps(
    box: Float[np.ndarray, " 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """Intersection over union of a box with each of the others."""
    shared = shared_areas(box, others)
    return shared / (areas(box[None]) + areas(others) - shared)


def shares_of_smaller(
    box: Float[np.ndarray, " 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """How much of the smaller one of a box and each of the others is shared, in [0, 1]."""
    return shared_areas(box, others) / np.minimum(areas(box[None]), areas(others))


def shared_areas(
    box: Float[np.ndarray, " 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """The area that a box has in common with each of the others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return np.prod(np.maximum(high - low, 0.0), axis=1)


def areas(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """The area of each box."""
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
