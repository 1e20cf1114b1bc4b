"""Similarities of the plane and of space, named ``target_from_source`` so that neighbours match.

A plane similarity is a homogeneous 3x3 matrix. In space it acts on x and y, and scales z alike:
photo and crop frames share one unit for all three axes.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["apply_affine", "apply_similarity", "similarity", "similarity_scale"]


def similarity(
    scale: float, angle_rad: float, source: Float[np.ndarray, " 2"], target: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "3 3"]:
    """Scales, turns by `angle_rad` from x towards y, and carries `source` to `target`."""
    cos, sin = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = target - matrix[:2, :2] @ source
    return matrix


def similarity_scale(matrix: Float[np.ndarray, "3 3"]) -> float:
    """How many target units a source unit becomes."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def apply_similarity(
    matrix: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "p c"]
) -> Float[np.ndarray, "p c"]:
    """Moves points (x, y) or (x, y, z) by a plane similarity; z is scaled and nothing else."""
    xy = points[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([xy, points[:, 2:] * similarity_scale(matrix)], axis=1)


def apply_affine(
    matrix: Float[np.ndarray, "r 4"], points: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p 3"]:
    """Moves points (x, y, z) by an affine map, whose fourth row, if it has one, is 0 0 0 1."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
