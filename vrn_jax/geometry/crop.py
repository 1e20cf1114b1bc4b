"""Photo <-> crop: the original's face normalisation, and the way back.

The network sees a 192x192 crop centred on the box around the 68 landmarks and scaled so that the
square root of the box's area is 90 px (the authors' `process.lua`, which never rotates; ours turns
faces that lie by more than 45 degrees upright, in quarters). Crops are similarities, so a mesh goes
home to the photo by the inverse.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.transforms import similarity, similarity_scale
from vrn_jax.types import FaceCrop

__all__ = [
    "BOX_SIDE",
    "CropRule",
    "checked_scale",
    "crop_face",
    "crop_from_box",
    "crop_from_landmarks",
    "landmark_box",
    "quarter_turns",
    "warp",
]

CropRule = Literal["box", "run.sh", "run.m"]
"""Centred on the landmarks' box, or as either of the original's scripts (`original_crop`)."""

BOX_SIDE = 90.0
"""Crop pixels: geometric mean of the landmark box's sides."""

_FINER_FROM_TARGET = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])


def landmark_box(landmarks: Float[np.ndarray, "l c"]) -> Float[np.ndarray, " 4"]:
    """(left, top, right, bottom) around landmarks (x, y) or (x, y, z)."""
    return np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)])


def quarter_turns(landmarks: Float[np.ndarray, "68 c"]) -> int:
    """By how many quarter turns, from x towards y, a face lies in its photo: 0, 1, 2 or 3.

    The networks are trained on heads tilted by up to 45 degrees. The way from the eyes to the mouth
    tells; unlike the line through the eyes it does so in profiles too.
    """
    eyes, mouth = landmarks[36:48, :2].mean(axis=0), landmarks[48:, :2].mean(axis=0)
    x, y = mouth - eyes
    return round(math.atan2(-x, y) / (math.pi / 2)) % 4


def crop_from_landmarks(landmarks: Float[np.ndarray, "68 c"]) -> Float[np.ndarray, "3 3"]:
    """The similarity from photo to crop pixels for 68 landmarks in the photo, however they lie.

    Raises:
        InputError: as `crop_from_box`.
    """
    return crop_from_box(landmark_box(landmarks), quarter_turns(landmarks))


def crop_from_box(box: Float[np.ndarray, " 4"], turns: int = 0) -> Float[np.ndarray, "3 3"]:
    """The similarity from photo to crop pixels for a box around the landmarks (brows to chin).

    `turns` are the quarter turns by which the face lies in the photo; the crop shows it upright.

    Raises:
        InputError: if the box is not finite, has no area, or is of no size that a face can have.
    """
    scale = checked_scale(box)
    centre = (box[:2] + box[2:]) / 2
    middle = np.array([VRN_GRID.columns - 1, VRN_GRID.rows - 1]) / 2
    return similarity(scale, -turns * math.pi / 2, centre, middle)


def checked_scale(box: Float[np.ndarray, " 4"]) -> float:
    """Crop pixels to a photo pixel for a box around the landmarks.

    Raises:
        InputError: if the box is not finite, has no area, or is of no size that a face can have.
    """
    left, top, right, bottom = (float(side) for side in box)
    if not (np.isfinite(box).all() and right > left and bottom > top):
        raise InputError(
            "a face box is (left, top, right, bottom) in photo pixels with left < right and "
            f"top < bottom, got {left, top, right, bottom}"
        )
    scale = BOX_SIDE / (math.sqrt(right - left) * math.sqrt(bottom - top))
    if not 1e-3 < scale < 1e3:
        raise InputError(
            f"a face box of {right - left:.3g} x {bottom - top:.3g} photo pixels cannot be a face's"
        )
    return scale


def crop_face(
    photo: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, " 4"], turns: int = 0
) -> FaceCrop:
    """Cuts the network's input out of a photo; black where the crop leaves the photo.

    Raises:
        InputError: if the box is impossible or wholly outside of the photo.
    """
    crop_from_photo = crop_from_box(box, turns)
    height, width = photo.shape[:2]
    if box[2] < 0 or box[3] < 0 or box[0] >= width or box[1] >= height:
        raise InputError(
            f"the face box {tuple(box.tolist())} is outside of this photo of {width} x {height} "
            "pixels; give it in pixels of the upright photo"
        )
    return FaceCrop(warp(photo, crop_from_photo, VRN_GRID.shape[:2]), crop_from_photo)


def warp(
    photo: UInt8[np.ndarray, "h w 3"],
    target_from_photo: Float[np.ndarray, "3 3"],
    shape: tuple[int, int],
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resamples a photo by a similarity: averaged when it shrinks, else bilinear; black outside.

    Integer coordinates are pixel centres in both pictures.
    """
    image, oversampling = Image.fromarray(photo), 1
    factor = max(1, int(1 / similarity_scale(target_from_photo)))
    if similarity_scale(target_from_photo) < 1:
        # Against aliasing: whole blocks are averaged first, which leaves less than a factor of two;
        # for that the target is sampled twice as finely and averaged in turn.
        image, oversampling = image.reduce(factor), 2
        target_from_photo = _FINER_FROM_TARGET @ target_from_photo
    # PIL counts from pixel corners: shift half a pixel out, map, shift half a pixel in.
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    reduced_from_photo = np.diag([1 / factor, 1 / factor, 1.0]) @ half
    matrix = reduced_from_photo @ np.linalg.inv(target_from_photo) @ np.linalg.inv(half)
    size = (shape[1] * oversampling, shape[0] * oversampling)
    warped = image.transform(
        size, Image.Transform.AFFINE, tuple(matrix[:2].ravel()), Image.Resampling.BILINEAR
    )
    return np.asarray(warped.reduce(oversampling))
