"""Hair and hats: how far the shell is lifted off the head, and its colours."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vrn_jax.config import FaceSettings
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.noise import Draws

__all__ = ["draw_shell"]

_HIDDEN_CM = -0.6


def draw_shell(
    draws: Draws, model: FaceModel, hair: Float[Array, "3"], settings: FaceSettings
) -> tuple[Float[Array, " s"], Float[Array, "s 3"], Bool[Array, ""]]:
    """Draws a head of hair, a hat over it, or neither.

    Returns:
        How far every shell vertex stands off the head (centimetres; negative: hidden below the
        skin), its colour (sRGB in [0, 1]), and whether there is a hat.
    """
    kind = draws.uniform()
    hatted = kind < settings.hat_chance
    haired = kind > 1 - settings.hair_chance * (1 - settings.hat_chance)
    lift = jnp.where(haired, _hair_lift(draws, model), _HIDDEN_CM)
    lift = jnp.where(hatted, _hat_lift(draws, model), lift)
    colour = _strands(draws, model, hair)
    return lift, jnp.where(hatted, _cloth(draws, model), colour), hatted


def _hair_lift(draws: Draws, model: FaceModel) -> Float[Array, " s"]:
    """Hair grows from the hairline, which a fringe, the ears' cover and length at the back move."""
    points = model.neutral[model.shell]
    brow = model.neutral[model.landmarks[17:27], 1].mean()
    front = jax.nn.sigmoid((points[:, 2] - points[:, 2].mean() - 4.0) / 0.8)
    below = front * jax.nn.sigmoid((brow + 1.0 - points[:, 1]) / 0.5)  # never over the eyes
    fringe = jnp.where(
        draws.chance(0.35),
        draws.uniform(0.5, 4.5),
        draws.uniform(-2.5, 0.3),
    )
    slant = 0.25 * draws.normal() * points[:, 0]
    length = jnp.where(
        draws.chance(0.45),
        draws.uniform(2.0, 11.0),
        draws.uniform(-0.5, 0.8),
    )
    reach = front * (fringe + slant * (fringe > 0)) + (1 - front) * length - 6.0 * below
    noise = draws.smooth(points, 2.5)[:, 0]
    depth = model.hairline + reach + 0.35 * noise
    volume = 0.3 + 2.2 * draws.uniform() ** 2
    fluff = volume * (1 - jnp.exp(-jnp.maximum(depth, 0) / 1.8)) * (1 + 0.12 * noise)
    return jnp.where(depth > 0, 0.05 + fluff, jnp.maximum(0.5 * depth, _HIDDEN_CM))


def _hat_lift(draws: Draws, model: FaceModel) -> Float[Array, " s"]:
    """A cap from a tilted line above the brows upwards."""
    points = model.neutral[model.shell]
    brow = model.neutral[model.landmarks[17:27]].mean(axis=0)
    line = brow[1] + draws.uniform(1.0, 3.5)
    line = line + jnp.clip(0.3 * draws.normal(), -0.4, 0.4) * (points[:, 2] - brow[2])
    return jnp.where(points[:, 1] > line, draws.uniform(0.5, 1.4), _HIDDEN_CM)


def _strands(draws: Draws, model: FaceModel, hair: Float[Array, "3"]) -> Float[Array, "s 3"]:
    """Streaks that run down from the crown."""
    points = model.neutral[model.shell]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    around = jnp.arctan2(points[:, 0] - middle[0], points[:, 2] - middle[2])
    along = jnp.stack([around, 0.04 * points[:, 1]], axis=-1)
    streaks = 0.16 * draws.smooth(along, 0.06) + 0.12 * draws.smooth(along, 0.3)
    return jnp.clip(hair * jnp.exp(streaks) + 0.01, 0.01, 0.95)


def _cloth(draws: Draws, model: FaceModel) -> Float[Array, "s 3"]:
    first, second = draws.uniform(0.03, 0.9, (2, 3))
    stripes = jax.nn.sigmoid(4 * draws.smooth(model.neutral[model.shell, 1:2], 2.5) - 4)
    return first + stripes * (second - first)
