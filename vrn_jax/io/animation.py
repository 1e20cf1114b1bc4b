"""Pictures one after the other, as a GIF or a video that plays anywhere."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing
from vrn_jax.io.video import VIDEO_SUFFIXES, Frame, open_writer

__all__ = ["ANIMATION_SUFFIXES", "encode_gif", "write_animation"]

ANIMATION_SUFFIXES = (".gif", *VIDEO_SUFFIXES)


def write_animation(
    path: Path, pictures: Iterable[UInt8[np.ndarray, "h w 3"]], *, rate: int = 20
) -> None:
    """Writes pictures, `rate` a second, as a GIF without end, or as a video by the suffix.

    Raises:
        InputError: if the suffix is none of `ANIMATION_SUFFIXES`, or a video is asked for and PyAV
            is missing.
        OSError: if the file cannot be written.
    """
    if path.suffix.lower() != ".gif":
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(f"{path} ends in none of {', '.join(ANIMATION_SUFFIXES)}")
        with open_writer(path, rate=Fraction(rate)) as writer:
            for number, picture in enumerate(pictures):
                writer.write(Frame(picture, number, 1))
        return
    content = encode_gif(pictures, rate=rate)
    with writing(path) as partial:
        partial.write_bytes(content)


def encode_gif(pictures: Iterable[UInt8[np.ndarray, "h w 3"]], *, rate: int) -> bytes:
    """A GIF without end of pictures, `rate` a second to a hundredth of a second."""
    images = [Image.fromarray(picture) for picture in pictures]
    # One palette for all frames, from several of them: else the background would flicker.
    sample = Image.new("RGB", (images[0].width * 4, images[0].height))
    for i in range(4):
        sample.paste(images[i * len(images) // 4], (i * images[0].width, 0))
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    frames = [
        image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images
    ]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(100 / rate) * 10,  # players know hundredths of a second
        loop=0,
        disposal=1,
    )
    return buffer.getvalue()
