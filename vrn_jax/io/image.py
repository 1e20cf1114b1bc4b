"""Photos in: any file PIL reads, PIL images and arrays -> RGB bytes, upright."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vrn_jax.errors import InputError

__all__ = ["MAX_PIXELS", "Photo", "read_photo", "write_png"]

Photo = str | os.PathLike[str] | Image.Image | np.ndarray

MAX_PIXELS = 200_000_000
"""Larger pictures are refused: they are decompression bombs or do not fit in memory."""


def read_photo(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    """RGB, 0..255, turned as the EXIF tag says; transparent parts become white.

    Arrays are uint8 [h w], [h w 3] or [h w 4]. Of an animation the first frame is taken.

    Raises:
        InputError: if this is not a picture that can be decoded, or is larger than `MAX_PIXELS`.
    """
    if isinstance(photo, np.ndarray):
        return _to_rgb(_from_array(photo))
    if isinstance(photo, Image.Image):
        return _decode(photo, "this image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(photo)
    except FileNotFoundError as error:
        raise InputError(f"no photo at {os.fspath(photo)}; check the path") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{os.fspath(photo)} is not a picture in a known format; give a JPEG, PNG, WebP, ..."
        ) from error
    except (OSError, Image.DecompressionBombError, ValueError) as error:
        raise InputError(f"cannot read {os.fspath(photo)}: {error}") from error
    with image:
        return _decode(image, os.fspath(photo))


def _decode(image: Image.Image, name: str) -> UInt8[np.ndarray, "h w 3"]:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name} has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} "
            "allowed; scale it down first"
        )
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what PIL's decoders raise
        raise InputError(f"{name} cannot be decoded, it may be cut off: {error}") from error


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2:] or (1,)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels[0] not in (1, 3, 4):
        raise InputError(
            "a photo array is uint8 [h w], [h w 3] or [h w 4] with values 0..255, got "
            f"{array.dtype} {array.shape}"
        )
    if 0 in array.shape:
        raise InputError(f"a photo array needs pixels, got {array.shape}")
    return Image.fromarray(array[..., 0] if channels == (1,) and array.ndim == 3 else array)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith(("I", "F")):  # 16 bits and more: PIL would clip at 255, so scale
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-12)
        image = Image.fromarray((values * 255 / top).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def write_png(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes a picture, at once or not at all."""
    partial = Path(f"{os.fspath(path)}.partial")
    Image.fromarray(picture).save(partial, format="PNG")
    partial.replace(path)
