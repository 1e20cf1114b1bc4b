"""The colours a photo gives to the vertices of a head fitted to it, and how far to trust each.

A vertex is trusted where the photo shows its surface squarely, away from outlines: a fit is never
exact, and next to an outline lies the colour of what is behind.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from vrn_jax.faces.draw import normals_in_photo, posed
from vrn_jax.faces.fit import HeadFit
from vrn_jax.faces.head import Head
from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_similarity, similarity

__all__ = ["Sampled", "sample_colours", "smoothstep"]

RESOLUTION = 10.0  # pixels per centimetre of the picture that is sampled; vertices lie 2.5 apart
FILTER = 0.8  # pixels, standard deviation
FACING_FADE = (0.2, 0.55)  # cosine between normal and viewer where trust rises from nothing to all
EDGE_FADE = (0.3, 1.2)  # cm from an outline over which trust rises
CLIFF = 0.9  # cm: a step in depth between neighbouring pixels that is an outline
FOLD = 0.4  # cm: the size of folds whose steepness does not count
BEHIND = 0.35  # cm behind what is seen: hidden
MARGIN = 2  # pixels around the head


class Sampled(NamedTuple):
    """What a photo says of each vertex.

    `colours` are RGB in 0..255, `trust` is in [0, 1] and 0 where the photo does not show the
    vertex, `in_view` says that nothing hides it. `normals` are in the photo frame.
    """

    colours: Float[np.ndarray, "v 3"]
    trust: Float[np.ndarray, " v"]
    in_view: Bool[np.ndarray, " v"]
    normals: Float[np.ndarray, "v 3"]


def sample_colours(photo: UInt8[np.ndarray, "h w 3"], head: Head, fit: HeadFit) -> Sampled:
    """Looks up every vertex of the fitted head in the photo."""
    in_photo = posed(fit.photo_from_head, head.shape(fit.identity, fit.expression))
    scale = RESOLUTION / float(np.linalg.norm(fit.photo_from_head[0, :3]))
    low, high = in_photo[:, :2].min(axis=0), in_photo[:, :2].max(axis=0)
    from_photo = similarity(scale, 0.0, low, np.full(2, float(MARGIN)))
    width, height = (int(x) for x in np.ceil((high - low) * scale) + 2 * MARGIN + 1)
    vertices = apply_similarity(from_photo, in_photo)
    normals = normals_in_photo(vertices, head.faces)
    depth, facing, covered = _depth_and_facing(vertices, normals, head, (height, width))
    trust = _trust(depth, facing, covered)
    picture = _filtered(warp(photo, from_photo, (height, width)).astype(np.float32), covered)
    at = vertices[:, [1, 0]].T
    look = {"order": 1, "mode": "nearest"}
    colours = np.stack(
        [scipy.ndimage.map_coordinates(layer, at, **look) for layer in np.moveaxis(picture, 2, 0)],
        axis=1,
    )
    row, column = at.round().astype(int)
    shown = (in_photo[:, :2] >= 0).all(axis=1) & (
        in_photo[:, :2] <= np.array(photo.shape[1::-1]) - 1
    ).all(axis=1)
    seen = shown & (vertices[:, 2] > depth[row, column] - BEHIND * RESOLUTION)
    seen &= normals[:, 2] > 0.0
    return Sampled(colours, seen * scipy.ndimage.map_coordinates(trust, at, **look), seen, normals)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _depth_and_facing(
    vertices: np.ndarray, normals: np.ndarray, head: Head, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The camera's view: depth, cosine between normal and viewer, and where the head is."""
    flipped = head.faces[:, ::-1]
    fragments = rasterize(vertices, flipped, shape)
    covered = fragments.face >= 0
    layers = interpolate(
        fragments, flipped, np.column_stack([vertices[:, 2], normals[:, 2]]).astype(np.float32)
    )
    return np.where(covered, layers[..., 0], vertices[:, 2].min()), layers[..., 1], covered


def _trust(depth: np.ndarray, facing: np.ndarray, covered: np.ndarray) -> Float[np.ndarray, "h w"]:
    """How squarely and how far from any outline each pixel shows the surface."""
    fold = FOLD * RESOLUTION
    # Smoothed, for a fold such as an eyelid is seen well enough although it is steep; and pits
    # narrower than a fold are closed first: an eye is no outline.
    facing = _blurred(facing[..., None], covered, fold)[..., 0]
    closed = scipy.ndimage.grey_closing(depth, 1 + 2 * round(2 * fold))
    cliff = scipy.ndimage.grey_dilation(closed, 3) - closed > CLIFF * RESOLUTION
    from_edge = np.asarray(scipy.ndimage.distance_transform_edt(covered & ~cliff)) / RESOLUTION
    return covered * smoothstep(facing, *FACING_FADE) * smoothstep(from_edge, *EDGE_FADE)


def _filtered(picture: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The picture as coarse as the vertices, without what lies beside the head."""
    inside = scipy.ndimage.binary_erosion(covered, iterations=2)
    return _blurred(picture, inside, FILTER)


def _blurred(layers: np.ndarray, where: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian averages over the pixels that count; the plain values far from all of them."""
    weight = scipy.ndimage.gaussian_filter(where.astype(np.float32), sigma)[..., None]
    sums = scipy.ndimage.gaussian_filter(layers * where[..., None], (sigma, sigma, 0))
    return np.where(weight > 1e-3, sums / np.maximum(weight, 1e-3), layers)
