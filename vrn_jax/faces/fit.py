"""Fits a morphable head to the points FaceMesh placed on a photo: who, which expression, what pose.

A maximum a posteriori fit by Gauss-Newton steps: the camera is a weak perspective, identity has its
Gaussian prior, expressions stay in [0, 1], and points far off count less and less (Cauchy's loss).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from vrn_jax.faces.correspond import SurfacePoints
from vrn_jax.faces.draw import normals_in_photo
from vrn_jax.faces.head import Head
from vrn_jax.geometry.mesh import outer_eye_distance
from vrn_jax.geometry.transforms import apply_affine

__all__ = ["HeadFit", "HeadFitter"]

NOISE = 0.3
"""Standard deviation of a point, cm, as if all erred independently. They err by about half of
this, but together: neighbours have the same error."""
DEPTH_NOISE = 2.0  # times that of x and y
OUTLIER = 0.5  # cm, where Cauchy's loss halves a point's weight
EXPRESSION_SPREAD = 0.35  # standard deviation of the expressions' Gaussian prior
FACING = (0.0, 0.6)  # cosine between normal and viewer from which to which a point gains its weight
LEAST_WEIGHT = 0.1  # of points on the outline, which slide along it
STEPS = 10
RELEASES = 6  # rounds of pinning expressions to their bounds

_FLIP = np.array([1.0, -1.0, 1.0])  # photo frame <-> right-handed, y up
_POSE = 7  # unknowns of the pose: rotation, log of scale, translation


@dataclass(frozen=True, eq=False)
class HeadFit:
    """A head as a photo shows it.

    `photo_from_head` maps head centimetres to photo pixels, z too; its zero of z has no meaning.
    `residual` is the root mean square distance in the picture of FaceMesh's points from the fitted
    ones, in units of the head's outer eye distance.
    """

    identity: Float[np.ndarray, " i"]
    expression: Float[np.ndarray, " e"]
    photo_from_head: Float[np.ndarray, "3 4"]
    residual: float


@dataclass(frozen=True, eq=False)
class _Pose:
    """photo = flip (scale rotation head + shift)."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    shift: Float[np.ndarray, " 3"]

    def stepped(self, step: Float[np.ndarray, " 7"]) -> "_Pose":
        """The pose after a step of rotation vector, log of scale and shift in centimetres."""
        rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ self.rotation
        return _Pose(rotation, self.scale * np.exp(step[3]), self.shift + self.scale * step[4:7])


class HeadFitter:
    """Fits one head to many faces; about 0.1 s each. `points` is what `facemesh_points` found."""

    def __init__(self, head: Head, points: SurfacePoints):
        modes = np.concatenate([head.identity, head.expression])
        self._identities = len(head.identity)
        self._neutral = points.of(head.neutral)
        self._modes = np.stack([points.of(mode).T for mode in modes], axis=2)  # [3 468 modes]
        normals = normals_in_photo(head.neutral * _FLIP, head.faces) * _FLIP
        self._normals = points.of(normals)
        self._eyes = outer_eye_distance(head.neutral[head.landmarks])
        self._precision = np.full(_POSE + len(modes), EXPRESSION_SPREAD**-2.0)  # of the prior
        self._precision[:_POSE] = 1e-9
        self._precision[_POSE : _POSE + self._identities] = 1.0

    def __call__(self, observed: Float[np.ndarray, "468 3"]) -> HeadFit:
        """The fit to the 468 points of `Face.facemesh` (photo frame)."""
        target = observed * _FLIP
        coefficients = np.zeros(self._modes.shape[2])
        pose = first_pose(self._neutral, target)
        for _ in range(STEPS):
            pose, coefficients = self._step(target, pose, coefficients)
        photo_from_head = (
            np.concatenate([pose.scale * pose.rotation, pose.shift[:, None]], axis=1)
            * _FLIP[:, None]
        )
        fitted = apply_affine(photo_from_head, self._shape(coefficients))
        off = np.square(fitted - observed)[:, :2].sum(axis=1)
        residual = float(np.sqrt(off.mean())) / (self._eyes * pose.scale)
        identity, expression = np.split(coefficients.astype(np.float32), [self._identities])
        return HeadFit(identity, expression, photo_from_head, residual)

    def uncertainty(self) -> Float[np.ndarray, "i i"]:
        """Covariance of the identity coefficients that a fit to a frontal face leaves open."""
        pose = _Pose(np.eye(3), 1.0, np.zeros(3))
        matrix = self._jacobian(pose, self._neutral)
        weights = self._weights(pose, np.zeros_like(self._neutral))
        covariance = np.linalg.inv(self._normal_matrix(matrix, weights))
        known = slice(_POSE, _POSE + self._identities)
        return covariance[known, known]

    def _step(
        self, target: np.ndarray, pose: _Pose, coefficients: np.ndarray
    ) -> tuple[_Pose, np.ndarray]:
        """One Gauss-Newton step; lengths in centimetres."""
        turned = self._shape(coefficients) @ pose.rotation.T
        error = (target - pose.shift) / pose.scale - turned
        matrix = self._jacobian(pose, turned)
        weights = self._weights(pose, error)
        wanted = error.T.ravel() + matrix[:, _POSE:] @ coefficients
        left = self._normal_matrix(matrix, weights)
        right = matrix.T @ (weights * wanted)
        free_from = _POSE + self._identities
        solution = solve_bounded(left, right, np.arange(len(right)) >= free_from)
        return pose.stepped(solution[:_POSE]), solution[_POSE:]

    def _jacobian(self, pose: _Pose, turned: np.ndarray) -> Float[np.ndarray, "n u"]:
        """How 3 x 468 turned coordinates, in centimetres, follow the unknowns."""
        x, y, z = turned.T
        zero = np.zeros_like(x)
        spin = np.array([[zero, z, -y], [-z, zero, x], [y, -x, zero]]).swapaxes(1, 2)
        shift = np.broadcast_to(np.eye(3)[:, None], spin.shape)
        modes = (pose.rotation @ self._modes.reshape(3, -1)).reshape(self._modes.shape)
        columns = [spin, turned.T[..., None], shift, modes]
        return np.concatenate(columns, axis=2).reshape(3 * len(turned), -1)

    def _weights(self, pose: _Pose, error: np.ndarray) -> Float[np.ndarray, " n"]:
        """Inverse variances of the coordinates, less for points on outlines and for outliers."""
        facing = (self._normals @ pose.rotation[2] - FACING[0]) / (FACING[1] - FACING[0])
        weight = LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * facing.clip(0.0, 1.0)
        noise = NOISE * np.array([1.0, 1.0, DEPTH_NOISE])
        far = np.square(error / [1.0, 1.0, DEPTH_NOISE]).sum(axis=1) / OUTLIER**2
        return np.outer(noise**-2.0, weight / (1.0 + far)).ravel()

    def _shape(self, coefficients: np.ndarray) -> Float[np.ndarray, "468 3"]:
        return self._neutral + (self._modes @ coefficients).T

    def _normal_matrix(self, matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
        root = matrix * np.sqrt(weights)[:, None]
        return root.T @ root + np.diag(self._precision)


def first_pose(source: Float[np.ndarray, "p 3"], target: Float[np.ndarray, "p 3"]) -> _Pose:
    """The similarity nearest to carrying the source points to the target points."""
    from_middle, to_middle = source.mean(axis=0), target.mean(axis=0)
    rotation = Rotation.align_vectors(target - to_middle, source - from_middle)[0].as_matrix()
    turned = (source - from_middle) @ rotation.T
    scale = float(np.vdot(turned, target - to_middle) / np.vdot(turned, turned))
    return _Pose(rotation, scale, to_middle - scale * rotation @ from_middle)


def solve_bounded(
    left: Float[np.ndarray, "n n"], right: Float[np.ndarray, " n"], bounded: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Minimises x' left x / 2 - right' x, with the bounded x in [0, 1].

    Pins what leaves the bounds and lets go what pushes inward, a few times; then cuts what is left.
    """
    solution = np.zeros(len(right))
    pinned = np.zeros(len(right), bool)
    for _ in range(RELEASES):
        free = ~pinned
        known = right[free] - left[np.ix_(free, pinned)] @ solution[pinned]
        solution[free] = cho_solve(cho_factor(left[np.ix_(free, free)]), known)
        pull = right - left @ solution
        outside = bounded & ((solution < 0.0) | (solution > 1.0))
        inward = pinned & np.where(solution <= 0.0, pull > 0.0, pull < 0.0)
        if not (outside.any() or inward.any()):
            break
        solution = np.where(bounded, solution.clip(0.0, 1.0), solution)
        pinned = (pinned & ~inward) | outside
    return np.where(bounded, solution.clip(0.0, 1.0), solution)
