"""The photo as texture where it shows the surface, inpainted colour where it does not.

The texture has no seam (`geometry.unfold`), so a closed mesh stays closed. In its middle lies the
photo as the camera sees the solid; around it, sides and back. They get *colour by direction* from
the middle of the solid, taken from what is seen and ever more blurred with distance, and towards
grazing parts the photo fades into it.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_similarity, similarity
from vrn_jax.geometry.unfold import unfolding
from vrn_jax.types import Mesh

__all__ = ["look_up", "texture_from_photo"]

AROUND_SIDE = 128
"""Texels a side of the map of colours by direction; they are smooth, so it can be small."""
HEM = 0.25
"""Width of the ring in which sides and back lie, in the larger side of the outline's box."""

FACING_FADE = (0.15, 0.5)
"""Cosine between normal and viewer where the photo's share rises from nothing to all."""
CLIFF = 0.04
"""Step in depth between neighbouring texels, in heights of the solid, that hides what is behind."""
FOLD = 0.03
"""Size of folds, in heights of the solid, whose steepness does not count."""
EDGE_FADE = 0.03
"""Distance from outlines, in heights of the solid, over which the photo fades in."""


class _Front(NamedTuple):
    """The camera's view at the resolution of the front chart."""

    from_photo: Float[np.ndarray, "3 3"]
    colour: Float[np.ndarray, "h w 3"]
    surface: Float[np.ndarray, "h w 3"]  # photo frame; 0 outside of the outline
    covered: Bool[np.ndarray, "h w"]
    trust: Float[np.ndarray, "h w"]  # share of the photo's colour, 0..1


def texture_from_photo(
    mesh: Mesh, photo: UInt8[np.ndarray, "h w 3"], *, max_side: int = 1024
) -> Mesh:
    """Textures a closed mesh in photo pixels with that photo. Vertices and faces stay as they are.

    The texture has the photo's resolution, but at least 256 and at most `max_side` texels along the
    larger side of the face.
    """
    normals = vertex_normals(mesh)
    front = _look(mesh, normals, photo, max_side)
    height, width = front.covered.shape
    middle = mesh.vertices.mean(axis=0)
    around = _fill(_splat(front, middle))
    extent = float(np.ptp(mesh.vertices[:, :2], axis=0).max())
    unfolded = unfolding(mesh.vertices - middle, HEM * extent)
    texels = np.indices((height, width), np.float64)[::-1].reshape(2, -1).T
    places = apply_similarity(np.linalg.inv(front.from_photo), texels) - middle[:2]
    beyond = unfolded.directions(places).reshape(height, width, 3)
    direction = np.where(front.covered[..., None], front.surface - middle, beyond)
    share = front.trust[..., None]
    colour = share * front.colour + (1 - share) * look_up(around, _around_uv(direction))
    at = apply_similarity(front.from_photo, unfolded.place(mesh.vertices - middle) + middle[:2])
    return dataclasses.replace(
        mesh,
        normals=normals,
        uv=(at + 0.5) / [width, height] * [1, -1] + [0, 1],
        texture=colour.round().clip(0, 255).astype(np.uint8),
    )


def _look(mesh: Mesh, normals: np.ndarray, photo: np.ndarray, max_side: int) -> _Front:
    low, high = mesh.vertices[:, :2].min(axis=0), mesh.vertices[:, :2].max(axis=0)
    side = float((high - low).max())
    scale = np.clip(side, 256, max_side) / side
    margin = int(np.ceil(HEM * side * scale)) + 2
    width, height = (int(np.ceil(x * scale)) + 2 * margin + 1 for x in high - low)
    from_photo = similarity(scale, 0.0, low, np.full(2, float(margin)))
    vertices = apply_similarity(from_photo, mesh.vertices)
    fragments = rasterize(vertices, mesh.faces, (height, width))
    covered = fragments.face >= 0
    surface = interpolate(fragments, mesh.faces, mesh.vertices)
    tall = float(high[1] - low[1]) * scale  # of the solid, texels; the picture has its hem besides
    # Smoothed, for a fold such as an eyelid is seen well enough although it is steep.
    facing = _smoothed(interpolate(fragments, mesh.faces, normals[:, 2:])[..., 0], covered, tall)
    # Behind an outline inside the face (nose, lips) the photo's colours belong to what covers it.
    z = np.where(covered, surface[..., 2], mesh.vertices[:, 2].min()) * scale
    # Pits narrower than a fold are closed first: an eye is no place to lose the photo.
    z = scipy.ndimage.grey_closing(z, 1 + round(2 * FOLD * tall))
    cliff = scipy.ndimage.grey_dilation(z, 3) - z > CLIFF * tall
    from_edge = np.asarray(scipy.ndimage.distance_transform_edt(covered & ~cliff))
    trust = _smoothstep(facing, *FACING_FADE) * _smoothstep(from_edge, 0, EDGE_FADE * tall)
    colour = warp(photo, from_photo, (height, width)).astype(np.float32)
    return _Front(from_photo, colour, surface, covered, trust * covered)


def _smoothed(values: np.ndarray, covered: np.ndarray, tall: float) -> np.ndarray:
    """Averages over a neighbourhood the size of a fold, within the outline."""
    weight = scipy.ndimage.gaussian_filter(covered.astype(np.float64), FOLD * tall)
    blurred = scipy.ndimage.gaussian_filter(values, FOLD * tall)  # 0 where not covered
    return blurred / np.maximum(weight, 1e-6)


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _around_uv(direction: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 2"]:
    """Column and row, in 0..1, of directions: from the viewer in the middle, to it on the rim."""
    x, y, z = np.moveaxis(direction, -1, 0)
    across = np.hypot(x, y)
    radius = np.arctan2(across, -z) / np.pi / 2 / np.maximum(across, 1e-9)
    return np.stack([0.5 + radius * x, 0.5 + radius * y], axis=-1)


def _splat(front: _Front, middle: np.ndarray) -> Float[np.ndarray, "n n 4"]:
    """Sums of what the camera sees by direction: RGB times trust, and trust."""
    seen = front.trust > 0.5
    texel = (_around_uv(front.surface[seen] - middle) * AROUND_SIDE).astype(int)
    index = (texel[:, 1] * AROUND_SIDE + texel[:, 0]).clip(0, AROUND_SIDE**2 - 1)
    trust = front.trust[seen]
    layers = [*(front.colour[seen] * trust[:, None]).T, trust]
    sums = [np.bincount(index, layer, AROUND_SIDE**2) for layer in layers]
    return np.stack(sums, axis=1).reshape(AROUND_SIDE, AROUND_SIDE, 4)


def _fill(sums: Float[np.ndarray, "n n 4"]) -> Float[np.ndarray, "n n 3"]:
    """Colour everywhere: blurred over a growing distance until something seen is in reach."""
    if not sums[..., 3].any():
        return np.full((*sums.shape[:2], 3), 128.0)
    colour = np.broadcast_to(sums[..., :3].sum((0, 1)) / sums[..., 3].sum(), (*sums.shape[:2], 3))
    for sigma in (32, 16, 8, 4, 2):  # texels
        blurred = scipy.ndimage.gaussian_filter(sums, (sigma, sigma, 0))
        weight = blurred[..., 3:]
        share = weight / (weight + 0.05 * weight.max())
        colour = colour + share * (blurred[..., :3] / np.maximum(weight, 1e-12) - colour)
    return colour


def look_up(
    picture: Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
    places: Float[np.ndarray, "... 2"],
) -> Float[np.ndarray, "... 3"]:
    """Bilinear, at (column, row) in 0..1 from the upper left corner, as texture filters do it."""
    height, width = picture.shape[:2]
    at = [places[..., 1] * height - 0.5, places[..., 0] * width - 0.5]
    channels = [
        scipy.ndimage.map_coordinates(layer, at, output=np.float32, order=1, mode="nearest")
        for layer in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(channels, axis=-1)
