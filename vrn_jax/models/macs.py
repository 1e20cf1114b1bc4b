"""How many multiplications the networks take, counted by hand from the paper's graph."""

from vrn_jax.config import ModelConfig
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.models.hourglass import BLOCKS, LEVELS
from vrn_jax.models.vrn import input_channels

__all__ = ["forward_macs"]


def forward_macs(config: ModelConfig) -> int:
    """Multiplications and additions of convolutions, for one image, forth.

    The released graph takes 24.47 billion:

    >>> round(forward_macs(ModelConfig()) / 1e9, 2)
    24.47
    """
    pixels = VRN_GRID.rows * VRN_GRID.columns // config.stride**2
    features = config.features
    middle = features // 2
    stem = 4 * pixels * (49 * input_channels(config) * 64 + _residual(64, 64, 128))
    stem += pixels * (_residual(128, 64, 128) + _residual(128, middle, features))
    block = _residual(features, middle, features)
    whole = LEVELS * (BLOCKS["skip"] + 1)  # a merging block a level
    pooled = LEVELS * BLOCKS["pooled"] + BLOCKS["pooled_last"]
    stack = pixels * (whole * block + 2 * features**2) + pixels // 4 * pooled * block
    stacks, outputs = config.stacks, [config.depth]
    if config.task == "multitask":
        stacks, outputs = stacks + 1, [config.depth, config.landmarks]
    heads = sum(pixels * features * (features + count) for count in outputs)
    return stem + stacks * stack + heads


def _residual(inputs: int, middle: int, outputs: int) -> int:
    """Of one pixel of a residual block."""
    project = inputs * outputs if inputs != outputs else 0
    return inputs * middle + 9 * middle**2 + middle * outputs + project
