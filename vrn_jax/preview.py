"""Pictures of reconstructed faces beside their photos."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vrn_jax.geometry.mesh import moved
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.rendering import BACKGROUND, OVERSAMPLING, View, look_at, paint, render
from vrn_jax.types import Mesh

__all__ = ["preview", "render", "tile"]


def preview(face: Reconstruction, textured: Mesh, *, size: int = 384) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the face's box, then the shape and the textured mesh from three sides.

    The mesh is shown upright, as the crop shows the face.
    """
    upright = moved(textured, face.crop.crop_from_photo, "crop")
    columns = []
    for yaw_deg in (-40.0, 0.0, 40.0):
        view = View(yaw_deg, size=size)
        mesh, seen = look_at(upright, view, OVERSAMPLING)
        looks = [paint(mesh, seen, view, look=look) for look in ("clay", "colour")]
        columns.append(np.concatenate(looks))
    return np.concatenate([_photo_tile(face, 2 * size), *columns], axis=1)


def tile(face: Reconstruction, *, size: int = 192) -> UInt8[np.ndarray, "h w 3"]:
    """A small picture of a face: what the network saw, and the shape from two sides."""
    crop = np.asarray(Image.fromarray(face.crop.image).resize((size, size)))
    upright = moved(face.mesh, face.crop.crop_from_photo, "crop")
    shapes = [render(upright, yaw_deg=yaw_deg, size=size) for yaw_deg in (0.0, 50.0)]
    return np.concatenate([crop, *shapes], axis=1)


def _photo_tile(face: Reconstruction, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The photo around the face, with its box: four times as wide, as far as the photo goes."""
    middle = (face.box[:2] + face.box[2:]) / 2
    reach = 2 * float((face.box[2:] - face.box[:2]).max())
    size = np.array(face.photo.shape[1::-1])
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach), size).astype(int)
    photo = Image.fromarray(face.photo).crop((*low.tolist(), *high.tolist()))
    scale = side / max(photo.size)
    width, height = (max(1, round(length * scale)) for length in photo.size)
    tile = Image.new("RGB", (side, side), BACKGROUND)
    corner = ((side - width) // 2, (side - height) // 2)
    tile.paste(photo.resize((width, height)), corner)
    box = (face.box + 0.5 - np.tile(low, 2)) * scale + np.tile(corner, 2)
    ImageDraw.Draw(tile).rectangle([float(x) for x in box], outline=(255, 200, 0), width=3)
    return np.asarray(tile)
