"""Bilinear enlargement of a grid of logits, and smoothing of volumes: one matrix an axis each.

The network works at a quarter of the crop's size. Losses and post-processing enlarge its output by
this one function, so that both see the same volume.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from vrn_jax.config import Upsampling

__all__ = ["Kernels", "gaussian_kernels", "smooth", "upsample", "upsample_planes"]

Kernels = tuple[
    Float32[Any, "height height"], Float32[Any, "width width"], Float32[Any, "depth depth"]
]
"""Matrices that blur a volume along its rows, columns and planes."""

_FULL = lax.Precision.HIGHEST  # an accelerator's default would round the logits to bfloat16


def upsample(
    x: Float[Array, "b h w c"],
    factor: int = 4,
    mode: Upsampling = "align_corners",
    *,
    stride: int = 1,
) -> Float[Array, "b H W c"]:
    """Enlarges rows and columns `factor` times, to H = factor * h and W = factor * w.

    Bilinear, in float32 or what is finer. With a `stride` only every `stride`-th row and column of
    it is computed, from the first on.
    """
    x = _widened(x)
    rows, columns = (_matrix(n, factor, mode, x.dtype)[::stride] for n in x.shape[1:3])
    taller = jnp.einsum("Hh,bhwc->bHwc", rows, x, precision=_FULL)
    return jnp.einsum("Ww,bHwc->bHWc", columns, taller, precision=_FULL)


def upsample_planes(
    x: Float[Array, "c h w"], factor: int, *, stride: int = 1
) -> Float[Array, "c H W"]:
    """`upsample` of one sample, its channels first, by the "align_corners" rule."""
    x = _widened(x)
    rows, columns = (_matrix(n, factor, "align_corners", x.dtype)[::stride] for n in x.shape[1:])
    taller = jnp.einsum("Hh,chw->cHw", rows, x, precision=_FULL)
    return jnp.einsum("Ww,cHw->cHW", columns, taller, precision=_FULL)


def _widened(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _matrix(samples: int, factor: int, mode: Upsampling, dtype: jnp.dtype) -> Array:
    return jnp.asarray(_interpolation_matrix(samples, factor * samples, mode), dtype)


def _interpolation_matrix(
    samples: int, outputs: int, mode: Upsampling
) -> Float[np.ndarray, "outputs samples"]:
    i = np.arange(outputs)
    if mode == "align_corners":
        position = i * ((samples - 1) / max(outputs - 1, 1))
    elif mode == "half_pixel":
        position = (i + 0.5) * samples / outputs - 0.5
    else:
        position = i * samples / outputs
    distance = np.abs(position.clip(0, samples - 1)[:, None] - np.arange(samples))
    return np.maximum(1.0 - distance, 0.0)


def smooth(occupancy: Float[Array, "h w d"], kernels: Kernels) -> Float32[Array, "h w d"]:
    """Blurs a volume by `gaussian_kernels`; it is zero outside."""
    volume = occupancy.astype(jnp.float32)
    return jnp.einsum("Hh,Ww,Dd,hwd->HWD", *kernels, volume, precision=_FULL)


def gaussian_kernels(
    shape: tuple[int, ...], sigma_px: float, plane_depth: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Kernels` of a Gaussian of `sigma_px` crop pixels, cut off at 4 sigma, for volumes [h w d].

    A plane is `plane_depth` pixels deep, so the Gaussian is round in space, not in voxels. With a
    `sigma_px` of 0 they change nothing.
    """
    rows, columns, planes = shape
    return (
        _gaussian_matrix(rows, sigma_px),
        _gaussian_matrix(columns, sigma_px),
        _gaussian_matrix(planes, sigma_px / plane_depth),
    )


def _gaussian_matrix(size: int, sigma: float) -> Float32[np.ndarray, "size size"]:
    if sigma == 0:
        return np.eye(size, dtype=np.float32)
    radius = int(4 * sigma + 0.5)  # the cut-off of scipy.ndimage
    offset = np.arange(size)[:, None] - np.arange(size)
    band = np.where(np.abs(offset) <= radius, np.exp(-0.5 * (offset / sigma) ** 2), 0.0)
    total = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum()
    return (band / total).astype(np.float32)
