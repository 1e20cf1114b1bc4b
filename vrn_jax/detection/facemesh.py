"""FaceMesh, the network that places landmarks (arXiv 1907.06724; 192x192 input, 468 points)."""

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from vrn_jax.detection.network import Network
from vrn_jax.detection.views import Pyramid, region, warp
from vrn_jax.geometry.transforms import apply_similarity, similarity

__all__ = ["FACEMESH_OF_IBUG", "FACEMESH_SIZE", "MARGIN", "FaceMesh", "mesh_region"]

# fmt: off
FACEMESH_OF_IBUG: tuple[int, ...] = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # outline
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
# fmt: on
"""Which of FaceMesh's 468 points stands for each of the 68 iBUG points."""

FACEMESH_SIZE = 192
MARGIN = 1.5  # side of FaceMesh's region over the longer side of the face's box
OUTER_EYES = [33, 263]  # FaceMesh's outer corners of the subject's right and left eye
PASSES = 4


class FaceMesh:
    """The landmarks of a face whose place is known roughly."""

    def __init__(self):
        self._network = Network("face_landmark.tflite", FACEMESH_SIZE)

    def __call__(
        self,
        pyramid: Pyramid,
        input_from_photo: Float[np.ndarray, "3 3"],
        min_presence: float,
        passes: int = PASSES,
    ) -> Float[np.ndarray, "468 3"] | None:
        """The 468 points in the photo frame, or None where FaceMesh sees no face.

        The network runs `passes` times, each time on the region around its last points, which at
        least halves the error that a badly placed first region or a turned view leaves. It sees a
        face where its probability is `min_presence` at least, each time.
        """
        points = np.empty((468, 3))
        for _ in range(passes):
            points, presence = self._once(pyramid, input_from_photo)
            if presence < min_presence:
                return None
            input_from_photo = mesh_region(points)
        return points

    def _once(
        self, pyramid: Pyramid, input_from_photo: Float[np.ndarray, "3 3"]
    ) -> tuple[Float[np.ndarray, "468 3"], float]:
        """The 468 points in the photo frame, and the probability of a face."""
        numbers, logit = self._network(warp(pyramid, input_from_photo, FACEMESH_SIZE) / 255.0)
        # Its z grows away from the viewer, in the unit of x and y. It counts from the corner of
        # its input, not from a pixel's centre.
        points = numbers.reshape(468, 3) * (1.0, 1.0, -1.0) - (0.5, 0.5, 0.0)
        return apply_similarity(np.linalg.inv(input_from_photo), points), expit(logit).item()


def mesh_region(points: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "3 3"]:
    """FaceMesh's region around the points it found, turned so that the outer eyes are level."""
    angle = float(np.angle(complex(*np.diff(points[OUTER_EYES, :2], axis=0)[0])))
    level_from_photo = similarity(1.0, -angle, np.zeros(2), np.zeros(2))
    level = apply_similarity(level_from_photo, points[:, :2])
    low, high = level.min(axis=0), level.max(axis=0)
    (centre,) = apply_similarity(np.linalg.inv(level_from_photo), (low + high)[None] / 2.0)
    return region(centre, MARGIN * float((high - low).max()), angle, FACEMESH_SIZE)
