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
from vrn_jax.geometry.resample import upsample
from vrn_jax.geometry.solid import Solid, occupancy

__all__ = ["heatmap_loss", "volume_loss"]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def volume_loss(
    logits: Float[Array, "b h w d"],
    solids: Solid,
    grid: VolumeGrid = VRN_GRID,
    planes_at_once: int = 8,
    stride: int = 1,
) -> Float[Array, ""]:
    """Mean sigmoid cross entropy over all voxels of the enlarged logits and over the batch.

    `solids` are batched; their occupancy is the target. `logits` have a fraction of the grid's rows
    and columns and all of its planes. Computed in float32, `planes_at_once` planes at a time (a
    number that divides d). With a `stride` only every `stride`-th row and column counts.

    Differentiable once, with respect to the logits.
    """
    chunks = _chunks(logits, planes_at_once)
    mean = partial(_chunk_loss, solids=solids, grid=grid, stride=stride)
    total, _ = lax.scan(lambda total, chunk: (total + mean(*chunk), None), jnp.zeros(()), chunks)
    return total / len(chunks[1])


def _forward(
    logits: Float[Array, "b h w d"],
    solids: Solid,
    grid: VolumeGrid,
    planes_at_once: int,
    stride: int,
) -> tuple[Float[Array, ""], Float[Array, "b h w d"]]:
    chunks = _chunks(logits, planes_at_once)
    both = jax.value_and_grad(partial(_chunk_loss, solids=solids, grid=grid, stride=stride))

    def add(total: Float[Array, ""], chunk: tuple) -> tuple[Float[Array, ""], Array]:
        loss, gradient = both(*chunk)
        return total + loss, gradient

    total, gradients = lax.scan(add, jnp.zeros(()), chunks)
    count = len(chunks[1])
    gradient = jnp.moveaxis(gradients, 0, 3).reshape(logits.shape)
    return total / count, gradient / count


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


def _chunks(
    logits: Float[Array, "b h w d"], planes_at_once: int
) -> tuple[Float[Array, "n b h w p"], Float[Array, "n p"]]:
    """Logits and plane numbers, cut along the depth."""
    *rest, depth = logits.shape
    if depth % planes_at_once:
        raise ValueError(
            f"the loss takes {planes_at_once} planes at a time, which does not divide {depth}"
        )
    count = depth // planes_at_once
    chunks = jnp.moveaxis(logits.reshape(*rest, count, planes_at_once), 3, 0)
    return chunks, jnp.arange(float(depth)).reshape(count, planes_at_once)


def _chunk_loss(
    logits: Float[Array, "b h w p"],
    planes: Float[Array, " p"],
    *,
    solids: Solid,
    grid: VolumeGrid,
    stride: int,
) -> Float[Array, ""]:
    factor = grid.rows // logits.shape[1]
    enlarged = upsample(logits, factor, stride=stride)
    inside = jax.vmap(lambda solid: occupancy(solid, grid, planes, stride=stride))(solids)
    # log(1 + exp(x)) - x t, where t is 0 or 1
    return jnp.mean(jax.nn.softplus(jnp.where(inside, -enlarged, enlarged)))
