"""Intersection over union of solids (Jaccard 1912), the measure of the volumes themselves."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["iou"]


@jax.jit
def iou(prediction: Bool[Array, "*b h w d"], truth: Bool[Array, "*b h w d"]) -> Float[Array, "*b"]:
    """|prediction and truth| / |prediction or truth|, in [0, 1]; 1 where both are empty.

    Probabilities become a solid by the threshold of their weights: ``iou(occupancy > 0.5, truth)``.
    """
    axes = (-3, -2, -1)
    # Whole numbers: a float32 sum would lose voxels beyond 16.7 million.
    common = (prediction & truth).sum(axis=axes, dtype=jnp.int32)
    either = (prediction | truth).sum(axis=axes, dtype=jnp.int32)
    return jnp.where(either > 0, common / jnp.maximum(either, 1), 1.0)
