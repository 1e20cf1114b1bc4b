"""A closed solid laid out in the plane without a cut.

Seen by the camera, the solid has an outline. What lies before the outline keeps its place in the
photo, also where the nose covers it; what lies behind, sides and back, is folded outwards into a
hem around it, the farther out the farther behind. Only the point straight behind the middle has no
place of its own: the few faces around it are torn, a speck of a pixel or two on the back.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Float

__all__ = ["Unfolding", "unfolding"]

_BINS = 360
_SIDE = 0.97  # of the outline's radius; what is farther out belongs to the sides


class Unfolding(NamedTuple):
    """By direction in the picture, in even steps from the x axis towards y.

    `radius` is the outline's distance from the middle, `angle_rad` the angle between viewer and
    outline as seen from the middle of the solid, and `hem` the width of what is folded out.
    """

    radius: Float[np.ndarray, " n"]
    angle_rad: Float[np.ndarray, " n"]
    hem: float

    def place(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 2"]:
        """Where points of the surface lie in the plane; both relative to the middle."""
        turn, across, angle = _polar(points)
        radius, start = self._at(turn)
        behind = (angle - start) / (np.pi - start)
        distance = np.where(behind > 0, radius + self.hem * behind, across)
        return distance[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)

    def directions(self, places: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 3"]:
        """For places on or outside of the outline: the direction, in space, of what lies there."""
        x, y = np.moveaxis(places, -1, 0)
        turn = np.arctan2(y, x)
        radius, start = self._at(turn)
        behind = ((np.hypot(x, y) - radius) / self.hem).clip(0, 1)
        angle = start + behind * (np.pi - start)
        across = np.sin(angle)
        return np.stack([across * np.cos(turn), across * np.sin(turn), np.cos(angle)], axis=-1)

    def _at(self, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        position = turn / (2 * np.pi) * _BINS
        steps = np.arange(_BINS)
        radius = np.interp(position, steps, self.radius, period=_BINS)
        return radius, np.interp(position, steps, self.angle_rad, period=_BINS)


def unfolding(points: Float[np.ndarray, "v 3"], hem: float) -> Unfolding:
    """Finds the outline, seen from +z, of a solid around the origin from points of its surface."""
    turn, across, angle = _polar(points)
    step = np.round(turn / (2 * np.pi) * _BINS).astype(int) % _BINS
    radius = np.zeros(_BINS)
    np.maximum.at(radius, step, across)
    # Of sides that run straight back, the outline is the front edge.
    start = np.full(_BINS, np.inf)
    on_side = across >= _SIDE * radius[step]
    np.minimum.at(start, step[on_side], angle[on_side])
    known = np.flatnonzero(radius)
    steps = np.arange(_BINS)
    outline = [np.interp(steps, known, of[known], period=_BINS) for of in (radius, start)]
    smooth = [scipy.ndimage.gaussian_filter1d(of, 1.5, mode="wrap") for of in outline]
    return Unfolding(smooth[0], smooth[1], hem)


def _polar(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction in the picture, distance from the axis, and angle from the viewer."""
    x, y, z = np.moveaxis(points, -1, 0)
    across = np.hypot(x, y)
    return np.arctan2(y, x), across, np.arctan2(across, z)
