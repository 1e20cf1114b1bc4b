"""The photo as texture where it shows the surface, inpainted colour where it does not.

The texture is an atlas of two charts side by side:

- *front*: the photo around the face, for all that the camera sees. Towards grazing and covered
  parts it fades into the inpainted colours, so the seam has no edge.
- *around*: colour by direction from the middle of the solid, as an azimuthal projection about the
  axis that points away from the viewer. Filled from what is seen, ever more blurred with
  distance, it serves the sides, the back and what the nose hides. Its singular direction, towards
  the viewer, is always seen.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_similarity, similarity, similarity_scale
from vrn_jax.types import Mesh

__all__ = ["texture_from_photo"]

AROUND_SIDE = 128
"""Texels a side of the chart by direction; its colours are smooth, so it can be small."""

FACING_FADE = (0.15, 0.5)
"""Cosine between normal and viewer where the photo's share rises from nothing to all."""
CLIFF = 0.04
"""Step in depth between neighbouring texels, in heights of the solid, that hides what is behind."""
FOLD = 0.03
"""Size of folds, in heights of the solid, whose steepness does not count."""
EDGE_FADE = 0.03
"""Distance from outlines, in heights of the solid, over which the photo fades in."""
_MARGIN = 2  # texels between the outline and the end of the front chart


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
    """Textures a closed mesh in photo pixels with that photo.

    The front chart has the photo's resolution, but at least 256 and at most `max_side` texels a
    side. Vertices on the seam between the charts are repeated, with equal positions.
    """
    normals = vertex_normals(mesh)
    front = _look(mesh, normals, photo, max_side)
    middle = mesh.vertices.mean(axis=0)
    around = _fill(_splat(front, middle))
    pixels_around = _sample(around, _around_uv(front.surface - middle))
    share = front.trust[..., None]
    colour = share * front.colour + (1 - share) * pixels_around
    # Texture filters read past the outline, so colour goes on beyond it.
    nearest = np.empty((2, *front.covered.shape), np.int32)
    scipy.ndimage.distance_transform_edt(
        ~front.covered, return_distances=False, return_indices=True, indices=nearest
    )
    colour = colour[nearest[0], nearest[1]]
    whole = dataclasses.replace(mesh, normals=normals)
    return _with_atlas(whole, _seen(mesh, normals, front), front, colour, around, middle)


def _look(mesh: Mesh, normals: np.ndarray, photo: np.ndarray, max_side: int) -> _Front:
    low, high = mesh.vertices[:, :2].min(axis=0), mesh.vertices[:, :2].max(axis=0)
    side = float((high - low).max())
    scale = np.clip(side, 256, max_side) / side
    width, height = (int(np.ceil(x * scale)) + 2 * _MARGIN + 1 for x in high - low)
    from_photo = similarity(scale, 0.0, low, np.full(2, float(_MARGIN)))
    vertices = apply_similarity(from_photo, mesh.vertices)
    fragments = rasterize(vertices, mesh.faces, (height, width))
    covered = fragments.face >= 0
    surface = interpolate(fragments, mesh.faces, mesh.vertices)
    # Smoothed, for a fold such as an eyelid is seen well enough although it is steep.
    facing = _smoothed(interpolate(fragments, mesh.faces, normals[:, 2:])[..., 0], covered, height)
    # Behind an outline inside the face (nose, lips) the photo's colours belong to what covers it.
    z = np.where(covered, surface[..., 2], mesh.vertices[:, 2].min()) * scale
    # Pits narrower than a fold are closed first: an eye is no place to lose the photo.
    z = scipy.ndimage.grey_closing(z, 1 + round(2 * FOLD * height))
    cliff = scipy.ndimage.grey_dilation(z, 3) - z > CLIFF * height
    from_edge = np.asarray(scipy.ndimage.distance_transform_edt(covered & ~cliff))
    trust = _smoothstep(facing, *FACING_FADE) * _smoothstep(from_edge, 0, EDGE_FADE * height)
    colour = warp(photo, from_photo, (height, width)).astype(np.float32)
    return _Front(from_photo, colour, surface, covered, trust * covered)


def _smoothed(values: np.ndarray, covered: np.ndarray, height: int) -> np.ndarray:
    """Averages over a neighbourhood the size of a fold, within the outline."""
    weight = scipy.ndimage.gaussian_filter(covered.astype(np.float64), FOLD * height)
    blurred = scipy.ndimage.gaussian_filter(values, FOLD * height)  # 0 where not covered
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


def _sample(chart: np.ndarray, uv: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 3"]:
    """Bilinear look-up at (column, row) in 0..1."""
    rows, columns = uv[..., 1] * len(chart) - 0.5, uv[..., 0] * len(chart) - 0.5
    channels = [
        scipy.ndimage.map_coordinates(layer, [rows, columns], order=1, mode="nearest")
        for layer in np.moveaxis(chart, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def _seen(mesh: Mesh, normals: np.ndarray, front: _Front) -> Bool[np.ndarray, " f"]:
    """Faces whose corners all face the camera and have nothing before them."""
    x, y = apply_similarity(front.from_photo, mesh.vertices)[:, :2].round().astype(int).T
    depth = np.where(front.covered, front.surface[..., 2], np.inf)
    behind = scipy.ndimage.grey_erosion(depth, 3)[y, x] - mesh.vertices[:, 2]
    tolerance = 1.5 / similarity_scale(front.from_photo) + 1.0
    vertex_seen: np.ndarray = (normals[:, 2] > 0.05) & (behind < tolerance)
    return np.all(vertex_seen[mesh.faces], axis=1)


def _with_atlas(
    mesh: Mesh,
    seen: Bool[np.ndarray, " f"],
    front: _Front,
    colour: Float[np.ndarray, "h w 3"],
    around: Float[np.ndarray, "n n 3"],
    middle: Float[np.ndarray, " 3"],
) -> Mesh:
    """Puts the charts into one picture and gives every vertex its place, twice on the seam."""
    height, width = max(colour.shape[0], AROUND_SIDE), colour.shape[1] + AROUND_SIDE
    atlas = np.zeros((height, width, 3), np.uint8)
    atlas[: colour.shape[0], : colour.shape[1]] = colour.round().clip(0, 255)
    atlas[:AROUND_SIDE, colour.shape[1] :] = around.round().clip(0, 255)
    texel = apply_similarity(front.from_photo, mesh.vertices)[:, :2] + 0.5
    texel_around = _around_uv(mesh.vertices - middle) * AROUND_SIDE + [colour.shape[1], 0]
    kept = [np.unique(mesh.faces[part]) for part in (seen, ~seen)]
    texels = np.concatenate([texel[kept[0]], texel_around[kept[1]]])
    faces = np.empty_like(mesh.faces)
    faces[seen] = np.searchsorted(kept[0], mesh.faces[seen])
    faces[~seen] = np.searchsorted(kept[1], mesh.faces[~seen]) + len(kept[0])
    repeated = np.concatenate(kept)
    return Mesh(
        vertices=mesh.vertices[repeated],
        faces=faces,
        frame=mesh.frame,
        normals=vertex_normals(mesh)[repeated],
        uv=texels / [width, height] * [1, -1] + [0, 1],
        texture=atlas,
    )
