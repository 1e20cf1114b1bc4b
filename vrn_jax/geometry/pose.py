"""The attitude of a head from its 68 landmarks in space."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

__all__ = ["MEAN_LANDMARKS", "HeadPose", "head_pose"]

# fmt: off
MEAN_LANDMARKS: Float[np.ndarray, "68 3"] = np.array([
    (-0.766, -0.531, -0.444), (-0.773, -0.202, -0.635), (-0.766, -0.039, -0.652),
    (-0.699, 0.318, -0.586), (-0.628, 0.463, -0.484), (-0.544, 0.570, -0.373),
    (-0.347, 0.737, -0.203), (-0.142, 0.841, -0.064), (0.000, 0.855, -0.044),
    (0.142, 0.841, -0.064), (0.347, 0.737, -0.203), (0.544, 0.570, -0.373),
    (0.628, 0.463, -0.484), (0.699, 0.318, -0.586), (0.766, -0.039, -0.652),
    (0.773, -0.202, -0.635), (0.766, -0.531, -0.444), (-0.679, -0.606, -0.142),
    (-0.557, -0.614, 0.091), (-0.445, -0.646, 0.166), (-0.306, -0.638, 0.232),
    (-0.153, -0.622, 0.265), (0.153, -0.622, 0.265), (0.306, -0.638, 0.232),
    (0.445, -0.646, 0.166), (0.557, -0.614, 0.091), (0.679, -0.606, -0.142),
    (0.000, -0.449, 0.242), (0.000, -0.289, 0.338), (0.000, -0.132, 0.454),
    (0.000, -0.032, 0.475), (-0.160, 0.047, 0.226), (-0.094, 0.095, 0.244),
    (0.000, 0.103, 0.263), (0.094, 0.095, 0.244), (0.160, 0.047, 0.226),
    (-0.500, -0.414, -0.017), (-0.423, -0.453, 0.060), (-0.307, -0.460, 0.079),
    (-0.192, -0.398, 0.040), (-0.286, -0.382, 0.061), (-0.401, -0.383, 0.042),
    (0.192, -0.398, 0.040), (0.307, -0.460, 0.079), (0.423, -0.453, 0.060),
    (0.500, -0.414, -0.017), (0.401, -0.383, 0.042), (0.286, -0.382, 0.061),
    (-0.354, 0.277, -0.037), (-0.207, 0.236, 0.177), (-0.102, 0.229, 0.225),
    (0.000, 0.243, 0.232), (0.102, 0.229, 0.225), (0.207, 0.236, 0.177),
    (0.354, 0.277, -0.037), (0.188, 0.435, 0.100), (0.100, 0.469, 0.146),
    (0.000, 0.479, 0.156), (-0.100, 0.469, 0.146), (-0.188, 0.435, 0.100),
    (-0.310, 0.282, -0.018), (-0.087, 0.288, 0.158), (0.000, 0.294, 0.170),
    (0.087, 0.288, 0.158), (0.310, 0.282, -0.018), (0.086, 0.375, 0.128),
    (0.000, 0.382, 0.141), (-0.086, 0.375, 0.128),
])
# fmt: on
"""Mean of the FaceMesh landmarks of 774 near-frontal portraits, made symmetric: x right, y down, z
to the viewer, centred, outer eye corners 1 apart. Its attitude is the zero of `head_pose`."""


class HeadPose(NamedTuple):
    """Degrees, as the viewer sees it: R_y(yaw) R_x(pitch) R_z(roll).

    yaw > 0 turns the nose to the right of the picture, pitch > 0 up, roll > 0 tilts the head
    clockwise.
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: Float[np.ndarray, "68 3"]) -> HeadPose:
    """The rotation that brings the mean landmarks nearest to these (Kabsch 1976), at any scale."""
    centred = landmarks - landmarks.mean(axis=0)
    rotation = Rotation.align_vectors(centred, MEAN_LANDMARKS)[0]
    yaw, pitch, roll = rotation.as_euler("YXZ", degrees=True)
    return HeadPose(float(yaw), float(pitch), float(roll))
