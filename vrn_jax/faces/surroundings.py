"""What is behind a head and what comes in front of it, painted in the crop's pixels.

Colours are linear.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vrn_jax.config import FaceSettings
from vrn_jax.faces.noise import Draws
from vrn_jax.geometry.grid import VRN_GRID

__all__ = ["draw_background", "draw_occluder"]

_SHAPE = VRN_GRID.shape[:2]


def draw_background(
    draws: Draws, neck: Float[Array, "2"], cloth: Float[Array, "3"]
) -> Float[Array, "h w 3"]:
    """Blurred rooms and streets of patches and boxes, with shoulders in `cloth` below the neck."""
    picture = draws.uniform() ** 2 + 0.12 * draws.normal((3,))
    for cells, strength in ((3, 0.4), (9, 0.25), (32, 0.12)):
        patches = draws.normal((cells, cells, 1)) + 0.25 * draws.normal((cells, cells, 3))
        smooth = jax.image.resize(patches, (*_SHAPE, 3), "cubic")
        picture = picture + strength * draws.uniform() ** 2 * smooth
    x, y = _pixels()
    for _ in range(4):
        centre, half = draws.uniform(0.0, 192.0, (2,)), draws.uniform(5.0, 90.0, (2,))
        inside = jnp.maximum(jnp.abs(x - centre[0]) - half[0], jnp.abs(y - centre[1]) - half[1])
        cover = draws.uniform() * jax.nn.sigmoid(-inside / draws.uniform(0.3, 6.0))
        paint = draws.uniform() ** 2 * jnp.exp(0.3 * draws.normal((3,)))
        picture = _over(picture, paint, cover)
    width, drop = draws.uniform(55.0, 110.0), draws.uniform(15.0, 40.0)
    round_off = ((x - neck[0]) / width) ** 2 + (jnp.minimum(y - neck[1] - drop, 0) / 35.0) ** 2
    shoulders = jax.nn.sigmoid(12 * (1 - round_off))
    picture = _over(picture, cloth * draws.uniform(0.2, 0.8), shoulders)
    return jnp.clip(picture, 0.0, 1.5)


def draw_occluder(
    draws: Draws, skin: Float[Array, "3"], settings: FaceSettings
) -> tuple[Float[Array, "h w 3"], Float[Array, "h w"]]:
    """A hand of four fingers, or a thing of any colour: linear colours and cover in [0, 1]."""
    x, y = _pixels()
    centre = 96 + draws.normal((2,)) * 45
    angle = draws.uniform(0.0, 2 * jnp.pi)
    u = (x - centre[0]) * jnp.cos(angle) + (y - centre[1]) * jnp.sin(angle)
    v = (y - centre[1]) * jnp.cos(angle) - (x - centre[0]) * jnp.sin(angle)
    size = draws.uniform(7.0, 11.0)
    hand = draws.chance(0.5)
    height = jnp.full(_SHAPE, -1.0)  # far below zero, where nothing is covered
    for finger in range(4):
        length = size * draws.uniform(3.0, 4.5)
        aside = v - (finger - 1.5) * size * 1.05
        beyond = jnp.maximum(jnp.abs(u - length / 2) - length / 2, 0)
        height = jnp.maximum(height, 1 - (aside**2 + beyond**2) / (size / 2) ** 2)
    palm = 1 - ((u + size) / (2.2 * size)) ** 2 - (v / (2.2 * size)) ** 2
    thing = jnp.exp(draws.uniform(2.2, 3.8, (2,)))
    block = 1 - (jnp.abs(u / thing[0]) ** 4 + jnp.abs(v / thing[1]) ** 4)
    height = jnp.where(hand, jnp.maximum(height, palm), block)
    there = draws.chance(settings.occluder_chance)
    cover = there * jax.nn.sigmoid(height * 12)
    rounded = 0.35 + 0.65 * jnp.sqrt(jnp.clip(height, 0, 1))[..., None]
    colour = jnp.where(hand, skin, draws.uniform(0.0, 0.9, (3,)) ** 2)
    return colour * rounded * draws.uniform(0.4, 1.0), cover


def _pixels() -> tuple[Float[Array, "1 w"], Float[Array, "h 1"]]:
    return jnp.arange(float(_SHAPE[1]))[None], jnp.arange(float(_SHAPE[0]))[:, None]


def _over(
    below: Float[Array, "*h c"], paint: Float[Array, " c"], cover: Float[Array, "h w"]
) -> Float[Array, "h w c"]:
    return below + cover[..., None] * (paint - below)
