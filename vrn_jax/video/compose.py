"""What the frames of the finished video look like."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vrn_jax.config import Layout
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.mesh import moved
from vrn_jax.rendering import OVERSAMPLING, View, look_at, overlay, paint
from vrn_jax.rendering.shading import backdrop, to_srgb
from vrn_jax.video.shapes import Shape

__all__ = ["composed"]

_YAWS_DEG = (0.0, -50.0)
_VIEW_WIDTH = float(VRN_GRID.columns)
_DRAWN_SIZE = 256  # pixels a side at most; larger frames get it enlarged


def composed(
    picture: UInt8[np.ndarray, "h w 3"], shapes: list[Shape], layout: Layout, opacity: float
) -> UInt8[np.ndarray, "h W 3"]:
    """A frame with the shapes over their faces, or with the first one beside it.

    "side" makes every frame wider by half its height: the shape as the camera sees it, above, and
    from 50 degrees to the left, below; of frames without a face that part is empty.
    """
    if layout == "side":
        return np.concatenate([picture, _panel(picture.shape[0], shapes)], axis=1)
    for shape in shapes:
        home = np.linalg.inv(shape.crop.crop_from_photo)
        picture = overlay(picture, moved(shape.mesh, home, "photo"), opacity=opacity)
    return picture


def _panel(height: int, shapes: list[Shape]) -> UInt8[np.ndarray, "h w 3"]:
    side = -(-height // 2)
    size = min(side, _DRAWN_SIZE)
    if not shapes:
        tiles = [to_srgb(backdrop(size))] * len(_YAWS_DEG)
    else:
        tiles = [_tile(shapes[0], yaw_deg, size) for yaw_deg in _YAWS_DEG]
    bicubic = Image.Resampling.BICUBIC
    scaled = [np.asarray(Image.fromarray(tile).resize((side, side), bicubic)) for tile in tiles]
    return np.concatenate(scaled)[:height]


def _tile(shape: Shape, yaw_deg: float, size: int) -> UInt8[np.ndarray, "size size 3"]:
    # Centred on the crop, which is steady, and not on the mesh, whose outline flickers.
    middle = (VRN_GRID.columns - 1) / 2, (VRN_GRID.rows - 1) / 2, float(shape.middle_z)
    view = View(yaw_deg, size=size, view_width=_VIEW_WIDTH, centre=middle)
    mesh, seen = look_at(shape.mesh, view, OVERSAMPLING)
    return paint(mesh, seen, view, look="clay")
