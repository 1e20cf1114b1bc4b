"""BlazeFace, the network that proposes faces (arXiv 1907.05047), and what its outputs mean.

Trained on 128x128 pixels, it is fully convolutional and runs on any multiple of 16. Measured on
portraits: from 18 to 90 pixels it scores faces above 0.2 at every in-plane angle, upside down too,
though its points are then wrong and the score is lower than in a view that shows the face upright.
"""

import itertools
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8
from scipy.special import expit

from vrn_jax.detection.boxes import overlaps
from vrn_jax.detection.network import Network
from vrn_jax.geometry.transforms import apply_similarity, similarity_scale

__all__ = ["BlazeFace", "Proposal"]

SAME_PROPOSAL = 0.3  # intersection over union above which proposals of one view are one face
GRIDS = ((8, 2), (16, 6))  # pixels a cell is wide, and anchors in it
MAX_CPU_THREADS = 4  # more gain little on inputs of this size


@dataclass(frozen=True)
class Proposal:
    """A square box that may hold a face, in pixels of some frame.

    `points` are the box's centre, the subject's right and left eye and the mouth; `score` is in
    [0, 1].
    """

    points: Float[np.ndarray, "4 2"]
    side: float
    score: float

    @property
    def box(self) -> Float[np.ndarray, " 4"]:
        """(left, top, right, bottom); level even where the view was turned."""
        return np.concatenate([self.points[0] - self.side / 2, self.points[0] + self.side / 2])

    @property
    def roll_rad(self) -> float:
        """By how much the face is turned in the picture, from x towards y; 0 is upright.

        From the way between eyes and mouth, which in profiles is longer than that between the eyes.
        """
        _, right_eye, left_eye, mouth = self.points
        x, y = mouth - (right_eye + left_eye) / 2
        return float(np.arctan2(-x, y))

    def moved(self, target_from_source: Float[np.ndarray, "3 3"]) -> "Proposal":
        """The same proposal in another frame."""
        points = apply_similarity(target_from_source, self.points)
        return Proposal(points, self.side * similarity_scale(target_from_source), self.score)


class BlazeFace:
    """Proposals for pictures of size x size RGB pixels, of which a batch of one is a call."""

    def __init__(self, size: int):
        threads = 1 if size <= 128 else min(os.cpu_count() or 1, MAX_CPU_THREADS)
        self._size = size
        self._network = Network("face_detection_short_range.tflite", size, cpu_threads=threads)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], min_score: float) -> list[Proposal]:
        """Proposals that score `min_score` at least, the best first, in pixels of the picture."""
        regressed, logits = self._network(image / np.float32(127.5) - np.float32(1.0))
        return merge(decode(regressed[0], logits[0, :, 0], self._size, min_score))


@cache
def anchors(size: int) -> Float[np.ndarray, "a 2"]:
    """BlazeFace's anchors (x, y) in pixels, from the corner of its input.

    The centres of cells of 8 pixels, each twice, then of cells of 16 pixels, each six times.
    """
    grids = []
    for cell, repeats in GRIDS:
        y, x = (np.indices((size // cell, size // cell)) + 0.5) * cell
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(grids)


def decode(
    regressed: Float[np.ndarray, "a 16"],
    logits: Float[np.ndarray, " a"],
    size: int,
    min_score: float,
) -> list[Proposal]:
    """BlazeFace's outputs as proposals in pixels of its input, without those under `min_score`.

    A row holds a box's centre, its width and height, and six points: right eye, left eye, nose,
    mouth and two at the ears. Centre and points count from the anchor; all are in pixels.
    """
    scores = expit(logits)
    kept = (scores >= min_score) & (regressed[:, 2:4] > 0.0).all(axis=1)
    pairs = regressed[kept].reshape(-1, 8, 2).astype(np.float64)
    points = pairs[:, [0, 2, 3, 5]] + anchors(size)[kept, None] - 0.5
    sides = pairs[:, 1].max(axis=1).tolist()
    return [Proposal(*one) for one in zip(points, sides, scores[kept].tolist(), strict=True)]


def merge(proposals: list[Proposal]) -> list[Proposal]:
    """Weighted non-maximum suppression, best score first (the "blending" of BlazeFace's paper).

    The best proposal left and all that overlap it become their mean weighted by the scores, with
    the best one's score; and so on with the rest.
    """
    merged = []
    left = sorted(proposals, key=lambda proposal: -proposal.score)
    boxes = np.array([one.box for one in left]).reshape(-1, 4)
    while left:
        same = overlaps(boxes[0], boxes) > SAME_PROPOSAL
        group = list(itertools.compress(left, same))
        weights = [one.score for one in group]
        points = np.average([one.points for one in group], axis=0, weights=weights)
        side = float(np.average([one.side for one in group], weights=weights))
        merged.append(Proposal(points, side, left[0].score))
        left, boxes = list(itertools.compress(left, ~same)), boxes[~same]
    return merged
