"""Faces cut out as the authors' own scripts do it, for weights that are to see the same pixels.

Both scale the photo so that the root of the landmark box's area is 90 px, and neither rotates. In
what they centre, and how they round and fill, they differ from each other and from `crop_face`:

``run.sh`` (ImageMagick). The crop begins half a box above and to the left of the box, so the box's
centre comes to lie at (width, height) of the scaled box: near (90, 90), not in the middle at 96.
The scaled size and the crop's corner are rounded to whole pixels. Where the crop leaves the photo,
what is left of it is put in the *middle* of a white square, which shifts the face.

``run.m`` (MATLAB). The mean of the landmarks, not the box's centre, is moved to the photo's middle
(what that moves out of the photo is lost), which is cut out after scaling. Black all around.

Not imitated: the JPEG compression of the crop between the scripts' steps; that `run.sh` does not
look for a box's left and upper edge beyond 1000 px; that `run.m` stops with an error where the
scaled photo is smaller than the crop.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import CropRule, checked_scale
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.transforms import similarity
from vrn_jax.types import FaceCrop

__all__ = ["crop_as_original"]

Photo = UInt8[np.ndarray, "h w 3"]

_SIDE = VRN_GRID.rows


def crop_as_original(
    photo: Photo,
    box: Float[np.ndarray, " 4"],
    landmarks: Float[np.ndarray, "l c"] | None,
    rule: CropRule,
) -> FaceCrop:
    """The crop that ``run.sh`` or ``run.m`` makes of a face, and the similarity that leads to it.

    Where only a box is known, its centre stands for the landmarks' mean.

    Raises:
        InputError: if the box is impossible, or nothing of the photo is in the crop.
    """
    centre = (box[:2] + box[2:]) / 2
    if rule == "run.sh":
        return _as_shell_script(photo, box, centre)
    mean = centre if landmarks is None else landmarks[:, :2].mean(axis=0)
    return _as_matlab_script(photo, checked_scale(box), mean)


class _Axis(NamedTuple):
    """One axis of a crop: its pixels [start, stop) show [first, last) of the source, in pixels."""

    start: int
    stop: int
    first: float
    last: float


def _as_shell_script(
    photo: Photo,
    box: Float[np.ndarray, " 4"],
    centre: Float[np.ndarray, " 2"],
) -> FaceCrop:
    scale, axes, target = checked_scale(box), [], []
    for axis, length in enumerate((photo.shape[1], photo.shape[0])):
        scaled = math.floor(length * scale + 0.5)
        side = box[2 + axis] - box[axis]
        corner = math.ceil((box[axis] - side / 2) * scale - 0.5)
        low, high = max(corner, 0), min(corner + _SIDE, scaled)
        start = _SIDE // 2 - (high - low) // 2
        ratio = length / max(scaled, 1)
        axes.append(_Axis(start, start + high - low, low * ratio, high * ratio))
        target.append((centre[axis] + 0.5) / ratio - 0.5 - low + start)
    image = _framed(axes, 255, lambda: _averaged(photo, *axes))
    return FaceCrop(image, similarity(scale, 0.0, centre, np.array(target)))


def _as_matlab_script(photo: Photo, scale: float, mean: Float[np.ndarray, " 2"]) -> FaceCrop:
    size = np.array(photo.shape[1::-1])
    # MATLAB counts from 1: its size / 2 is our size / 2 - 1.
    shift = size / 2 - 1 - mean
    moved = Image.fromarray(photo).transform(
        (int(size[0]), int(size[1])),
        Image.Transform.AFFINE,
        (1.0, 0.0, -shift[0], 0.0, 1.0, -shift[1]),
        Image.Resampling.BILINEAR,
    )
    margin = math.ceil(1 / scale)  # the scaled size is rounded up, past the photo's edge
    padded = np.pad(np.asarray(moved), ((0, margin), (0, margin), (0, 0)), mode="edge")
    axes, target = [], []
    for length in size.tolist():
        scaled = math.ceil(length * scale)
        corner = scaled // 2 - _SIDE // 2  # of 32 more pixels on either side nothing remains
        low, high = max(corner, 0), min(corner + _SIDE, scaled)
        axes.append(_Axis(low - corner, high - corner, low / scale, high / scale))
        target.append((length / 2 - 0.5) * scale - 0.5 - corner)
    image = _framed(axes, 0, lambda: _bicubic(padded, *axes))
    return FaceCrop(image, similarity(scale, 0.0, mean, np.array(target)))


def _framed(
    axes: list[_Axis], fill: int, resampled: Callable[[], Photo]
) -> UInt8[np.ndarray, "192 192 3"]:
    x, y = axes
    if x.stop <= x.start or y.stop <= y.start:
        raise InputError("the original's crop of this face shows nothing of the photo")
    crop = np.full((_SIDE, _SIDE, 3), fill, np.uint8)
    crop[y.start : y.stop, x.start : x.stop] = resampled()
    return crop


def _bicubic(source: Photo, x: _Axis, y: _Axis) -> UInt8[np.ndarray, "h2 w2 3"]:
    """MATLAB's `imresize`: the same kernel, widened when shrinking."""
    size, part = (x.stop - x.start, y.stop - y.start), (x.first, y.first, x.last, y.last)
    return np.asarray(Image.fromarray(source).resize(size, Image.Resampling.BICUBIC, part))


def _averaged(source: Photo, x: _Axis, y: _Axis) -> UInt8[np.ndarray, "h2 w2 3"]:
    """ImageMagick's `-scale`: every pixel is the mean of the area that it covers, cut off."""
    (rows, row_part), (columns, column_part) = _overlaps(y), _overlaps(x)
    part = source[row_part, column_part].astype(np.float32)
    mean = np.einsum("Hh,hwc,Ww->HWc", rows, part, columns, optimize=True)
    return np.floor(mean + 1e-3).astype(np.uint8)  # more than this code's own rounding error


def _overlaps(axis: _Axis) -> tuple[Float[np.ndarray, "target source"], slice]:
    """How much of each source pixel every target pixel covers, and the part of the source used."""
    edges = np.linspace(axis.first, axis.last, axis.stop - axis.start + 1)
    part = slice(int(axis.first), math.ceil(axis.last - 1e-9))
    pixels = np.arange(part.start, part.stop)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return ((high - low).clip(0) / (edges[1] - edges[0])).astype(np.float32), part
