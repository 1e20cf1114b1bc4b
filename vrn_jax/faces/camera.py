"""From linear light to the bytes of a photo: exposure, colour, blur, noise, compression."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from vrn_jax.config import FaceSettings
from vrn_jax.faces.noise import Draws

__all__ = ["photograph"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BLOCK = 8


def photograph(
    draws: Draws,
    key: PRNGKeyArray,
    light: Float[Array, "h w 3"],
    face: Float[Array, "h w"],
    settings: FaceSettings,
) -> UInt8[Array, "h w 3"]:
    """Takes the picture; exposed for where `face` in [0, 1] is, roughly.

    `key` is for the sensor's noise, the only numbers that are too many for `draws`.
    """
    exposed = (light @ _LUMA * face).sum() / jnp.maximum(face.sum(), 1.0)
    gain = draws.uniform(0.12, 0.36) / jnp.maximum(exposed, 0.02)
    low, high = settings.colour_scale
    light = light * gain * draws.uniform(low, high, (3,)) ** 0.8
    picture = jnp.sqrt(jnp.clip(_rolled_off(light), 1e-5, 1.0))
    grey = (picture @ _LUMA)[..., None]
    fade = jnp.where(draws.chance(0.06), 0.0, draws.uniform(0.6, 1.25))
    picture = grey + fade * (picture - grey)
    contrast = draws.uniform(0.8, 1.2)
    picture = 0.45 + contrast * (picture - 0.45) + 0.04 * draws.normal()
    picture = _blurred(draws, picture)
    strength = 0.045 * draws.uniform() ** 4 + 0.003
    noise = jax.random.normal(key, picture.shape) * strength
    mono = draws.chance(0.5)
    noise = jnp.where(mono, noise[..., :1], noise)
    picture = jnp.clip(picture + noise, 0, 1) * 255
    coarse = jnp.where(draws.chance(0.5), 45 * draws.uniform() ** 2 + 2, 0.5)
    return jnp.round(jnp.clip(_compressed(picture, coarse), 0, 255)).astype(jnp.uint8)


def _rolled_off(light: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Highlights bend towards white instead of being cut off."""
    return jnp.where(light < 0.6, light, 0.6 + 0.4 * jnp.tanh((light - 0.6) / 0.4))


def _blurred(draws: Draws, picture: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Out of focus, moved, or enlarged from few pixels; most pictures hardly at all."""
    sigma = 0.3 + 1.8 * draws.uniform() ** 5 + jnp.array([0.0, 1.2]) * draws.uniform() ** 8
    distance = np.arange(picture.shape[0])[:, None] - np.arange(picture.shape[0])
    bell = jnp.exp(-(distance**2) / (2 * sigma[:, None, None] ** 2))
    bell = bell / bell.sum(axis=2, keepdims=True)
    rows = jnp.einsum("hy,ywc->hwc", bell[0], picture, precision=lax.Precision.HIGHEST)
    return jnp.einsum("wx,hxc->hwc", bell[1], rows, precision=lax.Precision.HIGHEST)


def _compressed(picture: Float[Array, "h w 3"], coarse: Float[Array, ""]) -> Float[Array, "h w 3"]:
    """JPEG's losses: 8 x 8 cosine blocks of brightness and colour, rounded to coarse steps.

    Steps grow with frequency about as in the standard's table, twice as fast for colours.
    """
    k = np.arange(_BLOCK)
    basis = np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * _BLOCK)) * 0.5
    basis[0] /= np.sqrt(2)
    basis = basis.astype(np.float32)
    to_ycc = np.stack([_LUMA, [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]]).astype(np.float32)
    h, w = picture.shape[:2]
    blocks = (picture @ to_ycc.T).reshape(h // _BLOCK, _BLOCK, w // _BLOCK, _BLOCK, 3)
    waves = jnp.einsum("ui,vj,yixjc->yuxvc", basis, basis, blocks, precision=lax.Precision.HIGHEST)
    rise = (1 + 0.8 * (k[:, None, None] + k[:, None])) / 6 * np.array([1.0, 2.0, 2.0])
    step = coarse * jnp.asarray(rise, jnp.float32)[:, None]
    waves = jnp.round(waves / step) * step
    blocks = jnp.einsum("ui,vj,yuxvc->yixjc", basis, basis, waves, precision=lax.Precision.HIGHEST)
    return blocks.reshape(h, w, 3) @ np.linalg.inv(to_ycc).T.astype(np.float32)
