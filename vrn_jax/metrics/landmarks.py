"""Errors of the 68 iBUG landmarks, and the lengths that errors are divided by.

Normalised mean error (NME): the mean distance of corresponding points divided by a length of the
*true* face. Which length makes the number, so it is always named:

- `outer_interocular` in space: this project's, and the VRN paper's (section 4).
- `outer_interocular` in the picture: 300-W (Sagonas et al. 2013). It vanishes in profiles.
- `box_size`: sqrt(width * height) of the landmark box: AFLW2000-3D (Zhu et al., CVPR 2016,
  section 5.2), with 2D and 3D landmarks alike.

These are sums and roots alone, so arrays of numpy stay exact on the host, those of JAX on the
device.
"""

import numpy as np
from jaxtyping import Array, Float

__all__ = ["INNER", "box_size", "landmark_nme", "outer_interocular"]

INNER = slice(17, 68)
"""The 51 inner landmarks of the 68: all but the outline of the jaw."""

_OUTER_EYE_CORNERS = (36, 45)  # iBUG points 37 and 46, counted from 0

# A reduced numpy array without batch is a numpy scalar.
_Number = Array | np.ndarray | np.floating


def outer_interocular(landmarks: Float[Array | np.ndarray, "*b 68 c"]) -> Float[_Number, "*b"]:
    """Distance of the outer eye corners: in space for (x, y, z), in the picture for (x, y)."""
    left, right = _OUTER_EYE_CORNERS
    difference = landmarks[..., left, :] - landmarks[..., right, :]
    return (difference**2).sum(axis=-1) ** 0.5


def box_size(landmarks: Float[Array | np.ndarray, "*b 68 c"]) -> Float[_Number, "*b"]:
    """sqrt(width * height) of the box around the landmarks in the picture."""
    extent = landmarks[..., :2].max(axis=-2) - landmarks[..., :2].min(axis=-2)
    return extent.prod(axis=-1) ** 0.5


def landmark_nme(
    prediction: Float[Array | np.ndarray, "*b l c"],
    truth: Float[Array | np.ndarray, "*b l c"],
    normaliser: Float[_Number, "*b"],
) -> Float[_Number, "*b"]:
    """Mean distance of corresponding landmarks over `normaliser`, a length of the true face.

    Give (x, y) for the 2D error and (x, y, z) for the 3D error. Nothing is aligned: both sides are
    in one frame and unit, z and its zero included.
    """
    distance = ((prediction - truth) ** 2).sum(axis=-1) ** 0.5
    return distance.mean(axis=-1) / normaliser
