"""Colours of a head: skin of every tone, lips, brows, beards, eyes and teeth.

Colours are sRGB in [0, 1], one a vertex. Tones are drawn evenly from light to dark, so that no
group of people is rare. Palettes are set by eye.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vrn_jax.config import FaceSettings
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.noise import Draws

__all__ = ["Skin", "draw_skin", "wear_portrait"]

# From the lightest to the darkest.
_TONES = np.array(
    [
        [0.95, 0.80, 0.72],
        [0.90, 0.72, 0.60],
        [0.80, 0.60, 0.46],
        [0.66, 0.46, 0.33],
        [0.47, 0.31, 0.22],
        [0.30, 0.19, 0.14],
    ],
    np.float32,
)
# Black, dark brown, brown, fair, red, grey, white.
_HAIR = np.array(
    [
        [0.07, 0.06, 0.06],
        [0.17, 0.11, 0.08],
        [0.31, 0.20, 0.13],
        [0.66, 0.52, 0.35],
        [0.45, 0.21, 0.10],
        [0.50, 0.49, 0.48],
        [0.80, 0.79, 0.77],
    ],
    np.float32,
)
_LIGHT_SKINNED = np.array([0.12, 0.2, 0.22, 0.17, 0.06, 0.15, 0.08], np.float32)
_DARK_SKINNED = np.array([0.6, 0.17, 0.04, 0.01, 0.01, 0.12, 0.05], np.float32)
# Dark brown, brown, hazel, green, grey, blue.
_IRIS = np.array(
    [
        [0.16, 0.09, 0.05],
        [0.30, 0.18, 0.10],
        [0.42, 0.32, 0.17],
        [0.37, 0.42, 0.28],
        [0.45, 0.48, 0.50],
        [0.34, 0.47, 0.60],
    ],
    np.float32,
)
_SCLERA = np.array([0.88, 0.86, 0.84], np.float32)
_TEETH = np.array([0.88, 0.84, 0.76], np.float32)
_MOUTH = np.array([0.42, 0.16, 0.16], np.float32)
_LASHES = np.array([0.06, 0.05, 0.05], np.float32)


class Skin(NamedTuple):
    """The look of one head: colours and gloss of its vertices, of its hair and of a hand.

    `tone` runs from 0 (lightest) to 1 (darkest); `beard` is how much of the skin under one shows
    it, 0 to 1. Both describe drawn skin; for a portrait's colours `tone` is estimated, `beard` 0.
    """

    colour: Float[Array, "v 3"]
    gloss: Float[Array, " v"]
    hair: Float[Array, "3"]
    flesh: Float[Array, "3"]
    tone: Float[Array, ""]
    beard: Float[Array, ""]


def draw_skin(draws: Draws, model: FaceModel, settings: FaceSettings) -> Skin:
    """Draws the colours of a head that wears no portrait."""
    tone = draws.uniform(0.0, 1.0)
    hair = _hair_colour(draws, tone)
    colour = _complexion(draws, model, tone)
    colour = _lips(draws, model, colour)
    brows = _patchy(draws, model, 0.5) * model.masks["brows"] * draws.uniform(0.5, 1.0)
    colour = _over(colour, hair * 0.9, brows)
    cover, beard = _beard(draws, model, settings)
    colour = _over(colour, 0.85 * hair + 0.15 * colour, cover)
    bald = draws.chance(0.15)
    roots = model.masks["scalp"] * jnp.where(bald, 0.15, 0.9) * _patchy(draws, model, 0.7)
    colour = _over(colour, hair, roots)
    colour = _eyes_and_mouth(draws, model, colour)
    gloss = draws.uniform(0.1, 1.0) * (1 - 0.8 * cover) * (1 + model.masks["lips"])
    colour = jnp.clip(colour, 0.01, 0.98)
    return Skin(colour, _wet(model, gloss), hair, _cheek(model, colour), tone, beard)


def _hair_colour(draws: Draws, tone: Float[Array, ""]) -> Float[Array, "3"]:
    """A hair colour as it goes with a skin tone in [0, 1]."""
    chances = (1 - tone) * _LIGHT_SKINNED + tone * _DARK_SKINNED
    return jnp.asarray(_HAIR)[draws.choice(chances)] * draws.uniform(0.75, 1.3)


def wear_portrait(
    draws: Draws, model: FaceModel, skin: Skin, portrait: Float[Array, "v 3"]
) -> Skin:
    """The skin with a portrait's colours instead, slightly relit; eyes and mouth stay drawn."""
    level, warmth, red = draws.normal((3,))
    cast = 0.12 * level + jnp.stack([0.05 * warmth + 0.03 * red, 0.0 * red, -0.05 * warmth])
    on_skin = model.parts["skin"][:, None]
    colour = jnp.where(on_skin, jnp.clip(portrait * jnp.exp(cast), 0.01, 0.98), skin.colour)
    flesh = _cheek(model, colour)
    levels = _TONES.mean(axis=1)[::-1]  # rising, as interp wants them
    tone = jnp.interp(flesh.mean(), levels, np.linspace(1, 0, len(levels)))
    scalp = model.masks["scalp"][:, None]
    hair = 0.9 * (scalp * portrait).sum(axis=0) / scalp.sum()
    return Skin(colour, skin.gloss, hair, flesh, tone, jnp.zeros(()))


def _cheek(model: FaceModel, colour: Float[Array, "v 3"]) -> Float[Array, "3"]:
    weight = model.masks["cheeks"][:, None]
    return (weight * colour).sum(axis=0) / weight.sum()


def _complexion(draws: Draws, model: FaceModel, tone: Float[Array, ""]) -> Float[Array, "v 3"]:
    place = tone * (len(_TONES) - 1)
    base = jnp.stack(
        [jnp.interp(place, np.arange(len(_TONES)), jnp.asarray(_TONES[:, c])) for c in range(3)]
    )
    base = base + jnp.array([0.02, 0.0, -0.03]) * draws.normal()
    redness = (
        0.3 * draws.normal()
        + 0.5 * draws.smooth(model.neutral, 5.0)
        + 1.3 * draws.uniform() * model.masks["cheeks"][:, None]
    )
    colour = base + jnp.array([0.025, -0.035, -0.03]) * redness * (1 - 0.6 * tone)
    colour = colour * (1 + 0.02 * draws.smooth(model.neutral, 1.0))
    return colour * (1 - draws.uniform(0.0, 0.35) * model.masks["lids"][:, None])


def _lips(draws: Draws, model: FaceModel, colour: Float[Array, "v 3"]) -> Float[Array, "v 3"]:
    natural = colour * jnp.array([0.88, 0.62, 0.63])
    painted = jnp.array([0.65, 0.12, 0.18]) * draws.uniform(0.5, 1.2)
    strength = jnp.where(draws.chance(0.15), 0.75, 0.0)
    tint = natural + strength * (painted - natural)
    return _over(colour, tint, model.masks["lips"] * draws.uniform(0.4, 1.0))


def _beard(
    draws: Draws, model: FaceModel, settings: FaceSettings
) -> tuple[Float[Array, " v"], Float[Array, ""]]:
    """How much hair covers every vertex, and the beard's strength; stubble, full or moustache."""
    worn = draws.chance(settings.beard_chance)
    chin, lip = jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])[draws.choice(jnp.ones(3))]
    amount = worn * draws.uniform(0.25, 1.0)
    area = jnp.maximum(chin * model.masks["beard"], lip * model.masks["moustache"])
    return amount * area * _patchy(draws, model, 0.6), amount


def _eyes_and_mouth(
    draws: Draws, model: FaceModel, colour: Float[Array, "v 3"]
) -> Float[Array, "v 3"]:
    iris = jnp.asarray(_IRIS)[draws.choice(jnp.ones(len(_IRIS)))]
    iris = iris * draws.uniform(0.7, 1.3)
    size = draws.uniform(0.3, 0.55)
    ring = jnp.where(model.iris > 0.85, 0.5, 1.0) * jnp.where(model.iris < size, 0.06, 1.0)
    paints = {
        "sclera": _SCLERA * draws.uniform(0.55, 0.9),
        "teeth": _TEETH * draws.uniform(0.6, 0.95),
        "mouth": jnp.asarray(_MOUTH),
        "lashes": jnp.asarray(_LASHES),
        "iris": iris * ring[:, None],
    }
    for part, paint in paints.items():
        colour = jnp.where(model.parts[part][:, None], paint, colour)
    return colour


def _wet(model: FaceModel, gloss: Float[Array, " v"]) -> Float[Array, " v"]:
    """Eyes and teeth shine whatever the skin does; lashes and the throat do not."""
    shining = model.parts["sclera"] | model.parts["iris"]
    gloss = jnp.where(shining, 4.0, jnp.where(model.parts["teeth"], 1.5, gloss))
    return jnp.where(model.parts["lashes"] | model.parts["mouth"], 0.1, gloss)


def _patchy(draws: Draws, model: FaceModel, wavelength_cm: float) -> Float[Array, " v"]:
    """Between about 0.5 and 1: hair does not grow evenly."""
    return jnp.clip(0.85 + 0.2 * draws.smooth(model.neutral, wavelength_cm)[:, 0], 0.3, 1.0)


def _over(
    below: Float[Array, "v 3"], paint: Float[Array, "..."], cover: Float[Array, " v"]
) -> Float[Array, "v 3"]:
    return below + cover[:, None] * (paint - below)
