"""A contact sheet of made faces: what the network sees, and the truth that it is shown."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw

from vrn_jax.faces.sample import Example
from vrn_jax.faces.source import FaceSource
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Solid, occupancy
from vrn_jax.rendering import sheet

__all__ = ["contact_sheet", "depth_map"]

_SEEN, _HIDDEN = (60, 230, 90), (240, 70, 60)


def contact_sheet(
    source: FaceSource, count: int, *, columns: int = 8, first: int = 0
) -> UInt8[np.ndarray, "h w 3"]:
    """Examples `first`, `first` + 1, ... of a source, from the left profile to the right one.

    Four pictures each: the image, with its landmarks (green: visible, red: hidden), the depth of
    the solid's front (lighter: nearer), and its mask.
    """
    examples = [source[first + i] for i in range(count)]
    examples.sort(key=lambda example: float(example.attributes.yaw))
    return sheet([_tile(example) for example in examples], columns)


@jax.jit
def depth_map(solid: Solid) -> Float[Array, "h w"]:
    """Crop z of the volume's front at every pixel, zero at its front-most point; -inf: none."""
    filled = occupancy(solid)
    front = VRN_GRID.planes - 1 - jnp.argmax(filled[:, :, ::-1], axis=2)
    z = (front - VRN_GRID.origin_plane) * VRN_GRID.plane_depth
    return jnp.where(filled.any(axis=2), z, -jnp.inf)


def _tile(example: Example) -> UInt8[np.ndarray, "h w 3"]:
    image = np.asarray(example.image)
    depth = np.asarray(depth_map(example.solid))
    inside = np.isfinite(depth)
    grey = np.where(inside, np.clip(255 + 2.2 * np.where(inside, depth, 0), 40, 255), 0)
    pictures = [image, _marked(example), grey.astype(np.uint8), (255 * inside).astype(np.uint8)]
    halved = [np.asarray(Image.fromarray(p).convert("RGB").reduce(2)) for p in pictures]
    return np.concatenate([np.concatenate(halved[:2], axis=1), np.concatenate(halved[2:], axis=1)])


def _marked(example: Example) -> UInt8[np.ndarray, "h w 3"]:
    picture = Image.fromarray(np.asarray(example.image))
    pen = ImageDraw.Draw(picture)
    for (x, y, _), seen in zip(
        np.asarray(example.landmarks), np.asarray(example.visible), strict=True
    ):
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=_SEEN if seen else _HIDDEN)
    return np.asarray(picture)
