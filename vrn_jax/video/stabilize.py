"""Less trembling without lagging behind: landmarks and volumes averaged over time, online.

The One Euro filter (Casiez, Roussel and Vogel, CHI 2012) is a first-order low-pass whose cut-off
rises with speed: fc = min_cutoff + beta * speed. What is still is averaged over a long time, what
moves over a short one. At a steady speed v it stays v / (2 pi fc) behind, and so never more than
1 / (2 pi beta) in the unit of the values, however fast they move.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from vrn_jax.geometry.crop import landmark_box, quarter_turns
from vrn_jax.types import Face

__all__ = ["OneEuro", "Stabilizer"]

MIN_CUTOFF_HZ = 0.4
BETA = 5.0
"""In 1 / face sizes: a landmark lags by 3.2 % of the face's size at most."""
SPEED_CUTOFF_HZ = 1.5
_JUMP = 0.5  # face sizes between two frames: another face, or a cut


class OneEuro:
    """Filters a list of points, each by its own speed. Times are in seconds and rise."""

    def __init__(
        self,
        min_cutoff_hz: float = MIN_CUTOFF_HZ,
        beta: float = BETA,
        speed_cutoff_hz: float = SPEED_CUTOFF_HZ,
    ):
        self._settings = (min_cutoff_hz, beta, speed_cutoff_hz)
        self._last: tuple[np.ndarray, np.ndarray, float] | None = None
        self.weights: Float[np.ndarray, "p 1"] = np.ones((1, 1))
        """Of the newest values in the last result, 0..1."""

    def __call__(self, points: Float[np.ndarray, "p c"], time_s: float) -> Float[np.ndarray, "p c"]:
        """The smoothed points; the first ones come back as they are."""
        if self._last is None:
            self._last = (points, np.zeros_like(points), time_s)
            self.weights = np.ones((len(points), 1))
            return points
        min_cutoff, beta, speed_cutoff = self._settings
        before, velocity, then = self._last
        step = max(time_s - then, 1e-6)
        velocity = velocity + _weight(speed_cutoff, step) * ((points - before) / step - velocity)
        speed = np.linalg.norm(velocity, axis=1, keepdims=True)
        self.weights = _weight(min_cutoff + beta * speed, step)
        smoothed = before + self.weights * (points - before)
        self._last = (smoothed, velocity, time_s)
        return smoothed


class Stabilizer:
    """The landmarks of one face, and its volumes, each in the order of frames.

    Landmarks may be ahead of volumes, and in another thread: the weight is all that joins them.
    """

    def __init__(self):
        self._filter = OneEuro()
        self._size = 0.0
        self._previous: np.ndarray | None = None
        self._volume: np.ndarray | None = None

    def face(self, face: Face, time_s: float) -> tuple[Face, float]:
        """The face with its landmarks and box smoothed, and the weight its volume should get.

        The weight is near one where a landmark moves, be it only the lips.
        """
        assert face.landmarks is not None
        low, high = face.box[:2], face.box[2:]
        size = float(np.sqrt(np.prod(high - low)))
        if self._previous is None or self._has_jumped(face.landmarks, size):
            # One unit from now on: with the size in each frame, its noise would get into all.
            self._filter, self._size = OneEuro(), size
        self._previous = face.landmarks
        landmarks = self._filter(face.landmarks / self._size, time_s) * self._size
        steady = dataclasses.replace(
            face,
            box=landmark_box(landmarks),
            landmarks=landmarks,
            quarter_turns=quarter_turns(landmarks),
        )
        return steady, float(np.quantile(self._filter.weights, 0.9))

    def volume(
        self, volume: Float[np.ndarray, "h w d"], weight: float
    ) -> Float[np.ndarray, "h w d"]:
        """The volumes of this face so far, averaged; `weight` is that of the newest."""
        if self._volume is None or weight >= 1:
            self._volume = volume
        else:
            self._volume = self._volume + np.float32(weight) * (volume - self._volume)
        return self._volume

    def _has_jumped(self, landmarks: np.ndarray, size: float) -> bool:
        way = (landmarks - self._previous)[:, :2].mean(axis=0)
        return bool(np.linalg.norm(way) > _JUMP * size)


def _weight(cutoff_hz, step_s: float):
    """Of the newest value in a first-order low-pass."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))
