"""Faces in videos: followed, smoothed over time, and drawn into every frame."""

from vrn_jax.video.convert import reconstruct_video
from vrn_jax.video.shapes import Shape, ShapeMaker
from vrn_jax.video.stabilize import OneEuro, Stabilizer
from vrn_jax.video.stopwatch import Stopwatch

__all__ = [
    "OneEuro",
    "Shape",
    "ShapeMaker",
    "Stabilizer",
    "Stopwatch",
    "reconstruct_video",
]
