"""Light on a made face: a soft surrounding, a lamp that casts shadows, and a second one.

Everything is in the camera's axes: x to the viewer's right, y up, z to the viewer, centimetres.
Colours are linear here.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.noise import Draws
from vrn_jax.geometry.zbuffer import highest

__all__ = ["Lighting", "draw_lighting", "shade", "shadow"]

_MAP_PX = 144
_PX_PER_CM = 4.0
_SLOTS = 1 << 17
_BIAS_CM = 0.4
_WRAP = 0.3
_SCATTER = np.array([0.7, 0.35, 0.25], np.float32)
"""Share of red, green and blue light that is scattered within the skin."""


class Lighting(NamedTuple):
    """The surrounding as nine spherical-harmonic coefficients a channel, and two lamps.

    `lamps` point towards the lamps, unit vectors; `power` are their linear colours.
    `softness` in [0, 1] is how much of the first lamp's light reaches into its shadows.
    """

    surrounding: Float[Array, "9 3"]
    lamps: Float[Array, "2 3"]
    power: Float[Array, "2 3"]
    softness: Float[Array, ""]


def draw_lighting(draws: Draws) -> Lighting:
    """From an overcast sky to a single bare lamp from the side."""
    contrast = draws.uniform()
    level = 0.75 - 0.5 * contrast
    shape = draws.normal((8, 1)) * jnp.array([[0.3]] * 3 + [[0.1]] * 5)
    shape = shape.at[0, 0].add(0.2)  # more light from above
    tint = 1 + 0.1 * draws.normal((9, 3))
    surrounding = level * jnp.concatenate([jnp.ones((1, 1)), shape]) * tint
    azimuth = draws.normal((2,)) * jnp.array([0.8, 1.6])
    elevation = 0.45 + 0.4 * draws.normal((2,))
    lamps = jnp.stack(
        [
            jnp.sin(azimuth) * jnp.cos(elevation),
            jnp.sin(elevation),
            jnp.cos(azimuth) * jnp.cos(elevation),
        ],
        axis=-1,
    )
    warmth = 0.08 * draws.normal((2, 1)) * jnp.array([1.0, 0.0, -1.0])
    strength = jnp.stack([0.15 + 0.85 * contrast, 0.35 * draws.uniform() ** 2])
    power = strength[:, None] * jnp.exp(warmth)
    return Lighting(surrounding, lamps, power, draws.uniform(0.0, 0.6))


def shadow(
    points: Float[Array, "v 3"],
    surface: Float[Array, "h w 3"],
    model: FaceModel,
    lamp: Float[Array, "3"],
) -> Float[Array, "h w"]:
    """How much of a lamp's light reaches surface points, 0 to 1: a depth map seen from the lamp.

    `surface` are points slightly above the surface: that way a small bias keeps it from shading
    itself.
    """
    side = jnp.cross(jnp.array([0.0, 1.0, 0.0]), lamp)
    side = side / jnp.maximum(jnp.linalg.norm(side), 1e-3)
    up = jnp.cross(lamp, side)
    to_lamp = jnp.stack([side * _PX_PER_CM, -up * _PX_PER_CM, lamp])
    middle = jnp.array([1.0, 1.0, 0.0]) * (_MAP_PX - 1) / 2
    exact = lax.Precision.HIGHEST
    on_map = jnp.matmul(points, to_lamp.T, precision=exact) + middle
    nearest = highest(on_map, model.scene, (_MAP_PX, _MAP_PX), slots=_SLOTS).ravel()
    place = jnp.matmul(surface, to_lamp.T, precision=exact) + middle
    column, row, depth = place[..., 0], place[..., 1], place[..., 2] + _BIAS_CM
    left, top = jnp.floor(column).astype(jnp.int32), jnp.floor(row).astype(jnp.int32)

    def lit(dy: int, dx: int) -> Float[Array, "h w"]:
        y, x = jnp.clip(top + dy, 0, _MAP_PX - 1), jnp.clip(left + dx, 0, _MAP_PX - 1)
        return (nearest[y * _MAP_PX + x] < depth).astype(jnp.float32)

    across, down = column - left, row - top
    upper = lit(0, 0) * (1 - across) + lit(0, 1) * across
    lower = lit(1, 0) * (1 - across) + lit(1, 1) * across
    return upper * (1 - down) + lower * down


def shade(
    albedo: Float[Array, "h w 3"],
    gloss: Float[Array, "h w"],
    normals: Float[Array, "h w 3"],
    lit: Float[Array, "h w"],
    lighting: Lighting,
) -> Float[Array, "h w 3"]:
    """Linear radiance towards the camera of surfaces with linear albedo, some of them glossy.

    `lit` is how much of the first lamp arrives. Strengths are worked out once for all colours, and
    one product with the colours of the lights adds them up.
    """
    reach = [lighting.softness + (1 - lighting.softness) * lit, 1.0]
    diffuse, glints = _harmonics(normals), []
    for i, lamp in enumerate(lighting.lamps):
        facing = normals @ lamp
        halfway = lamp + jnp.array([0.0, 0.0, 1.0])
        glint = jnp.maximum(normals @ (halfway / (jnp.linalg.norm(halfway) + 1e-3)), 0)
        mirror = jnp.where(gloss > 2, 0.5 * glint**128, 0)
        glints.append(reach[i] * (facing > 0) * gloss * (0.06 * glint**16 + mirror))
        diffuse += [reach[i] * jnp.maximum((facing + w) / (1 + w), 0) for w in (_WRAP, 0.0)]
    # Light that enters skin leaves it a little beyond the edge of the shade, red the furthest.
    scattered = lighting.power[:, None] * jnp.array([_SCATTER, 1 - _SCATTER])
    colours = jnp.concatenate([lighting.surrounding, scattered.reshape(4, 3)])
    exact = lax.Precision.HIGHEST
    light = jnp.matmul(jnp.stack(diffuse, axis=-1), colours, precision=exact)
    shine = jnp.matmul(jnp.stack(glints, axis=-1), lighting.power, precision=exact)
    return albedo * jnp.maximum(light, 0.02) + shine


def _harmonics(normals: Float[Array, "h w 3"]) -> list[Float[Array, "h w"]]:
    """The first nine real spherical harmonics, each scaled to a range of about 1."""
    x, y, z = (normals[..., k] for k in range(3))
    return [jnp.ones_like(x), y, x, z, x * y, y * z, x * z, x * x - y * y, 1.5 * z * z - 0.5]
