"""Bilinear enlargement of a grid of logits, with the corners aligned as VRN's last layer has them.

The network works at a quarter of the crop's size. Losses and post-processing enlarge its output by
this one function, so that both see the same volume.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

__all__ = ["upsample"]


def upsample(
    x: Float[Array, "b h w c"], factor: int = 4, *, stride: int = 1
) -> Float32[Array, "b H W c"]:
    """Enlarges rows and columns `factor` times, to H = factor * h and W = factor * w, in float32.

    With a `stride` only every `stride`-th row and column of it is computed, from the first on.

    Bilinear with *aligned corners*: where n samples become N, output i is at i * (n - 1) / (N - 1),
    so the first and the last sample stay where they are. That is what the layer of the official
    network does; `jax.image.resize` aligns the outer borders of the pixels instead.
    """
    rows, columns = (_interpolation_matrix(n, factor * n)[::stride] for n in x.shape[1:3])
    full = lax.Precision.HIGHEST  # an accelerator's default would round the logits to bfloat16
    taller = jnp.einsum("Hh,bhwc->bHwc", rows, x.astype(jnp.float32), precision=full)
    return jnp.einsum("Ww,bHwc->bHWc", columns, taller, precision=full)


def _interpolation_matrix(samples: int, outputs: int) -> Float32[np.ndarray, "outputs samples"]:
    position = np.arange(outputs) * ((samples - 1) / max(outputs - 1, 1))
    distance = np.abs(position[:, None] - np.arange(samples))
    return np.maximum(1.0 - distance, 0.0).astype(np.float32)
