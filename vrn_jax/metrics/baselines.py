"""What any method must beat: a posed mean head, a flat plane, the best constant volume.

A mean face with the true pose scores about .039 on AFLW2000-3D by NME, better than many a network;
an error says something about a person only beside these.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vrn_jax.errors import InputError
from vrn_jax.metrics.volume import iou
from vrn_jax.types import Frame, Mesh

__all__ = [
    "ConstantVolume",
    "WeakPerspective",
    "best_constant_volume",
    "fit_weak_perspective",
    "flat_front",
    "posed_head",
]


class WeakPerspective(NamedTuple):
    """Orthographic projection with a scale: picture = scale * (rotation @ point)[:2] + translation.

    Both sides have their axes alike (y down or y up), and z to the viewer.
    """

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 2"]


class ConstantVolume(NamedTuple):
    """One volume given as the answer to every photo, and its mean IoU with the true ones."""

    volume: Bool[Array, "h w d"]
    threshold: float
    """The volume is where the mean occupancy is above it."""
    mean_iou: float


def fit_weak_perspective(
    points: Float[np.ndarray, "l 3"], picture: Float[np.ndarray, "l 2"]
) -> WeakPerspective:
    """The weak-perspective camera of corresponding points, least squares in the picture.

    Closed form: the best affine camera is linear, and its rotation is the nearest one, by singular
    value decomposition. Scale and translation are then the best for that rotation. (Minimising the
    error over all three together takes it down by 2 % only, and brings no better pose.)

    Raises:
        InputError: if the points lie in a plane, which leaves the affine camera open.
    """
    middle, offset = points.mean(axis=0), picture.mean(axis=0)
    affine, _, rank, _ = np.linalg.lstsq(points - middle, picture - offset, rcond=1e-9)
    if rank < 3:
        raise InputError(
            f"{len(points)} points in a plane do not tell a camera; give landmarks of the whole "
            "face, four at least"
        )
    left, _, right = np.linalg.svd(affine.T, full_matrices=False)
    across, down = left @ right
    rotation = np.stack([across, down, np.cross(across, down)])
    turned = (points - middle) @ rotation[:2].T
    scale = float((turned * (picture - offset)).sum() / (turned**2).sum())
    return WeakPerspective(scale, rotation, offset - scale * rotation[:2] @ middle)


def posed_head(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    landmarks: Int[np.ndarray, " l"],
    true_landmarks: Float[np.ndarray, "l 2"],
    frame: Frame,
) -> Mesh:
    """A head in the weak perspective that fits the true 2D landmarks: the baseline "mean head".

    `vertices` and outward `faces` are in a head frame (x to the viewer's right, y up, z to the
    viewer); `landmarks` are the vertices that correspond to `true_landmarks`, (x, y) in the pixels
    of `frame`. The mesh is in those pixels, y down, and the z of the head's origin is 0.

    Raises:
        InputError: if the landmarks do not tell a pose.
    """
    y_down = vertices.astype(np.float64) * (1.0, -1.0, 1.0)
    camera = fit_weak_perspective(y_down[landmarks], true_landmarks.astype(np.float64))
    posed = camera.scale * y_down @ camera.rotation.T
    posed[:, :2] += camera.translation
    return Mesh(posed, np.ascontiguousarray(faces[:, ::-1]), frame)


def flat_front(shape: tuple[int, int]) -> Float[Array, "h w"]:
    """The height map (`metrics.depth`) of a plane that faces the viewer."""
    return jnp.zeros(shape)


def best_constant_volume(
    mean: Float[Array, "h w d"],
    truths: Iterable[Bool[Array, "h w d"]],
    thresholds: tuple[float, ...] = tuple(i / 20 for i in range(1, 20)),
) -> ConstantVolume:
    """The constant volume of highest mean IoU among the level sets of the mean occupancy.

    `mean` is the share of the `truths` that occupy a voxel. The sets are chosen on the very volumes
    that it is measured on, which is generous to the baseline.

    Raises:
        InputError: if there are no volumes.
    """
    levels = jnp.array(thresholds)
    scores = [np.asarray(_level_ious(mean, truth, levels)) for truth in truths]
    if not scores:
        raise InputError("a best constant volume needs at least one true volume, got none")
    means = np.mean(scores, axis=0)
    best = int(means.argmax())
    return ConstantVolume(mean > thresholds[best], thresholds[best], float(means[best]))


@jax.jit
def _level_ious(
    mean: Float[Array, "h w d"], truth: Bool[Array, "h w d"], thresholds: Float[Array, " t"]
) -> Float[Array, " t"]:
    return jax.lax.map(lambda threshold: iou(mean > threshold, truth), thresholds)
