"""The colours a photo gives to the vertices of a head fitted to it, and how far to trust each.

A vertex is trusted where the photo shows its surface squarely, away from outlines: a fit is never
exact, and next to an outline lies the colour of what is behind.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from vrn_jax.faces.draw import normals_in_photo
from vrn_jax.faces.fit import HeadFit
from vrn_jax.faces.head import MASKS, Head
from vrn_jax.faces.lighting import alike
from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_affine, apply_similarity, similarity

__all__ = ["Sampled", "sample_colours", "smoothstep"]

RESOLUTION = 10.0  # pixels per centimetre of the picture that is sampled; vertices lie 2.5 apart
FILTER = 0.8  # pixels, standard deviation
FACING_FADE = (0.2, 0.55)  # cosine between normal and viewer where trust rises from nothing to all
EDGE_FADE = (0.3, 1.2)  # cm from an outline over which trust rises
CLIFF = 0.9  # cm: a step in depth between neighbouring pixels that is an outline
FOLD = 0.4  # cm: the size of folds whose steepness does not count
BEHIND = 0.35  # cm behind what is seen: hidden
MARGIN = 4.0  # cm around the head that are looked at too
BESIDE = 3.0  # cm from the head from which the picture is background, not hair
LEAST_BACKGROUND = 200  # pixels to tell its colour from
BACKGROUND_LIKE = 0.2  # relative difference of colours within which the scalp may be background


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
    in_photo = apply_affine(fit.photo_from_head, head.shape(fit.identity, fit.expression))
    scale = RESOLUTION / float(np.linalg.norm(fit.photo_from_head[0, :3]))
    low, high = in_photo[:, :2].min(axis=0), in_photo[:, :2].max(axis=0)
    margin = MARGIN * RESOLUTION
    from_photo = similarity(scale, 0.0, low, np.full(2, margin))
    width, height = (int(x) for x in np.ceil((high - low) * scale + 2 * margin) + 1)
    vertices = apply_similarity(from_photo, in_photo)
    normals = normals_in_photo(vertices, head.faces)
    camera = _look(vertices, normals, head, (height, width))
    shown = warp(np.full_like(photo, 255), from_photo, (height, width))[..., 0] == 255
    shown[int(vertices[head.landmarks, 1].mean()) :] = False
    picture = warp(photo, from_photo, (height, width)).astype(np.float32)
    tones = _background(picture, camera.covered, shown, float(vertices[head.landmarks, 0].mean()))
    picture = _filtered(picture, camera.covered)
    at = vertices[:, [1, 0]].T
    layers = [
        *np.moveaxis(picture, 2, 0),
        _trust(camera, _shows_background(picture, camera, tones)),
    ]
    *colours, trust = (
        scipy.ndimage.map_coordinates(layer, at, order=1, mode="nearest") for layer in layers
    )
    row, column = at.round().astype(int)
    corner = np.array(photo.shape[1::-1]) - 1
    seen = ((in_photo[:, :2] >= 0) & (in_photo[:, :2] <= corner)).all(axis=1)
    seen &= vertices[:, 2] > camera.depth[row, column] - BEHIND * RESOLUTION
    seen &= normals[:, 2] > 0.0
    return Sampled(np.stack(colours, axis=1), seen * trust, seen, normals)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class _Camera(NamedTuple):
    """What each pixel shows of the head: depth, cosine between normal and viewer, scalp or not."""

    covered: Bool[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]  # that of the hindmost vertex where no head is
    facing: Float[np.ndarray, "h w"]
    scalp: Float[np.ndarray, "h w"]


def _look(vertices: np.ndarray, normals: np.ndarray, head: Head, shape: tuple[int, int]) -> _Camera:
    flipped = head.faces[:, ::-1]
    fragments = rasterize(vertices, flipped, shape)
    scalp = head.masks[:, MASKS.index("scalp")]
    values = np.column_stack([vertices[:, 2], normals[:, 2], scalp])
    depth, facing, scalp = np.moveaxis(interpolate(fragments, flipped, values), 2, 0)
    covered = fragments.face >= 0
    return _Camera(covered, np.where(covered, depth, vertices[:, 2].min()), facing, scalp)


def _trust(camera: _Camera, background: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How squarely and how far from any outline each pixel shows the surface."""
    fold = FOLD * RESOLUTION
    # Smoothed, for a fold such as an eyelid is seen well enough although it is steep; and pits
    # narrower than a fold are closed first: an eye is no outline.
    facing = _blurred(camera.facing[..., None], camera.covered, fold)[..., 0]
    closed = scipy.ndimage.grey_closing(camera.depth, 1 + 2 * round(2 * fold))
    cliff = scipy.ndimage.grey_dilation(closed, 3) - closed > CLIFF * RESOLUTION
    inside = camera.covered & ~cliff & ~background
    from_edge = np.asarray(scipy.ndimage.distance_transform_edt(inside)) / RESOLUTION
    return inside * smoothstep(facing, *FACING_FADE) * smoothstep(from_edge, *EDGE_FADE)


def _filtered(picture: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The picture as coarse as the vertices, without what lies beside the head."""
    inside = scipy.ndimage.binary_erosion(covered, iterations=2)
    return _blurred(picture, inside, FILTER)


def _blurred(layers: np.ndarray, where: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian averages over the pixels that count; the plain values far from all of them."""
    weight = scipy.ndimage.gaussian_filter(where.astype(np.float32), sigma)[..., None]
    sums = scipy.ndimage.gaussian_filter(layers * where[..., None], (sigma, sigma, 0))
    return np.where(weight > 1e-3, sums / np.maximum(weight, 1e-3), layers)


def _background(
    picture: np.ndarray, covered: np.ndarray, shown: np.ndarray, middle: float
) -> list[Float[np.ndarray, " 3"]]:
    """The median colours well to the left and to the right of a skull, where the photo reaches."""
    beside = np.asarray(scipy.ndimage.distance_transform_edt(~covered)) > BESIDE * RESOLUTION
    left = np.arange(picture.shape[1]) < middle
    sides = [picture[beside & shown & side] for side in (left, ~left)]
    return [np.median(side, axis=0) for side in sides if len(side) >= LEAST_BACKGROUND]


def _shows_background(
    picture: np.ndarray, camera: _Camera, tones: list[Float[np.ndarray, " 3"]]
) -> Bool[np.ndarray, "h w"]:
    """Where the fitted scalp is larger than the true one, and the photo shows what is behind.

    That is where it looks like the background, from the outline inwards.
    """
    similar = np.zeros(camera.covered.shape, bool)
    for tone in tones:
        similar |= alike(picture, tone, BACKGROUND_LIKE) > 0.5
    similar &= camera.scalp > 0.5
    return np.asarray(
        scipy.ndimage.binary_propagation(~camera.covered, mask=similar | ~camera.covered)
    )
