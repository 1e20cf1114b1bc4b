"""Batch normalisation and ReLU: whose statistics are used, and what is kept to differentiate it.

On several devices every device normalises its share of the batch by itself, as the original did
on its two GPUs, unless `Shared` says whose statistics it shares. The backward pass is written out,
since it has to exchange two sums of its own where statistics are shared. Its input is named
"convolved" and its statistics "statistics", for those who keep only these and compute the
activations again, which costs nothing within the convolution that reads them.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from vrn_jax.config import Norm

__all__ = ["NormRelu", "Shared", "Statistics", "norm_relu"]

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # Torch7's momentum 0.1 is the weight of the *new* value


@dataclass(frozen=True)
class Shared:
    """Statistics of a batch that is spread over devices; for use within `jax.shard_map`."""

    axes: tuple[str, ...]
    """Of the mesh, over all of which the batch is spread."""
    groups: tuple[tuple[int, ...], ...] | None = None
    """Devices, numbered along `axes`, that share statistics; None if all do."""

    def mean(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Of every device's `x`, over the devices that share."""
        return lax.pmean(x, self.axes, axis_index_groups=self.groups)


Statistics = Norm | Shared
"""Which statistics normalise: by `config.Norm`, or those of a batch that several devices hold."""


class NormRelu(nn.Module):
    """Batch normalisation by the given statistics, then ReLU.

    Statistics of single images are instance normalisation; it has the same parameters, so the same
    weights serve all modes.
    """

    norm: Statistics
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises over pixels (and the batch, by mode) and cuts below zero."""
        x = checkpoint_name(x if self.dtype is None else x.astype(self.dtype), "convolved")
        if self.norm == "batch" or isinstance(self.norm, Shared):
            return self._by_batch(x)
        if self.norm == "image":
            layer = nn.InstanceNorm(
                epsilon=BATCH_NORM_EPSILON, dtype=self.dtype, use_fast_variance=False
            )
        else:
            layer = nn.BatchNorm(
                use_running_average=True, epsilon=BATCH_NORM_EPSILON, dtype=self.dtype
            )
        nn.share_scope(self, layer)  # "scale" and "bias" stand directly below this module
        return nn.relu(layer(x))

    def _by_batch(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises by the batch, and moves the running averages towards its statistics."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        averages = (
            self.variable("batch_stats", "mean", jnp.zeros, shape),
            self.variable("batch_stats", "var", jnp.ones, shape),
        )
        shared = self.norm if isinstance(self.norm, Shared) else None
        y, *found = cast(tuple[Array, ...], norm_relu(x, scale, bias, shared))
        if not self.is_initializing():
            for average, value in zip(averages, found, strict=True):
                new = (1 - BATCH_NORM_MOMENTUM) * value
                average.value = BATCH_NORM_MOMENTUM * average.value + new
        return y


class _Kept(NamedTuple):
    """What the backward pass of `norm_relu` needs: its input, in the arithmetic's own precision,
    and numbers for every channel.
    """

    x: Float[Array, "b h w c"]
    mean: Float[Array, " c"]
    inverse_std: Float[Array, " c"]
    scale: Float[Array, " c"]
    bias: Float[Array, " c"]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def norm_relu(
    x: Float[Array, "b h w c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    shared: Shared | None = None,
) -> tuple[Float[Array, "b h w c"], Float[Array, " c"], Float[Array, " c"]]:
    """``relu((x - mean) / sqrt(var + eps) * scale + bias)``, and the mean and variance of x.

    Sums are taken in float32 or what is finer; the result has the type of `x`. Statistics are not
    to be differentiated, which is not checked.
    """
    return _forward(x, scale, bias, shared)[0]


def _forward(x: Array, scale: Array, bias: Array, shared: Shared | None) -> tuple[tuple, _Kept]:
    wide = _widened(x)
    # One pass over x, and one exchange between devices.
    moments = jnp.stack([wide.mean((0, 1, 2)), jnp.square(wide).mean((0, 1, 2))])
    mean, square = tuple(moments if shared is None else shared.mean(moments))
    variance = jnp.maximum(square - jnp.square(mean), 0)
    inverse_std = lax.rsqrt(variance + BATCH_NORM_EPSILON)
    mean, inverse_std = (checkpoint_name(v, "statistics") for v in (mean, inverse_std))
    kept = _Kept(x, mean, inverse_std, scale, bias)
    y = nn.relu(_normalised(kept) * _along_channels(scale) + _along_channels(bias))
    return (y.astype(x.dtype), mean, variance), kept


def _backward(shared: Shared | None, kept: _Kept, cotangents: tuple) -> tuple[Array, Array, Array]:
    """With u = (x - mean) / std and g the gradient where the ReLU is open:
    dx = scale / std (g - mean(g) - u mean(g u)), the means being over all who share.
    """
    gradient, *_ = cotangents
    u = _normalised(kept)
    is_open = u * _along_channels(kept.scale) + _along_channels(kept.bias) > 0
    g = jnp.where(is_open, _widened(gradient), 0)
    sums = jnp.stack([g.sum((0, 1, 2)), (g * u).sum((0, 1, 2))])
    means = sums / (g.size // g.shape[-1])
    mean_g, mean_gu = tuple(means if shared is None else shared.mean(means))
    centred = g - _along_channels(mean_g) - u * _along_channels(mean_gu)
    dx = _along_channels(kept.scale * kept.inverse_std) * centred
    dbias, dscale = sums.astype(kept.scale.dtype)
    return dx.astype(kept.x.dtype), dscale, dbias


norm_relu.defvjp(_forward, _backward)


def _normalised(kept: _Kept) -> Float[Array, "b h w c"]:
    centred = _widened(kept.x) - _along_channels(kept.mean)
    return centred * _along_channels(kept.inverse_std)


def _widened(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _along_channels(x: Float[Array, " c"]) -> Float[Array, "1 1 1 c"]:
    return x.reshape(1, 1, 1, -1)
