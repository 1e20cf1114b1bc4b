"""Damaged and hostile picture files: an array or a VrnError, and soon."""

import contextlib
import io
import struct
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, features

from vrn_jax.errors import VrnError
from vrn_jax.io.image import MAX_PIXELS, read_photo

# PIL warns about some damage before it goes on or gives up; that is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 5.0
PER_FORMAT = 18
FORMATS = {
    "jpeg": {"format": "JPEG"},
    "progressive-jpeg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "palette-png": {"format": "PNG", "mode": "P"},
    "gif": {"format": "GIF", "mode": "P", "frames": 3},
    "tiff": {"format": "TIFF", "compression": "tiff_lzw"},
    "webp": {"format": "WEBP"},
    "animated-webp": {"format": "WEBP", "frames": 2},
    "avif": {"format": "AVIF"},
    "bmp": {"format": "BMP"},
}


def picture_file(
    format: str, mode: str = "RGB", frames: int = 1, **settings: bool | str
) -> bytearray:
    """A picture with an EXIF tag, some structure and some noise."""
    y, x = np.indices((48, 64))
    values = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1)
    values += np.random.default_rng(0).integers(0, 9, values.shape)
    picture = Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)
    if frames > 1:
        turned = [picture.rotate(90 * i) for i in range(1, frames)]
        settings |= {"save_all": True, "append_images": turned}
    if format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        settings["exif"] = exif
    file = io.BytesIO()
    picture.save(file, format=format, **settings)
    return bytearray(file.getvalue())


def damaged(data: bytearray, rng: np.random.Generator) -> Iterator[bytes]:
    """Cut off anywhere; bits flipped anywhere; bytes of the header replaced. Over and over."""
    while True:
        yield bytes(data[: rng.integers(1, len(data))])
        flipped = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            flipped[place] ^= 1 << rng.integers(8)
        yield bytes(flipped)
        header = bytearray(data)
        for place in rng.integers(2, 128, rng.integers(1, 8)):
            header[place] = rng.integers(256)
        yield bytes(header)


def survives(path) -> bool:
    """Whether the file could be read. Asserts that it is soon known, and that the array is good."""
    start, photo = time.perf_counter(), None
    with contextlib.suppress(VrnError):
        photo = read_photo(path)
    assert time.perf_counter() - start < SECONDS
    if photo is None:
        return False
    assert photo.dtype == np.uint8
    assert photo.ndim == 3
    assert photo.shape[2] == 3
    assert photo.size > 0
    return True


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(tmp_path, name):
    if name == "avif" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    data = picture_file(**FORMATS[name])
    path = tmp_path / "photo"
    path.write_bytes(data)
    assert survives(path)
    read = []
    for _, bad in zip(range(PER_FORMAT), damaged(data, np.random.default_rng(1)), strict=False):
        path.write_bytes(bad)
        read.append(survives(path))
    assert not all(read)  # some of the damage was noticed


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of any claimed size, with these chunks between header and end."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = zlib.crc32(kind + content)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return data


def test_bombs_are_refused(tmp_path):
    nothing = zlib.compress(bytes(60_000_000))  # 60 kB
    square = int(MAX_PIXELS**0.5) + 1
    gif = picture_file("GIF", mode="P")
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = picture_file("BMP")
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    bombs = {
        "a little too large": png(square, square, (b"IDAT", nothing)),
        "huge": png(2**31 - 1, 2**31 - 1, (b"IDAT", nothing)),
        "text": png(8, 8, (b"zTXt", b"comment\0\0" + nothing), (b"IDAT", zlib.compress(bytes(72)))),
        "colour profile": png(8, 8, (b"iCCP", b"icc\0\0" + nothing)),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
    }
    for name, data in bombs.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert not survives(path), name
