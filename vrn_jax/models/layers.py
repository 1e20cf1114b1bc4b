"""The pre-activation residual block, and how a chain of them is laid out.

VRN consists of 86 residual blocks that differ in nothing but their weights. Chains of them are
one `nn.scan` over stacked parameters, so XLA compiles each family of blocks once instead of 86
times. Block i of a chain is index i of the leading axis of every parameter; `interop.mapping`
names them one by one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from vrn_jax.config import Remat
from vrn_jax.models.convolution import convolve_3x3
from vrn_jax.models.normalisation import NormRelu, Statistics

__all__ = ["Pointwise", "Residual", "Spatial", "keeping", "repeat", "residual"]

Carry = TypeVar("Carry")


class Pointwise(nn.Module):
    """A 1x1 convolution, with the parameters of `nn.Conv`, as the matrix product that it is.

    Two thirds of the network's convolutions are of this kind. XLA multiplies matrices a quarter
    faster on CPUs than it convolves with a single pixel, and no slower elsewhere.
    """

    features: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        """Multiplies every pixel's channels by one matrix, and adds the bias."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return jnp.einsum("bhwc,co->bhwo", x, kernel[0, 0]) + bias.reshape(1, 1, 1, -1)


class Spatial(nn.Module):
    """A 3x3 convolution that keeps the size, with the parameters of `nn.Conv`."""

    features: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        """Convolves, with zeros beyond the borders, and adds the bias."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return convolve_3x3(x, kernel) + bias.reshape(1, 1, 1, -1)


class Residual(nn.Module):
    """BN-ReLU-conv1x1, BN-ReLU-conv3x3, BN-ReLU-conv1x1, plus the input (He et al. 2016).

    Where the channel count changes, the input passes a bare 1x1 convolution instead.
    """

    middle: int
    out: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w out"]:
        """Adds the three convolutions to the input."""
        y = x
        layers = (
            Pointwise(self.middle, self.dtype, name="conv0"),
            Spatial(self.middle, self.dtype, name="conv1"),
            Pointwise(self.out, self.dtype, name="conv2"),
        )
        for i, convolution in enumerate(layers):
            y = convolution(NormRelu(self.norm, self.dtype, name=f"bn{i}")(y))
        if x.shape[-1] != self.out:
            x = Pointwise(self.out, self.dtype, name="project")(x)
        return x + y


def residual(
    middle: int, out: int, norm: Statistics, dtype: jax.typing.DTypeLike | None, *, remat: Remat
) -> Callable[..., nn.Module]:
    """`Residual`, as a constructor that takes the name; in training it keeps little.

    Of a block only its input and what is normalised are kept for the backward pass, and for
    "blocks" only its input and the statistics; the activations are computed again, block by block.
    It has to be done here, within the scan: around a scan all blocks would be computed again
    before the first one is used.
    """
    names = ("statistics",) if remat == "blocks" else ("statistics", "convolved")
    return partial(keeping(Residual, *names), middle, out, norm, dtype)


def keeping(kind: type[nn.Module], *names: str) -> type[nn.Module]:
    """A module within a scan that keeps for the backward pass only its input and what has one of
    these names (see `normalisation`); all else is computed again.
    """
    policy = jax.checkpoint_policies.save_only_these_names(*names)
    return nn.remat(kind, prevent_cse=False, policy=policy)


def repeat(
    step: Callable[[Any, Carry, Any], tuple[Carry, Any]],
    module: nn.Module,
    carry: Carry,
    xs: Any = None,
    *,
    length: int,
    reverse: bool = False,
) -> tuple[Carry, Any]:
    """Applies `length` copies of `module`, each with weights of its own, one after the other.

    ``step(module, carry, x) -> (carry, y)`` says how, as in `jax.lax.scan`; `xs` and the returned
    ys are stacked along a leading axis. So are the parameters, statistics and captured intermediate
    values: copy i is index i, and with `reverse` the last copy is applied first.
    """
    scan = nn.scan(
        step,
        variable_axes={"params": 0, "batch_stats": 0, "intermediates": 0},
        split_rngs={"params": True},
        length=length,
        reverse=reverse,
    )
    return scan(module, carry, xs)
