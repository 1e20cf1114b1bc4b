"""A mesh drawn over the picture that it was made from."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vrn_jax.geometry.rasterize import rasterize
from vrn_jax.rendering.render import clay
from vrn_jax.rendering.shading import to_srgb
from vrn_jax.rendering.view import Seen
from vrn_jax.types import Mesh

__all__ = ["overlay"]

_DRAWN_HEIGHT = 320  # pixels: the mesh has no more detail, and a large face should not take longer


def overlay(
    picture: UInt8[np.ndarray, "h w 3"], mesh: Mesh, *, opacity: float = 0.9
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with a mesh in its pixels drawn over it, in lit clay.

    Drawn at a fixed height and scaled to its place, which also softens the outline.
    """
    shape = np.array(picture.shape[1::-1])
    low = np.floor(mesh.vertices[:, :2].min(axis=0)).astype(int) - 1
    high = np.ceil(mesh.vertices[:, :2].max(axis=0)).astype(int) + 2
    size = high - low
    shown_low, shown_high = np.maximum(low, 0), np.minimum(high, shape)
    if (shown_high <= shown_low).any():
        return picture
    scale = min(_DRAWN_HEIGHT / size[1], 2.0)
    width, height = (max(1, round(float(side) * scale)) for side in size)
    points = np.concatenate([mesh.vertices[:, :2] - low, mesh.vertices[:, 2:]], axis=1) * scale
    points[:, :2] += (scale - 1) / 2  # the same corner, not the same centre of the first pixel
    seen = Seen(rasterize(points, mesh.faces, (height, width)), mesh.faces, points, scale)
    layer = np.zeros((height, width, 4), np.uint8)
    layer[seen.covered, :3] = to_srgb(clay(mesh, seen, np.eye(3), step=1))
    layer[seen.covered, 3] = round(255 * opacity)
    # Premultiplied: pixels without a colour must not darken the outline.
    scaled = Image.fromarray(layer).convert("RGBa")
    scaled = scaled.resize((int(size[0]), int(size[1])), Image.Resampling.BILINEAR).convert("RGBA")
    corner = tuple((shown_low - low).tolist())
    scaled = scaled.crop((*corner, *(shown_high - low).tolist()))
    target = Image.fromarray(picture)
    target.paste(scaled, tuple(shown_low.tolist()), scaled)
    return np.asarray(target)
