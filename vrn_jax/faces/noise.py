"""Random numbers of one sample, and smooth random functions made of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

__all__ = ["Draws"]

_WAVES = 12


class Draws:
    """All random numbers of one sample, drawn by one call and handed out in order.

    Hundreds of separate calls would take most of the compile time. The order is fixed when the
    program is traced, so the numbers are a function of the key alone.
    """

    def __init__(self, key: PRNGKeyArray, count: int = 8192):
        self._numbers = jax.random.uniform(key, (count,))
        self._taken = 0

    def uniform(
        self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Uniform in [low, high)."""
        count = int(np.prod(shape))
        if self._taken + count > len(self._numbers):
            raise ValueError(f"a sample has only {len(self._numbers)} random numbers; draw more")
        numbers = self._numbers[self._taken : self._taken + count].reshape(shape)
        self._taken += count
        return low + (high - low) * numbers

    def normal(self, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Standard normal."""
        return jax.scipy.special.ndtri(self.uniform(1e-6, 1 - 1e-6, shape))

    def chance(self, probability: Float[Array, ""] | float) -> Bool[Array, ""]:
        """True with the given probability."""
        return self.uniform() < probability

    def choice(self, chances: Float[Array, " n"]) -> Float[Array, ""]:
        """An index, drawn by chances that need not add up to one."""
        steps = jnp.cumsum(chances)
        return (self.uniform() * steps[-1] >= steps).sum()

    def smooth(
        self, points: Float[Array, "*n c"], wavelength: float, channels: int = 1
    ) -> Float[Array, "*n channels"]:
        """A smooth random function of `points` with mean 0 and variance 1.

        Plane waves in random directions, their lengths about `wavelength` (unit of the points).
        """
        count = points.shape[-1]
        direction = self.normal((count, _WAVES))
        direction = direction / jnp.linalg.norm(direction, axis=0)
        frequency = jnp.exp(self.uniform(-0.7, 0.7, (_WAVES,))) / wavelength
        phase = points @ (direction * frequency) + self.uniform(shape=(_WAVES,))
        ramp = jnp.abs(2 * (phase - jnp.floor(phase)) - 1)
        waves = ramp * ramp * (6 - 4 * ramp) - 1  # much cheaper than a sine, and as smooth
        return waves @ self.normal((_WAVES, channels)) * (2 / _WAVES) ** 0.5
