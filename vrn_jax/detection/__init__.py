"""Faces and their 68 landmarks in a photo, by the two MediaPipe networks in ``assets/``.

BlazeFace proposes faces in upright copies of the photo at several scales, looks at each proposal
again, enlarged and turned, and FaceMesh places the landmarks.
"""

from vrn_jax.detection.detector import FaceDetector
from vrn_jax.detection.facemesh import FACEMESH_OF_IBUG
from vrn_jax.detection.tracking import FaceTracker, Tracked

__all__ = ["FACEMESH_OF_IBUG", "FaceDetector", "FaceTracker", "Tracked"]
