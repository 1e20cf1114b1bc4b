"""The landmark channels that the guided network sees beside RGB (paper section 4.3)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = ["landmark_channels", "mirror_order", "mirrored_landmarks"]

_PAIRS = (
    [(i, 16 - i) for i in range(8)]  # jaw
    + [(17 + i, 26 - i) for i in range(5)]  # brows
    + [(31, 35), (32, 34)]  # nostrils
    + [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]  # eyes
    + [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58)]  # outer lips
    + [(60, 64), (61, 63), (65, 67)]  # inner lips
)
"""iBUG points that change names when the picture is mirrored; the others lie on the middle line."""

SIGMA_PX = 1.0
"""Of each Gaussian, "approximately 6 px across"; the authors found 2 negligibly worse."""


def landmark_channels(
    landmarks: Float[Array, "b l 2"], shape: tuple[int, int]
) -> Float[Array, "b h w l"]:
    """One channel a landmark (x, y) in pixels: a Gaussian of height 1."""
    x, y = landmarks[:, None, :, 0], landmarks[:, None, :, 1]
    across = _bell(jnp.arange(shape[1]).reshape(1, -1, 1) - x)
    down = _bell(jnp.arange(shape[0]).reshape(1, -1, 1) - y)
    return down[:, :, None] * across[:, None]


def _bell(distance_px: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.exp(-(distance_px**2) / (2 * SIGMA_PX**2))


def mirror_order() -> Int[np.ndarray, " 68"]:
    """For every iBUG point, the one that takes its name when the picture is mirrored."""
    order = np.arange(68)
    for left, right in _PAIRS:
        order[[left, right]] = right, left
    return order


def mirrored_landmarks(landmarks: Float[Array, "b 68 2"], width: int) -> Float[Array, "b 68 2"]:
    """The 68 iBUG landmarks (x, y) of the mirrored picture, `width` pixels wide, in their order."""
    order = mirror_order()
    x, y = landmarks[:, order, 0], landmarks[:, order, 1]
    return jnp.stack([width - 1 - x, y], axis=-1)
