"""The three networks of Jackson et al., ICCV 2017, section 4, as the authors released them.

- unguided: stem, stacks of hourglasses, head; 19,184,968 parameters with two stacks.
- guided: the same, with 68 Gaussian landmark channels beside RGB (`guidance`); 19,398,216
  parameters.
- multitask: the unguided network, and a third hourglass that forks off before the last one and
  ends in 68 landmark heatmaps. The trees agree, so unguided weights start a multitask network.

Everything ends at a quarter of the input's resolution, or less by `ModelConfig.shrink`;
`geometry.resample.upsample` and a sigmoid turn the logits into an occupancy (see `postprocess`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from vrn_jax.config import ModelConfig, Remat
from vrn_jax.models.hourglass import Hourglass
from vrn_jax.models.layers import Pointwise, keeping, repeat, residual
from vrn_jax.models.normalisation import NormRelu, Statistics

__all__ = ["VRN", "Logits", "input_channels"]


class Logits(NamedTuple):
    """What the network says, before upsampling and sigmoid."""

    volume: Float[Array, "b h w d"]
    landmarks: Float[Array, "b h w l"] | None


def input_channels(config: ModelConfig) -> int:
    """RGB, and for the guided network one channel a landmark."""
    return 3 + (config.landmarks if config.task == "guided" else 0)


class VRN(nn.Module):
    """Image to volume logits, as `config` says. `dtype` is the arithmetic's, not the weights'.

    With `remat` training keeps less for the backward pass (see `config.ComputeConfig`).
    """

    config: ModelConfig = ModelConfig()
    norm: Statistics = "running"
    dtype: jax.typing.DTypeLike | None = None
    remat: Remat = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b height width c"]) -> Logits:
        """Maps images, in the weights' input range and of sides divisible by 8 (times the
        configuration's `shrink`), to logits.
        """
        kind = (self.config.features, self.norm, self.dtype, self.remat)
        expected = input_channels(self.config)
        multiple = 2 * self.config.stride
        if x.shape[-1] != expected or x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(
                f"the {self.config.task} VRN takes [b h w {expected}] with h and w multiples of "
                f"{multiple}, got {x.shape}"
            )
        if self.config.shrink > 1:
            x = nn.avg_pool(x, (self.config.shrink,) * 2, (self.config.shrink,) * 2)
        x = _Stem(*kind, name="stem")(x)
        stack = _Stack
        if self.remat == "stacks":
            # Statistics are kept: they are small, and may have taken an exchange between devices.
            stack = keeping(_Stack, "statistics")
        stacks = stack(*kind, name="stacks")
        x, outputs = repeat(_apply_and_emit, stacks, x, length=self.config.stacks)
        volume = _Head(*kind[:3], out=self.config.depth, name="head")(x)
        if self.config.task != "multitask":
            return Logits(volume, None)
        y = stack(*kind, name="landmark_stack")(outputs[-2])
        return Logits(volume, _Head(*kind[:3], out=self.config.landmarks, name="landmark_head")(y))


def _apply_and_emit(stack: nn.Module, x: Array, _: None) -> tuple[Array, Array]:
    y = stack(x)
    return y, y


class _Stem(nn.Module):
    features: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None
    remat: Remat

    @nn.compact
    def __call__(self, x: Float[Array, "b height width c"]) -> Float[Array, "b h w features"]:
        x = nn.Conv(64, (7, 7), 2, padding=3, dtype=self.dtype, name="conv")(x)
        x = NormRelu(self.norm, self.dtype, name="bn")(x)
        kind = (self.norm, self.dtype)
        x = residual(64, 128, *kind, remat=self.remat)(name="res0")(x)
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = residual(64, 128, *kind, remat=self.remat)(name="res1")(x)
        last = residual(self.features // 2, self.features, *kind, remat=self.remat)
        return last(name="res2")(x)


class _Stack(nn.Module):
    """Hourglass and two 1x1 convolutions, added to the input."""

    features: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None
    remat: Remat

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = Hourglass(self.features, self.norm, self.dtype, self.remat, name="hourglass")(x)
        for i in range(2):
            y = Pointwise(self.features, self.dtype, name=f"conv{i}")(y)
            y = NormRelu(self.norm, self.dtype, name=f"bn{i}")(y)
        return x + y


class _Head(nn.Module):
    features: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None
    out: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w out"]:
        x = Pointwise(self.features, self.dtype, name="conv")(x)
        x = NormRelu(self.norm, self.dtype, name="bn")(x)
        return Pointwise(self.out, self.dtype, name="out")(x)
