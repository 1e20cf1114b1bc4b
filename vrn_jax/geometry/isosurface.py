"""Occupancy -> closed triangle mesh, by marching cubes (Lewiner et al. 2003) on the host."""

import dataclasses

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.transforms import apply_affine
from vrn_jax.types import Mesh

__all__ = ["isosurface", "simplify_surface", "smooth_surface"]

_CLEARANCE = 1e-3


def isosurface(
    occupancy: Float[np.ndarray, "h w d"],
    grid: VolumeGrid,
    *,
    threshold: float = 0.5,
    corner: Int[np.ndarray, " 3"] | None = None,
    step: tuple[int, int, int] = (1, 1, 1),
    has_cavities: bool = True,
) -> Mesh:
    """The outer surface of ``occupancy > threshold``, in crop pixels.

    `occupancy` may be a part of the volume that holds everything occupied; `corner` is then the
    voxel index of its first element. It may be every `step`-th row, column and plane. Where the
    solid touches the border the mesh is closed just outside of it, and cavities are filled, so
    every 6-connected solid gives one watertight shell.
    `has_cavities = False` saves the search for them where `postprocess.clean` has done it.

    Raises:
        InputError: if nothing is occupied.
    """
    # Late, and not only for speed: everything else in the package works without scikit-image.
    from skimage.measure import marching_cubes

    level = np.float32(threshold)
    padded = np.pad(occupancy.astype(np.float32), 1)
    inside = padded > level
    if has_cavities:
        inside = _without_cavities(inside)
    if not inside.any():
        raise InputError(
            f"nothing to mesh: the highest occupancy is {occupancy.max():.3f}, the threshold "
            f"{threshold}; lower the threshold, or check that the crop shows a face"
        )
    # Values at the threshold would put several vertices on one grid point, which tears the surface
    # open or pinches it. Keeping them at a distance moves it by less than a hundredth of a voxel.
    padded[inside] = np.maximum(padded[inside], level + _CLEARANCE)
    padded[~inside] = np.minimum(padded[~inside], level - _CLEARANCE)
    vertices, faces, _, _ = marching_cubes(padded, level)
    voxels = (vertices - 1) * np.array(step) + (np.zeros(3) if corner is None else corner)
    # scikit-image winds its faces into the solid in voxel indices; (row, column, plane) -> (x, y,
    # z) swaps two axes, which turns that over.
    return Mesh(
        vertices=apply_affine(grid.crop_from_voxel, voxels),
        faces=faces,
        frame="crop",
    )


def _without_cavities(inside: Bool[np.ndarray, "h w d"]) -> Bool[np.ndarray, "h w d"]:
    """Fills whatever is not connected with the border."""
    outside = np.empty(inside.shape, np.int32)
    scipy.ndimage.label(~inside, output=outside)
    return outside != outside[0, 0, 0]


def smooth_surface(mesh: Mesh, iterations: int) -> Mesh:
    """Taubin's smoothing (1995), which does not shrink: `iterations` pairs of steps."""
    import trimesh

    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    trimesh.smoothing.filter_taubin(surface, lamb=0.5, nu=0.53, iterations=2 * iterations)
    return dataclasses.replace(mesh, vertices=np.asarray(surface.vertices))


def simplify_surface(mesh: Mesh, faces: int) -> Mesh:
    """Collapses edges (Garland and Heckbert 1997) until about `faces` are left; still closed.

    Raises:
        InputError: if fewer than four faces are asked for, which enclose nothing.
    """
    import fast_simplification

    if faces < 4:
        raise InputError(f"a closed mesh has at least 4 faces, got {faces}")
    if faces >= len(mesh.faces):
        return mesh
    vertices, kept = fast_simplification.simplify(
        np.ascontiguousarray(mesh.vertices),
        np.ascontiguousarray(mesh.faces, np.int32),
        target_count=faces,
    )[:2]
    return Mesh(np.asarray(vertices, np.float64), np.asarray(kept), mesh.frame)
