"""Photos in: any file PIL reads, PIL images and arrays -> RGB bytes, upright."""

import os
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing

__all__ = ["MAX_PIXELS", "PHOTO_SUFFIXES", "Photo", "read_photo", "write_png"]


@runtime_checkable
class SupportsArray(Protocol):
    """An array of any library: numpy, JAX, ..."""

    def __array__(self) -> np.ndarray: ...


Photo = str | os.PathLike[str] | Image.Image | np.ndarray | SupportsArray

MAX_PIXELS = 170_000_000
"""Larger pictures are refused, a little before PIL takes them for decompression bombs."""

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
"""Files of a folder that are taken for photos. A file named by itself may be called anything."""

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)
"""What PIL's decoders raise on damaged files; RuntimeError is that of AVIF."""


def read_photo(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    """RGB, 0..255, turned as the EXIF tag says; transparent parts become white.

    Arrays are uint8 [h w], [h w 3] or [h w 4]. Of an animation the first frame is taken.

    Raises:
        InputError: if this is not a picture that can be decoded, or is larger than `MAX_PIXELS`.
    """
    if isinstance(photo, Image.Image):
        return _decode(photo, "this image")
    if not isinstance(photo, str | os.PathLike):
        if not isinstance(photo, SupportsArray):
            raise InputError(f"a photo is a path, a PIL image or an array, got {type(photo)}")
        return _to_rgb(_from_array(np.asarray(photo)))
    try:
        image = Image.open(photo)
    except FileNotFoundError as error:
        raise InputError(f"no photo at {os.fspath(photo)}; check the path") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{os.fspath(photo)} is not a picture in a known format; give a JPEG, PNG, WebP, ..."
        ) from error
    except (Image.DecompressionBombError, *_DECODER_ERRORS) as error:
        raise InputError(f"cannot read {os.fspath(photo)}: {error}") from error
    with image:
        return _decode(image, os.fspath(photo), in_place=True)


def _decode(image: Image.Image, name: str, *, in_place: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name} has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} "
            "allowed; scale it down first"
        )
    try:
        if in_place:  # a copy of 100 megapixels takes 400 MB
            ImageOps.exif_transpose(image, in_place=True)
        else:
            image = ImageOps.exif_transpose(image)
        return _to_rgb(image)
    except _DECODER_ERRORS as error:
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
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
        top = max(float(values.max()), 1e-12)
        if image.mode.startswith("I"):  # which may hold 8 or 16 bits
            top = 255.0 if top <= 255 else 65535.0
        image = Image.fromarray((values * 255 / top).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def write_png(
    path: str | os.PathLike[str],
    picture: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"],
    text: dict[str, str] | None = None,
) -> None:
    """Writes a picture of 8 or 16 bits, with text entries, at once or not at all."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    with writing(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG", pnginfo=info, compress_level=3)
