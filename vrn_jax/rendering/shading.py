"""Light on a surface, as in a portrait studio: a warm key, a cool fill, a rim, and the room.

All sums are in linear light. Directions are those of the picture, x right, y down, z to the viewer,
so that the lamps go with the camera and every view of a turntable is lit alike.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, Shaped, UInt8

__all__ = ["BACKGROUND", "CLAY", "LAMPS", "backdrop", "occlusion", "shade", "to_linear", "to_srgb"]

BACKGROUND = (245, 245, 247)
"""RGB of plain backgrounds."""
CLAY = (219, 199, 182)
"""RGB of meshes without colours."""


class Lamp(NamedTuple):
    """A distant light: the direction to it, of any length, and its linear colour."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]


LAMPS = (
    Lamp((-0.5, -0.55, 0.67), (0.95, 0.87, 0.76)),  # key
    Lamp((0.75, -0.05, 0.66), (0.14, 0.17, 0.21)),  # fill
    Lamp((0.55, -0.55, -0.63), (0.55, 0.57, 0.62)),  # rim, from behind
)
_SKY = np.array((0.25, 0.27, 0.31), np.float32)  # the room's light from above
_GROUND = np.array((0.12, 0.105, 0.1), np.float32)  # and from below
GLOSS, SHARPNESS = 0.05, 24.0
_OCCLUSION_REACH = 0.025  # of the picture's side
_OCCLUSION_STRENGTH = 1.1


def shade(
    normals: Float[np.ndarray, "p 3"],
    albedo: Float[np.ndarray, "p 3"],
    openness: Float[np.ndarray, " p"],
) -> Float[np.ndarray, "p 3"]:
    """Linear light from matt surfaces with a slight gloss of the key lamp (Blinn-Phong).

    `normals` have length one, `albedo` is linear, and `openness` in [0, 1] is the share of the
    room's light that gets there.
    """
    up = 0.5 - 0.5 * normals[:, 1:2]
    light = (_GROUND + up * (_SKY - _GROUND)) * openness[:, None]
    for lamp in LAMPS:
        light += np.maximum(normals @ _unit(lamp.direction), 0)[:, None] * _array(lamp.colour)
    half = _unit(_unit(LAMPS[0].direction) + _array((0, 0, 1)))
    gleam = GLOSS * np.maximum(normals @ half, 0) ** SHARPNESS
    # Corners get less of the lamps too, though not as much less as of the room.
    return (albedo * light + gleam[:, None]) * (0.5 + 0.5 * openness[:, None])


def occlusion(
    z: Float[np.ndarray, "h w"], covered: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """How open the surface is at every pixel, 0..1: less where its surroundings are nearer.

    The depth picture minus itself blurred (Luft, Colditz and Deussen 2006), at two scales. `z` is
    in pixels, larger is nearer.
    """
    behind = np.zeros(z.shape, np.float32)
    weight = covered.astype(np.float32)
    filled = np.where(covered, z, 0).astype(np.float32)
    for reach in (_OCCLUSION_REACH, _OCCLUSION_REACH / 3):
        sigma = reach * max(z.shape)
        around = scipy.ndimage.gaussian_filter(filled, sigma, truncate=2.5)
        around /= np.maximum(scipy.ndimage.gaussian_filter(weight, sigma, truncate=2.5), 1e-6)
        behind += np.maximum(around - filled, 0) / sigma
    return np.exp(-_OCCLUSION_STRENGTH * behind / 2)


@functools.cache
def backdrop(size: int) -> Float[np.ndarray, "size size 3"]:
    """Linear light of a studio's backdrop: brightest behind the upper half of the head."""
    y, x = np.indices((size, size), np.float32) / size
    distance = np.hypot(x - 0.5, y - 0.42) / 0.75
    glow = np.exp(-1.6 * distance**2)[..., None]
    near, far = to_linear(np.array([250, 249, 247])), to_linear(np.array([205, 209, 216]))
    return far + glow * (near - far)


def to_linear(srgb: Shaped[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Linear light, 0..1, of sRGB values 0..255."""
    value = srgb.astype(np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """sRGB bytes of linear light; what is above 1 is cut off."""
    value = linear.clip(0, 1)
    bent = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return (255 * bent + 0.5).astype(np.uint8)


def _array(values: tuple[float, ...]) -> Float32[np.ndarray, " n"]:
    return np.array(values, np.float32)


def _unit(direction: tuple[float, ...] | np.ndarray) -> Float32[np.ndarray, " n"]:
    values = np.asarray(direction, np.float32)
    return values / np.linalg.norm(values)
