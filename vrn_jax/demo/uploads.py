"""The body of a request to a photo, every limit checked before what it limits is spent."""

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from vrn_jax.demo.refusal import Refusal, busy
from vrn_jax.demo.settings import Limits
from vrn_jax.io.image import read_photo

__all__ = ["Uploads", "decode"]

_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""What may be decoded. PIL knows more, and one of them (EPS) is a program that it has executed."""

_LARGE = threading.Lock()
"""Held while a picture that needs much memory is decoded: one at a time."""

_FORM = "multipart/form-data"
_RAW = ("image/", "application/octet-stream")


class Uploads:
    """Reads bodies, so many bytes at a time together."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def photo(self, request: Request) -> AsyncIterator[bytes]:
        """The picture file in a request: its body, or the file `photo` of a form.

        It counts among the bytes held at one time until the block is left.

        Raises:
            Refusal: 400, 408, 413, 415 or 503.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _FORM and not kind.startswith(_RAW):
            raise Refusal(
                415,
                "not_a_picture",
                "send a picture (Content-Type: image/jpeg, image/png, ...) or a form with the "
                f"file 'photo' (multipart/form-data), got {kind[:80] or 'no Content-Type'!r}",
            )
        chunks: list[bytes] = []
        try:
            await self._read(request, chunks)
            body = b"".join(chunks)
            if kind == _FORM:
                body = await _file_of_form(request.headers, body, self._limits.upload_bytes)
            if not body:
                raise Refusal(400, "empty", "the request holds no picture, it is empty")
            yield body
        finally:
            self._held -= sum(map(len, chunks))

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        limits = self._limits
        declared = request.headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > limits.upload_bytes:
            raise _too_large(limits.upload_bytes)
        length = 0
        try:
            async with asyncio.timeout(limits.upload_seconds):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    length += len(chunk)
                    self._held += len(chunk)
                    if length > limits.upload_bytes:  # a chunked body says no length beforehand
                        raise _too_large(limits.upload_bytes)
                    if self._held > limits.uploads_bytes:
                        raise busy("too many uploads at this moment; try again in a moment")
        except TimeoutError as error:
            seconds = limits.upload_seconds
            raise Refusal(
                408, "too_slow", f"the request did not arrive within {seconds:g} seconds"
            ) from error
        except ClientDisconnect as error:
            raise Refusal(400, "cut_off", "the request was cut off") from error


class _InMemory(MultiPartParser):
    """Starlette's parser, which puts parts of more than 1 MB on the disk unless told otherwise."""

    spool_max_size = 1 << 40


async def _file_of_form(headers: Headers, body: bytes, limit: int) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(headers, stream(), max_files=1, max_fields=8, max_part_size=limit)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        raise Refusal(400, "bad_form", f"this form cannot be read: {error}") from error
    photo = form.get("photo")
    data = await photo.read() if isinstance(photo, UploadFile) else None
    await form.close()
    if data is None:
        raise Refusal(400, "bad_form", "the form has no file named 'photo'")
    return data


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413, "too_large", f"a request may have {limit:,} bytes at most; make the picture smaller"
    )


def decode(data: bytes, limits: Limits) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in a file, upright RGB, its longer side reduced to `limits.photo_side`.

    Raises:
        Refusal: 413, 415 or 422.
    """
    Image.init()  # else PIL knows some of them only after it has failed once
    try:
        image = Image.open(io.BytesIO(data), formats=[one for one in _FORMATS if one in Image.OPEN])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits.pixels) from error
    except UnidentifiedImageError as error:
        kinds = "JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF"
        raise Refusal(415, "not_a_picture", f"this is not a picture: send {kinds}") from error
    except Exception as error:  # PIL's parsers raise many kinds on damaged headers
        raise _damaged(error) from error
    with image, _LARGE if image.width * image.height > limits.photo_side**2 else nullcontext():
        if image.width * image.height > limits.pixels:
            raise _too_many_pixels(limits.pixels)
        try:
            image.draft("RGB", (limits.photo_side, limits.photo_side))  # JPEG decodes smaller
            return _reduced(read_photo(image), limits.photo_side)
        except Exception as error:  # as above
            raise _damaged(error) from error


def _reduced(photo: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "H W 3"]:
    if max(photo.shape) <= side:
        return photo
    image = Image.fromarray(photo)
    image.thumbnail((side, side))
    return np.array(image)


def _damaged(error: Exception) -> Refusal:
    return Refusal(422, "damaged", f"this picture cannot be decoded, it may be cut off: {error}")


def _too_many_pixels(limit: int) -> Refusal:
    return Refusal(
        413, "too_many_pixels", f"a picture may have {limit:,} pixels at most; scale it down first"
    )
