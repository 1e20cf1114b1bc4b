"""The losses of the paper: sigmoid cross entropy per voxel (section 4.1) and per heatmap pixel.

A volume has 7.4 million voxels a sample, its logits 16 times fewer. So the enlarged volume and its
targets never exist as a whole: they are made a few depth planes at a time, and what the backward
pass needs, the gradient with respect to the small logits, is computed along with the loss.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.resample import upsample_planes
from vrn_jax.geometry.solid import Solid, occupancy_of_planes

__all__ = ["heatmap_loss", "volume_loss"]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def volume_loss(
    logits: Float[Array, "b h w d"],
    solids: Solid,
    grid: VolumeGrid = VRN_GRID,
    planes_at_once: int = 20,
    stride: int = 1,
) -> Float[Array, ""]:
    """Mean sigmoid cross entropy over all voxels of the enlarged logits and over the batch.

    `solids` are batched; their occupancy is the target. `logits` have a fraction of the grid's rows
    and columns and all of its planes. Computed in float32, sample by sample, and of each
    `planes_at_once` planes at a time (a number that divides d). With a `stride` only every
    `stride`-th row and column counts.

    Differentiable once, with respect to the logits.
    """
    return _forward(logits, solids, grid, planes_at_once, stride)[0]


def _forward(
    logits: Float[Array, "b h w d"],
    solids: Solid,
    grid: VolumeGrid,
    planes_at_once: int,
    stride: int,
) -> tuple[Float[Array, ""], Float[Array, "b h w d"]]:
    """The loss and its gradient.

    One sample at a time, since what is looked up in its solid then fits in fast memory; columns
    last, since a few planes would be a waste of an accelerator's registers.
    """
    *rest, depth = logits.shape
    if depth % planes_at_once:
        raise ValueError(
            f"the loss takes {planes_at_once} planes at a time, which does not divide {depth}"
        )
    count = depth // planes_at_once
    parts = jnp.transpose(logits.reshape(*rest, count, planes_at_once), (0, 3, 4, 1, 2))
    numbers = jnp.arange(float(depth)).reshape(count, planes_at_once)
    loss_of = jax.value_and_grad(partial(_chunk_loss, grid=grid, stride=stride))

    def add(solid: Solid, total: Array, chunk: tuple) -> tuple[Array, Array]:
        loss, gradient = loss_of(*chunk, solid)
        return total + loss, gradient

    def add_sample(total: Array, sample: tuple[Array, Solid]) -> tuple[Array, Array]:
        parts, solid = sample
        return lax.scan(partial(add, solid), total, (parts, numbers))

    total, gradients = lax.scan(add_sample, jnp.zeros(()), (parts, solids))
    chunks = rest[0] * count
    gradient = jnp.transpose(gradients, (0, 3, 4, 1, 2)).reshape(logits.shape)
    return total / chunks, gradient / chunks


def _backward(
    grid: VolumeGrid,
    planes_at_once: int,
    stride: int,
    gradient: Float[Array, "b h w d"],
    cotangent: Float[Array, ""],
) -> tuple[Float[Array, "b h w d"], None]:
    return (gradient * cotangent).astype(gradient.dtype), None


volume_loss.defvjp(_forward, _backward)


def heatmap_loss(
    logits: Float[Array, "b h w l"], heatmaps: Float[Array, "b h w l"]
) -> Float[Array, ""]:
    """Mean sigmoid cross entropy over pixels, landmarks and batch; `heatmaps` are in [0, 1]."""
    return optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), heatmaps).mean()


def _chunk_loss(
    logits: Float[Array, "p h w"],
    planes: Float[Array, " p"],
    solid: Solid,
    *,
    grid: VolumeGrid,
    stride: int,
) -> Float[Array, ""]:
    enlarged = upsample_planes(logits, grid.rows // logits.shape[1], stride=stride)
    inside = occupancy_of_planes(solid, planes, grid, stride=stride)
    # log(1 + exp(x)) - x t, where t is 0 or 1
    return jnp.mean(jax.nn.softplus(jnp.where(inside, -enlarged, enlarged)))
