"""What the networks are shown: squares of the photo for one face, tiles of smaller copies for all.

A square may be turned and is given by one similarity, `input_from_photo`. A tile is cut out of a
level: an upright copy of the whole photo, made smaller (or larger), with a black border.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8

from vrn_jax.geometry.transforms import similarity, similarity_scale

__all__ = ["BORDER", "TILE_SIZES", "Pyramid", "Tile", "halvings", "region", "tiles", "warp"]

Pyramid: TypeAlias = list[PIL.Image.Image]  # a photo and its halves, quarters, ...: see `halvings`

TILE_SIZES = (128, 256, 512)  # pixels
BORDER = 16  # black pixels around a level: the centre of a face that the photo cuts must lie inside
TILE_OVERLAP = 64  # pixels; with the border the largest face that is whole in one tile at least
SMALLEST_HALF = 128  # pixels, longer side


@dataclass(frozen=True)
class Tile:
    """A square picture cut out of a level, one of `TILE_SIZES` wide, and its place in the photo."""

    image: UInt8[np.ndarray, "size size 3"]
    photo_from_tile: Float[np.ndarray, "3 3"]


def region(
    centre: Float[np.ndarray, " 2"], side: float, angle_rad: float, size: int
) -> Float[np.ndarray, "3 3"]:
    """`input_from_photo` that shows a square of the photo as size x size pixels.

    The square has its middle at `centre` and sides of `side` photo pixels; its rows run at
    `angle_rad`, from x towards y, to those of the photo.
    """
    return similarity(size / side, -angle_rad, centre, np.full(2, (size - 1) / 2.0))


def halvings(photo: UInt8[np.ndarray, "h w 3"]) -> Pyramid:
    """The photo and its area-averaged halves, quarters and so on, down to 128 to 255 pixels."""
    image = PIL.Image.fromarray(photo)
    levels = max(int(np.log2(max(image.size) / SMALLEST_HALF)), 0)
    return [image] + [image.reduce(2**level) for level in range(1, levels + 1)]


def warp(
    pyramid: Pyramid, input_from_photo: Float[np.ndarray, "3 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """A network's size x size RGB input, bilinear, black beyond the photo.

    Reads the coarsest level of the pyramid that still has the wanted detail, against aliasing.
    """
    level = int(np.clip(-np.log2(similarity_scale(input_from_photo)), 0, len(pyramid) - 1))
    # Pillow counts from the corner of an image, where levels differ by nothing but their scale.
    corner_from_centre = similarity(1.0, 0.0, np.zeros(2), np.full(2, 0.5))
    photo_from_input = corner_from_centre @ np.linalg.inv(corner_from_centre @ input_from_photo)
    affine = tuple((photo_from_input[:2] / 2.0**level).flat)
    kind, how = PIL.Image.Transform.AFFINE, PIL.Image.Resampling.BILINEAR
    return np.asarray(pyramid[level].transform((size, size), kind, affine, how))


def tiles(pyramid: Pyramid, scale: float) -> Iterator[Tile]:
    """Tiles that cover the photo scaled by `scale`, overlapping, with a black border."""
    level = scaled(pyramid, scale)
    height, width = np.array(level.shape[:2]) + 2 * BORDER
    size = next((size for size in TILE_SIZES if size >= max(height, width)), TILE_SIZES[-1])
    for top in tile_starts(int(height), size):
        for left in tile_starts(int(width), size):
            corner = np.array([left, top]) - BORDER  # in the level
            # Half a pixel: scaling keeps the corner of the photo, not the centre of its first.
            photo_corner = (corner + 0.5) / scale - 0.5
            place = similarity(1.0 / scale, 0.0, np.zeros(2), photo_corner)
            yield Tile(cut(level, corner, size), place)


def scaled(pyramid: Pyramid, scale: float) -> UInt8[np.ndarray, "h w 3"]:
    """The photo scaled by `scale`; what is left of the last row and column falls away."""
    halved = int(np.clip(-np.log2(scale), 0, len(pyramid) - 1))
    source, factor = pyramid[halved], scale * 2.0**halved
    width, height = (max(int(length * factor), 1) for length in source.size)
    box = (0.0, 0.0, min(width / factor, source.width), min(height / factor, source.height))
    return np.asarray(source.resize((width, height), PIL.Image.Resampling.BILINEAR, box=box))


def tile_starts(length: int, size: int) -> list[int]:
    """Where tiles of `size` begin that cover pixels 0 to length - 1."""
    count = 1 + max(int(np.ceil((length - size) / (size - TILE_OVERLAP))), 0)
    return np.linspace(0, max(length - size, 0), count).round().astype(int).tolist()


def cut(
    image: UInt8[np.ndarray, "h w 3"], corner: np.ndarray, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The size x size square whose first pixel is `corner` (x, y), black beyond the image."""
    left, top = np.maximum(corner, 0)
    shown = image[top : corner[1] + size, left : corner[0] + size]
    canvas = np.zeros((size, size, 3), np.uint8)
    down, right = top - corner[1], left - corner[0]
    canvas[down : down + shown.shape[0], right : right + shown.shape[1]] = shown
    return canvas
