"""Volumes at a coarser step for videos: a quarter of the voxels across, an eighth of all planes.

The network works at a quarter of the crop's size, so the finer voxels hold no more than an
interpolation; every second row and column, every fourth plane keep what a moving picture shows, and
cleaning, meshing and drawing take a tenth of the time.
"""

import functools

import jax
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, UInt8

from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.resample import gaussian_kernels, smooth
from vrn_jax.inference import Reconstructor
from vrn_jax.types import Mesh

__all__ = ["coarse_mesh", "coarse_volumes"]

STEP = (2, 2, 4)
"""Voxels: rows, columns and planes from one coarse voxel to the next."""
_LEAST_SIGMA_PX = 1.0  # against aliasing, where the weights ask for no smoothing


def coarse_volumes(
    reconstructor: Reconstructor,
    crops: UInt8[Array, "b height width 3"],
    landmarks: Float[Array, "b l 2"] | None,
) -> Float[Array, "b h w d"]:
    """Smoothed probabilities at every `STEP`, set going on the device without waiting."""
    fine = reconstructor.volumes(crops, landmarks, stride=STEP[0])
    sigma = max(reconstructor.settings.sigma_px, _LEAST_SIGMA_PX)
    return _thinned(fine, sigma / STEP[0], reconstructor.info.grid.plane_depth)


def coarse_mesh(
    volume: Float[np.ndarray, "h w d"], grid: VolumeGrid, threshold: float
) -> Mesh | None:
    """The surface of the largest solid in a coarse volume, in crop pixels; None where it is empty.

    Averaged over time, volumes may hold specks that none of them had.
    """
    labels, count = scipy.ndimage.label(volume > threshold)  # pyright: ignore
    if count == 0:
        return None
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    box = scipy.ndimage.find_objects(labels)[largest - 1]
    assert box is not None
    low = np.array([max(side.start - 1, 0) for side in box])
    region = tuple(slice(a, side.stop + 1) for a, side in zip(low, box, strict=True))
    others = (labels[region] > 0) & (labels[region] != largest)
    alone = np.where(others, 0, volume[region])
    return isosurface(alone, grid, threshold=threshold, corner=low * STEP, step=STEP)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _thinned(
    volumes: Float[Array, "b h w d"], sigma: float, plane_depth: float
) -> Float[Array, "b h w e"]:
    thin = volumes[..., :: STEP[2]]
    kernels = gaussian_kernels(thin.shape[1:], sigma, plane_depth * STEP[2] / STEP[0])
    return jax.vmap(lambda one: smooth(one, kernels))(thin)
