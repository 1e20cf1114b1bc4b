"""Takes the light of a photo out of skin colours, roughly.

Skin is taken as matt and of one tone but for its marks, so that what changes smoothly with the
normal is light: spherical harmonics up to the second order, which hold 98 % of the light that a
matt surface can show (Ramamoorthi and Hanrahan 2001).
"""

import numpy as np
from jaxtyping import Float

__all__ = ["alike", "luminance", "shading"]

LUMINANCE = np.array([0.299, 0.587, 0.114])
RIDGE = (0.0, 0.003, 0.03)  # by order of the harmonics, in units of the mean weight
ROUNDS = 6
LIKE = 0.25  # relative difference beyond which colours are of different stuff
MARK = 0.12  # relative departure from the fitted light above which skin counts as marked
LIMITS = (0.7, 1.4)  # of the shading relative to its mean: what it may take away or add


def luminance(colours: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "..."]:
    """Rec. 601 luma."""
    return np.asarray(colours @ LUMINANCE)


def alike(
    colours: Float[np.ndarray, "... 3"], tone: Float[np.ndarray, " 3"], like: float = LIKE
) -> Float[np.ndarray, "..."]:
    """How much colours are like a tone, in (0, 1]: brightness counts less than hue."""
    difference = (colours - tone) / max(float(luminance(tone)), 30.0)
    brightness = luminance(difference)
    hue = np.square(difference - brightness[..., None]).sum(axis=-1)
    return np.exp(-(np.square(brightness) / 2.0 + 4.0 * hue) / like**2)


def shading(
    colours: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    weights: Float[np.ndarray, " v"],
) -> Float[np.ndarray, " v"]:
    """The light each vertex gets, relative to the mean over `weights`, within `LIMITS`.

    Divide colours by it. `weights` are 0 where there is no plain skin or none was seen; if that is
    everywhere, the result is 1.
    """
    if weights.sum() < 1e-6:
        return np.ones(len(colours))
    basis, order = _harmonics(normals)
    light = luminance(colours) / max(float(np.average(luminance(colours), weights=weights)), 1e-6)
    robust = weights / weights.mean()
    coefficients = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        weighted = basis * robust[:, None]
        left = weighted.T @ basis + np.diag(np.array(RIDGE)[order] * robust.sum())
        coefficients = np.linalg.solve(left, weighted.T @ light)
        off = (light - basis @ coefficients) / MARK
        robust = weights / weights.mean() / (1.0 + off**2)
    fitted = basis @ coefficients
    return (fitted / np.average(fitted, weights=weights)).clip(*LIMITS)


def _harmonics(normals: Float[np.ndarray, "v 3"]) -> tuple[Float[np.ndarray, "v 9"], np.ndarray]:
    """The real spherical harmonics up to the second order, unnormalised, and the order of each."""
    x, y, z = normals.T
    second = [x * y, y * z, z * x, x**2 - y**2, 3.0 * z**2 - 1.0]
    return np.stack([np.ones_like(x), x, y, z, *second], axis=1), np.array([0, 1, 1, 1] + [2] * 5)
