"""Distances of point sets: NME over given correspondences, Chamfer, F-score, normal consistency.

Chamfer, F-score and normal consistency share the nearest neighbours in both directions
(`match_nearest`), found with a KD-tree.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from vrn_jax.errors import InputError
from vrn_jax.metrics.point_set import PointSet, check_same_frame

__all__ = [
    "Matches",
    "chamfer",
    "check_length",
    "f_score",
    "match_nearest",
    "nearest_neighbours",
    "nme",
    "normal_consistency",
]


class Matches(NamedTuple):
    """Nearest neighbours, both ways. Distances are in the unit of the points."""

    prediction: PointSet
    truth: PointSet
    to_truth: Float[np.ndarray, " p"]
    """Distance of every predicted point to the true one nearest to it."""
    nearest_truth: Int[np.ndarray, " p"]
    to_prediction: Float[np.ndarray, " q"]
    """Distance of every true point to the predicted one nearest to it."""
    nearest_prediction: Int[np.ndarray, " q"]


def nme(prediction: PointSet, truth: PointSet, interocular: float) -> float:
    """Normalised mean error of corresponding points (VRN paper, section 4, equation 1).

    mean |prediction_i - truth_i| / d, where d, `interocular`, is the distance in space of the true
    outer eye corners in the unit of the points. Nothing is aligned.

    Raises:
        InputError: if frames, units or counts differ, or the distance is not positive.
    """
    check_same_frame(prediction, truth)
    if prediction.points.shape != truth.points.shape:
        raise InputError(
            f"corresponding points are as many as their partners, got {prediction} and {truth}; "
            "metrics.icp.correspondence_nme finds correspondences"
        )
    check_length(interocular)
    distances = np.linalg.norm(prediction.points - truth.points, axis=1)
    return float(distances.mean() / interocular)


def match_nearest(prediction: PointSet, truth: PointSet) -> Matches:
    """Finds every point's nearest neighbour in the other set.

    Raises:
        InputError: if frames or units differ.
    """
    check_same_frame(prediction, truth)
    to_truth, nearest_truth = nearest_neighbours(KDTree(truth.points), prediction.points)
    to_prediction, nearest_prediction = nearest_neighbours(KDTree(prediction.points), truth.points)
    return Matches(
        prediction,
        truth,
        to_truth[:, 0],
        nearest_truth[:, 0],
        to_prediction[:, 0],
        nearest_prediction[:, 0],
    )


def nearest_neighbours(
    tree: KDTree, points: Float[np.ndarray, "p 3"], count: int = 1
) -> tuple[Float[np.ndarray, "p k"], Int[np.ndarray, "p k"]]:
    """Distances to the `count` nearest points of the tree, in ascending order, and their indices.

    Uses all cores.
    """
    distance, index = tree.query(points, count, workers=-1)
    return np.reshape(distance, (-1, count)), np.reshape(index, (-1, count))


def chamfer(matches: Matches) -> float:
    """Mean of accuracy and completeness, each a mean distance to the nearest neighbour.

    The "Chamfer-L1" of Mescheder et al. (Occupancy Networks, CVPR 2019, section 4): distances are
    not squared, and the two directions are averaged, not added. In the unit of the points.
    """
    return float((matches.to_truth.mean() + matches.to_prediction.mean()) / 2)


def f_score(matches: Matches, within: float) -> float:
    """Harmonic mean of precision and recall (Knapitsch et al., Tanks and Temples, 2017).

    Precision is the share of predicted points that have a true one less than `within` away (in the
    unit of the points), recall the share of true points that have a predicted one.
    """
    precision = (matches.to_truth < within).mean()
    recall = (matches.to_prediction < within).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def normal_consistency(matches: Matches) -> float:
    """Mean |cosine| between a point's normal and its nearest neighbour's, both ways averaged.

    Mescheder et al. (CVPR 2019, section 4): the absolute value, so that a surface turned inside out
    does not count as wrong. 1 is perfect, 0.5 is what normals at random in space give.

    Raises:
        InputError: if one of the sets has no normals.
    """
    ours, theirs = matches.prediction.normals, matches.truth.normals
    if ours is None or theirs is None:
        raise InputError(
            f"normal consistency needs normals on both sides, got {matches.prediction} and "
            f"{matches.truth}; metrics.point_set.sample_surface draws points that have them"
        )
    accuracy = np.abs((ours * theirs[matches.nearest_truth]).sum(axis=1)).mean()
    completeness = np.abs((theirs * ours[matches.nearest_prediction]).sum(axis=1)).mean()
    return float((accuracy + completeness) / 2)


def check_length(length: float) -> None:
    """Refuses a normaliser that is not a length.

    Raises:
        InputError: if it is not positive and finite.
    """
    if not (np.isfinite(length) and length > 0):
        raise InputError(
            f"an interocular distance is positive and in the unit of the points, got {length}"
        )
