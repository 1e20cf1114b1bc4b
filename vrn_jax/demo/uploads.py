"""The body of a request to a photo, every limit checked before what it limits is spent."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
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
_PARTS = 16
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
                given = request.headers["content-type"]
                body = await asyncio.to_thread(_file_of_form, given, body)
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


def _file_of_form(content_type: str, body: bytes) -> bytes:
    """The file `photo` of a form. Starlette's own parser puts large files on the disk."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "bad_form", "this form does not say its boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": parts.on_field,
                "on_header_value": parts.on_value,
                "on_header_end": parts.on_header_end,
                "on_headers_finished": parts.on_headers_finished,
                "on_part_data": parts.on_data,
            },
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refusal(400, "bad_form", f"this form cannot be read: {error}") from error
    for disposition, data in parts.found:
        if parse_options_header(disposition)[1].get(b"name") == b"photo":
            return bytes(data)
    raise Refusal(400, "bad_form", "the form has no file named 'photo'")


class _Parts:
    """What the parser of a form calls: keeps Content-Disposition and data of each part."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytearray]] = []
        self._field = self._value = self._disposition = b""

    def on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def on_headers_finished(self) -> None:
        if len(self.found) == _PARTS:
            raise Refusal(400, "bad_form", f"a form may have {_PARTS} fields at most")
        self.found.append((self._disposition, bytearray()))
        self._disposition = b""

    def on_data(self, data: bytes, start: int, end: int) -> None:
        self.found[-1][1].extend(data[start:end])


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
