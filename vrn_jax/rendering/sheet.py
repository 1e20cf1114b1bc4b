"""Pictures with a word above them, and many of them on one sheet."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

__all__ = ["labelled", "sheet"]

_INK, _PAPER = (60, 60, 66), (255, 255, 255)
_LABEL = 18  # pixels


def labelled(picture: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "H w 3"]:
    """The picture below a line of text."""
    tile = Image.new("RGB", (picture.shape[1], picture.shape[0] + _LABEL), _PAPER)
    tile.paste(Image.fromarray(picture), (0, _LABEL))
    ImageDraw.Draw(tile).text((4, 3), text, fill=_INK)
    return np.asarray(tile)


def sheet(tiles: Sequence[UInt8[np.ndarray, "h w 3"]], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size, one or more, in rows of `columns`; the last row ends in white."""
    tiles = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)
