"""Iterative closest point, and the error of the VRN paper that is built on it.

P. J. Besl, N. D. McKay, "A method for registration of 3-D shapes", PAMI 1992: match every point
with its nearest neighbour, move by the closed form (`metrics.alignment`), repeat. Each time only
the nearest share of the pairs counts (trimmed ICP, Chetverikov et al. 2005), so what one side lacks
does not pull at the other.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from vrn_jax.metrics.alignment import Similarity, check_residual, fit_similarity
from vrn_jax.metrics.point_set import PointSet, check_same_frame
from vrn_jax.metrics.points import check_length, nearest_neighbours

__all__ = ["CorrespondenceNme", "Registration", "correspondence_nme", "icp"]

_COARSE_POINTS = 2_000
_COARSE_ITERATIONS = 200
_FINE_ITERATIONS = 8
_SETTLED = 1e-5


class Registration(NamedTuple):
    """`nearest` is, for every source point once moved, the target point nearest to it.

    `residual` is the root mean square distance of the pairs that count, in the target's unit.
    """

    target_from_source: Similarity
    nearest: Int[np.ndarray, " p"]
    residual: float


class CorrespondenceNme(NamedTuple):
    """The paper's two numbers, as shares of the outer interocular distance."""

    unaligned: float
    """ICP gives the correspondences only, its transform is not applied (the paper's table 1)."""
    aligned: float
    """The same pairs after the transform (its table 2)."""


def icp(
    source: PointSet,
    target: PointSet,
    *,
    limit: float,
    scaled: bool = False,
    keep: float = 0.9,
) -> Registration:
    """Brings `source` to `target` from where it is, within the frame they share.

    A sample of the points comes near, then all of them settle. `keep` is the share of the pairs
    that counts. The nearest optimum is found: sides must start within about 30 degrees.

    Raises:
        InputError: if frames or units differ, or a residual over `limit`, in their unit, remains.
    """
    check_same_frame(source, target)
    tree = KDTree(target.points)
    points, motion = source.points, Similarity(1.0, np.eye(3), np.zeros(3))
    if len(points) > _COARSE_POINTS:
        chosen = np.random.default_rng(0).choice(len(points), _COARSE_POINTS, replace=False)
        motion = _settle(points[chosen], tree, motion, scaled, keep, _COARSE_ITERATIONS)
        motion = _settle(points, tree, motion, scaled, keep, _FINE_ITERATIONS)
    else:
        motion = _settle(points, tree, motion, scaled, keep, _COARSE_ITERATIONS)
    distance, nearest = (found[:, 0] for found in nearest_neighbours(tree, motion(points)))
    residual = _residual(distance[_nearest_share(distance, keep)])
    check_residual(residual, limit, target)
    return Registration(motion, nearest, residual)


def correspondence_nme(
    prediction: PointSet,
    truth: PointSet,
    interocular: float,
    *,
    limit: float = 0.2,
) -> CorrespondenceNme:
    """The NME of the VRN paper (section 4) for surfaces whose points do not correspond.

    `truth` are the vertices of the face region only, the paper's about 19,000; `prediction` is the
    whole predicted surface. ICP moves the truth onto the prediction, where every true vertex finds
    its partner. `limit` bounds the residual, as a share of `interocular`: beyond it ICP has matched
    something else. Whoever averages over faces must say how many were refused.

    Raises:
        InputError: if frames or units differ, the distance is not positive, or ICP fails.
    """
    check_length(interocular)
    registration = icp(truth, prediction, limit=limit * interocular)
    partners = prediction.points[registration.nearest]

    def error(points: Float[np.ndarray, "p 3"]) -> float:
        return float(np.linalg.norm(partners - points, axis=1).mean() / interocular)

    return CorrespondenceNme(
        unaligned=error(truth.points), aligned=error(registration.target_from_source(truth.points))
    )


def _settle(
    points: Float[np.ndarray, "p 3"],
    tree: KDTree,
    motion: Similarity,
    scaled: bool,
    keep: float,
    iterations: int,
) -> Similarity:
    """Iterates until the residual falls by less than a share of `_SETTLED`."""
    previous = np.inf
    for _ in range(iterations):
        distance, nearest = (found[:, 0] for found in nearest_neighbours(tree, motion(points)))
        kept = _nearest_share(distance, keep)
        residual = _residual(distance[kept])
        if previous - residual <= _SETTLED * residual:
            break
        previous = residual
        motion = fit_similarity(points[kept], tree.data[nearest[kept]], scaled=scaled)
    return motion


def _nearest_share(distance: Float[np.ndarray, " p"], keep: float) -> Int[np.ndarray, " k"]:
    count = max(3, round(keep * len(distance)))
    return np.argpartition(distance, count - 1)[:count]


def _residual(distance: Float[np.ndarray, " p"]) -> float:
    return float(np.sqrt((distance**2).mean()))
