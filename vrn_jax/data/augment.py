"""The crop of a fitted face, with the paper's augmentation (section 4.1).

In-plane rotation, translation, scale and mirroring are part of the crop's matrix, so a picture is
resampled once, and what is moved with the picture is moved by the same numbers.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.config import FaceSettings
from vrn_jax.geometry.crop import crop_from_landmarks
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.transforms import similarity

__all__ = ["PLAIN", "Augmentation", "augmented_crop", "coloured", "draw_augmentation"]

_MIRROR = np.array([[-1.0, 0.0, VRN_GRID.columns - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class Augmentation(NamedTuple):
    """How a crop differs from the plain one. `shift_px` is (x, y); `colour` scales R, G, B."""

    turn_rad: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    mirrored: bool = False
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


PLAIN = Augmentation()
"""None at all: the crop that reconstruction cuts."""


def draw_augmentation(rng: np.random.Generator, settings: FaceSettings) -> Augmentation:
    """Draws one, by those of the settings that are not about how faces are made."""
    turn, x, y = rng.uniform(-1, 1, 3)
    shift = settings.shift_px
    return Augmentation(
        math.radians(settings.turn_deg) * turn,
        (shift * x, shift * y),
        rng.uniform(*settings.zoom),
        bool(rng.uniform() < settings.flip_chance),
        tuple(rng.uniform(*settings.colour_scale, 3)),
    )


def augmented_crop(
    landmarks: Float[np.ndarray, "68 c"], augmentation: Augmentation = PLAIN
) -> Float[np.ndarray, "3 3"]:
    """`crop_from_photo` for landmarks in the photo; it mirrors if the augmentation does.

    Raises:
        InputError: if the landmarks cannot be a face's.
    """
    plain = crop_from_landmarks(landmarks)
    middle = np.array([VRN_GRID.columns - 1, VRN_GRID.rows - 1]) / 2
    moved = similarity(
        augmentation.zoom, augmentation.turn_rad, middle, middle + augmentation.shift_px
    )
    return (_MIRROR if augmentation.mirrored else np.eye(3)) @ moved @ plain


def coloured(
    image: UInt8[np.ndarray, "h w 3"], scale: tuple[float, float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with each of its channels scaled, cut off at 255."""
    table = np.arange(256)[:, None] * np.asarray(scale)
    table = np.minimum(np.round(table), 255).astype(np.uint8)
    return np.stack([table[:, k][image[..., k]] for k in range(3)], axis=-1)
