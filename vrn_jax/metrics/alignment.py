"""The rigid motion or similarity that brings corresponding points together, in closed form.

S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
PAMI 1991, equations 40 to 43; without scale it is Kabsch's (1976). Never a reflection.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vrn_jax.errors import InputError
from vrn_jax.metrics.point_set import PointSet

__all__ = [
    "Similarity",
    "align",
    "check_residual",
    "fit_similarity",
    "move",
]

_SMALLEST_SPREAD = 1e-9


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation, from the source's frame to the target's."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]

    def __call__(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """Moves points."""
        return self.scale * points @ self.rotation.T + self.translation


def fit_similarity(
    source: Float[np.ndarray, "p 3"], target: Float[np.ndarray, "p 3"], *, scaled: bool
) -> Similarity:
    """Minimises sum |s R source_i + t - target_i|^2; `scaled = False` keeps s at 1.

    Raises:
        InputError: if the points lie on a line or in one place, which leaves the rotation open.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_source, from_target = source - source_mean, target - target_mean
    left, strength, right = np.linalg.svd(from_target.T @ from_source / len(source))
    if strength[1] <= _SMALLEST_SPREAD * strength[0]:
        raise InputError(
            f"{len(source)} points on a line, or in one place, do not tell a rotation; give at "
            "least three that span a plane"
        )
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left * signs @ right
    scale = float((strength * signs).sum() / from_source.var(axis=0).sum()) if scaled else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def align(source: PointSet, target: PointSet, *, limit: float, scaled: bool = True) -> Similarity:
    """The similarity (or rigid motion) from the frame of `source` to that of `target`.

    The points correspond. Frames may differ, that is what an alignment is for, but not their
    handedness, and without scale not their unit. `limit` is the largest root mean square distance
    that may remain, in the target's unit.

    Raises:
        InputError: if counts, handedness or units do not fit, or more than `limit` remains.
    """
    if len(source.points) != len(target.points):
        raise InputError(f"{source} and {target} do not correspond; give as many as their partners")
    if source.handedness != target.handedness:
        raise InputError(
            f"no similarity leads from {source} to {target}: turn one axis and the winding over "
            "first (geometry.mesh.y_flipped)"
        )
    if not scaled and source.unit != target.unit:
        raise InputError(f"{source} and {target} differ in unit, which a rigid motion keeps")
    found = fit_similarity(source.points, target.points, scaled=scaled)
    check_residual(_root_mean_square(found(source.points) - target.points), limit, target)
    return found


def move(source: PointSet, target_from_source: Similarity, target: PointSet) -> PointSet:
    """The points of `source` in the frame of `target`."""
    normals = source.normals
    return dataclasses.replace(
        target,
        points=target_from_source(source.points),
        normals=None if normals is None else normals @ target_from_source.rotation.T,
    )


def _root_mean_square(difference: Float[np.ndarray, "p 3"]) -> float:
    """Root of the mean squared length."""
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


def check_residual(residual: float, limit: float, target: PointSet) -> None:
    """Refuses an alignment that leaves more than `limit`: it found something else.

    Raises:
        InputError: if it does.
    """
    if not residual <= limit:
        raise InputError(
            f"alignment with {target} leaves {residual:.4g} {target.unit}, more than the limit of "
            f"{limit:.4g}; check frames, units and correspondences, this is not scored"
        )
