"""How identity coefficients spread over people."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["IdentityDistribution", "fit_identities", "standard_identities"]


@dataclass(frozen=True, eq=False)
class IdentityDistribution:
    """A normal distribution: coefficients = mean + transform @ standard normal numbers."""

    mean: Float[np.ndarray, " i"]
    transform: Float[np.ndarray, "i i"]

    def coefficients(
        self, normal: Float[np.ndarray, "n i"], *, spread: float = 1.0
    ) -> Float[np.ndarray, "n i"]:
        """Identities for standard normal numbers, their distance from the mean times `spread`."""
        return self.mean + spread * normal @ self.transform.T


def standard_identities(count: int) -> IdentityDistribution:
    """What a head's modes mean by themselves: independent coefficients of variance one."""
    return IdentityDistribution(np.zeros(count, np.float32), np.eye(count, dtype=np.float32))


def fit_identities(
    coefficients: Float[np.ndarray, "n i"], uncertainty: Float[np.ndarray, "i i"]
) -> IdentityDistribution:
    """The distribution of which these are maximum a posteriori fits, each with that covariance.

    Fits are drawn toward the prior, so people differ by more than their fits: the covariance is
    that of the fits plus what each leaves open (one step of expectation maximisation). It is drawn
    toward the prior's, the identity matrix, which counts like as many people as there are modes:
    with few portraits, and of none, the prior remains.
    """
    count, modes = coefficients.shape
    if count == 0:
        return standard_identities(modes)
    mean = coefficients.sum(axis=0) / count
    scatter = (coefficients - mean).T @ (coefficients - mean)
    covariance = (scatter + count * uncertainty + modes * np.eye(modes)) / (count + modes)
    transform = np.linalg.cholesky(covariance)
    return IdentityDistribution(
        (mean * count / (count + 1.0)).astype(np.float32), transform.astype(np.float32)
    )
