"""Faces from frame to frame: searched for once, then followed by FaceMesh alone.

A search takes many times as long as FaceMesh's look at where a face was, so it is done at the
start, when a face is lost, and, where all faces are wanted, now and then for new ones.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vrn_jax.config import Followed
from vrn_jax.detection.detector import FaceDetector, is_new
from vrn_jax.types import Face

__all__ = ["FaceTracker", "Tracked"]

SEARCH_WITHOUT_FACE = 4  # frames: the longest wait after searches that found nothing
SEARCH_FOR_MORE = 15  # frames: so often new faces are looked for, where all are wanted


class Tracked(NamedTuple):
    """A face, and the number it keeps as long as it is not lost."""

    number: int
    face: Face


class FaceTracker:
    """Takes the frames of a video in their order; the faces it gives have landmarks."""

    def __init__(self, detector: FaceDetector | None = None, *, followed: Followed = "largest"):
        self._detector = detector or FaceDetector()
        self._followed = followed
        self._tracked: list[Tracked] = []
        self._since_search = SEARCH_FOR_MORE
        self._in_vain = 0  # searches in a row: who has just been lost is soon back, or not at all
        self._next_number = 0

    def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Tracked]:
        """The faces of the next frame: those that were there before first."""
        tracked: list[Tracked] = []
        lost = False
        for number, face in self._tracked:
            found = self._detector.follow(frame, face)
            if found is None or not is_new(found.box, [one.face for one in tracked]):
                lost = True
            else:
                tracked.append(Tracked(number, found))
        self._since_search += 1
        if lost or self._is_due(bool(tracked)):
            self._since_search = 0
            tracked += self._search(frame, tracked)
            self._in_vain = 0 if tracked else self._in_vain + 1
        self._tracked = tracked
        return tracked

    def _is_due(self, following: bool) -> bool:
        if following and self._followed == "largest":
            return False
        wait = SEARCH_FOR_MORE if following else min(self._in_vain, SEARCH_WITHOUT_FACE)
        return self._since_search >= wait

    def _search(self, frame: UInt8[np.ndarray, "h w 3"], known: list[Tracked]) -> list[Tracked]:
        if known and self._followed == "largest":
            return []
        found: list[Tracked] = []
        for face in self._detector(frame):
            others = [one.face for one in (*known, *found)]
            if face.facemesh is None or not is_new(face.box, others):
                continue
            found.append(Tracked(self._next_number, face))
            self._next_number += 1
            if self._followed == "largest":
                break
        return found
