"""Glasses: two rims, a bridge, two temples, and lenses that are either clear or dark."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vrn_jax.config import FaceSettings
from vrn_jax.faces.noise import Draws

__all__ = ["GLASSES_POINTS", "draw_glasses", "glasses_triangles"]

_RIM, _BRIDGE, _TEMPLE = 32, 4, 6
_TUBES = (_RIM, _RIM, _BRIDGE, _TEMPLE, _TEMPLE)
_SIDES = 4
_FRAME_POINTS = _SIDES * sum(_TUBES)
GLASSES_POINTS = _FRAME_POINTS + 2 * _RIM
"""Four around every point of the frame's lines, then the outlines of the lenses."""


def glasses_triangles() -> Int[np.ndarray, "t 3"]:
    """The triangles, wound outward in right-handed axes; lenses are seen from both sides."""
    triangles, start = [], 0
    for count, closed in zip(_TUBES, (True, True, False, False, False), strict=True):
        for i in range(count if closed else count - 1):
            for k in range(_SIDES):
                here, there = start + _SIDES * i, start + _SIDES * ((i + 1) % count)
                a, b = here + k, here + (k + 1) % _SIDES
                c, d = there + k, there + (k + 1) % _SIDES
                triangles += [(a, b, c), (b, d, c)]
        start += _SIDES * count
    for _ in range(2):
        for i in range(1, _RIM - 1):
            fan = (start, start + i, start + i + 1)
            triangles += [fan, fan[::-1]]
        start += _RIM
    return np.array(triangles, np.int32)


def draw_glasses(
    draws: Draws, landmarks: Float[Array, "68 3"], settings: FaceSettings
) -> tuple[Float[Array, "g 3"], Float[Array, "g 3"], Float[Array, " g"], Bool[Array, ""]]:
    """Fits glasses to a face.

    Returns:
        Points in head centimetres, linear colours, gloss, and whether they are worn; if not, all
        points fall together and nothing is drawn.
    """
    worn, dark = draws.chance(settings.glasses_chance), draws.chance(0.2)
    width, height = draws.uniform(2.2, 3.1), draws.uniform(1.5, 2.4)
    roundness, thick = draws.uniform(2.0, 5.0), draws.uniform(0.05, 0.22)
    eyes = landmarks[36:48].reshape(2, 6, 3).mean(axis=1)
    apart = jnp.abs(eyes[1, 0] - eyes[0, 0]) / 2
    width = jnp.minimum(width, apart - 0.5)
    front = jnp.maximum(landmarks[27, 2], eyes[:, 2].max() + 0.8) + 0.3
    angle = jnp.arange(_RIM) * (2 * jnp.pi / _RIM)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    radius = (jnp.abs(cos) ** roundness + jnp.abs(sin) ** roundness) ** (-1 / roundness)
    middle = eyes.mean(axis=0) + jnp.array([0.0, draws.uniform(-0.6, 0.2), 0.0])

    def line(x: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, "n 3"]:
        z = front - 0.03 * (x - middle[0]) ** 2  # bent around the face
        return jnp.stack([x, y, z], axis=-1)

    rims = [
        line(middle[0] + side * apart + width * radius * cos, middle[1] + height * radius * sin)
        for side in (-1, 1)
    ]
    reach = jnp.linspace(-1, 1, _BRIDGE) * (apart - width)
    arch = draws.uniform(0.0, 0.8) * (1 - jnp.linspace(-1, 1, _BRIDGE) ** 2)
    bridge = line(middle[0] + reach, middle[1] + 0.3 * height + arch)
    temples = [
        _temple(line, side, middle, apart + width, landmarks[0 if side < 0 else 16])
        for side in (-1, 1)
    ]
    tubes = [_tube(path, thick) for path in (*rims, bridge, *temples)]
    points = jnp.concatenate([*tubes, *rims])
    frame = jnp.where(
        draws.chance(0.6), draws.uniform(0.003, 0.05) * jnp.ones(3), draws.uniform(0.02, 0.6, (3,))
    )
    lens = jnp.arange(GLASSES_POINTS) >= _FRAME_POINTS
    colour = jnp.where(lens[:, None], draws.uniform(0.002, 0.04, (3,)), frame)
    shown = worn & (dark | ~lens)
    points = jnp.where(shown[:, None], points, points[-1])
    return points, colour, jnp.where(lens, 3.0, 1.5), worn


def _temple(line, side: int, middle, half_width, ear: Float[Array, "3"]) -> Float[Array, "n 3"]:
    """From the outer corner of a rim back over the ear."""
    start = line(middle[:1] + side * half_width, middle[1:2] + 0.5)[0]
    end = jnp.stack([ear[0] + 0.5 * side, start[1] + 0.2, ear[2] - 1.0])
    along = jnp.linspace(0, 1, _TEMPLE)[:, None]
    bow = jnp.array([1.2 * side, 0.0, 0.0]) * along * (1 - along)
    return start + along * (end - start) + bow


def _tube(path: Float[Array, "n 3"], thick: Float[Array, ""]) -> Float[Array, "m 3"]:
    """Four points around every point of a path."""
    ahead = jnp.roll(path, -1, axis=0) - jnp.roll(path, 1, axis=0)
    ahead = ahead.at[0].set(path[1] - path[0]).at[-1].set(path[-1] - path[-2])
    ahead = ahead / jnp.maximum(jnp.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    other = jnp.where(jnp.abs(ahead[:, 2:]) < 0.7, jnp.array([0.0, 0, 1]), jnp.array([0.0, 1, 0]))
    across = jnp.cross(ahead, other)
    across = across / jnp.maximum(jnp.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    up = jnp.cross(ahead, across)
    around = jnp.stack([across, up, -across, -up], axis=1)
    return (path[:, None] + thick * around).reshape(-1, 3)
