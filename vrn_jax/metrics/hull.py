"""The pixels inside the convex hull of points: fixed shapes, compiled and batched with the rest.

A horizontal line cuts a convex polygon in one interval, whose ends lie on edges of the polygon.
Every edge joins two of the points, and every segment between two points lies in the hull. So the
interval spans from the left-most to the right-most crossing of the line with *any* segment between
two of the points, and nobody needs to know which of them are edges.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["inside_hull"]


@partial(jax.jit, static_argnames="shape")
def inside_hull(points: Float[Array, "p 2"], shape: tuple[int, int]) -> Bool[Array, "h w"]:
    """Which pixel centres of a picture of `shape` (height, width) the hull of (x, y) holds.

    The border belongs to the hull. Points may lie outside of the picture.
    """
    height, width = shape
    row = jnp.arange(float(height))[:, None, None]
    x1, y1 = points[:, 0][None, :, None], points[:, 1][None, :, None]
    x2, y2 = points[:, 0][None, None, :], points[:, 1][None, None, :]
    crosses = (y1 <= row) & (row <= y2)
    # A horizontal segment gives its first end; the other is the first end of its reverse.
    along = jnp.where(y1 == y2, 0, (row - y1) / jnp.where(y1 == y2, 1, y2 - y1))
    crossing = x1 + along * (x2 - x1)
    left = jnp.where(crosses, crossing, jnp.inf).min(axis=(1, 2))
    right = jnp.where(crosses, crossing, -jnp.inf).max(axis=(1, 2))
    column = jnp.arange(float(width))[None, :]
    return (left[:, None] <= column) & (column <= right[:, None])
