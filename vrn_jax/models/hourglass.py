"""The hourglass of the released VRN, which is not the textbook one.

It recurses in the *unpooled* branch. Level n of 4 computes, from its input x,

    a = 3 Res(x), handed on to level n + 1;    b = up2(6 Res(pool2(x)));    Res(level_{n+1}(a) + b)

and the innermost level has 9 Res after its pooling and nothing below `a`. So there is no pyramid:
all runs at full or at half resolution, and unrolled it is one way in, four branches and one way
out:

    x0 -skip-> x1 -skip-> x2 -skip-> x3 -skip-> x4          skip: 3 Res, full resolution
     |          |          |          |          |
     b1         b2         b3         b4         |          b: pool, 6 Res, for b4 3 more, up
     |          |          |          |          |
    out <-Res- + <--Res-- + <--Res-- + <--Res-- (+)         merge: Res(z + b)

The twelve blocks of the way in are one scan, the 27 at half resolution another, branch after
branch, and the four merges a third; the branches stand in one buffer. No scan stands within
another one: what it keeps for the backward pass would be copied once more by every scan around it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vrn_jax.config import Remat
from vrn_jax.models.layers import repeat, residual
from vrn_jax.models.normalisation import Statistics

__all__ = ["BLOCKS", "LEVELS", "Hourglass"]

LEVELS = 4
BLOCKS = {"skip": 3, "pooled": 6, "pooled_last": 3}
"""Residual blocks of a level by family; `pooled_last` follow `pooled` at the innermost level."""


class Hourglass(nn.Module):
    """43 residual blocks; keeps the shape of its input. Height and width must be even."""

    features: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None = None
    remat: Remat = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the four levels on the way in and merges them on the way out."""
        x, pooled = self._way_in(x)
        branches = self._branches(pooled)
        return repeat(
            lambda block, x, branch: (block(x + _enlarged(branch)), None),
            self._block("merge"),
            x,
            branches,
            length=LEVELS,
            reverse=True,
        )[0]

    def _way_in(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "level b h2 w2 c"]]:
        """x4, and x0 to x3 pooled."""
        b, h, w, c = x.shape
        each = BLOCKS["skip"]

        def pool(x: Array, pooled: Array, i: Array) -> Array:
            smaller = nn.max_pool(x, (2, 2), strides=(2, 2))
            return lax.dynamic_update_index_in_dim(pooled, smaller, i // each, 0)

        def step(
            block: nn.Module, state: tuple[Array, Array], i: Array
        ) -> tuple[tuple[Array, Array], None]:
            x, pooled = state
            pooled = lax.cond(i % each == 0, pool, lambda x, pooled, i: pooled, x, pooled, i)
            return (block(x), pooled), None

        start = x, jnp.zeros((LEVELS, b, h // 2, w // 2, c), x.dtype)
        numbers = jnp.arange(LEVELS * each)
        return repeat(step, self._block("skip"), start, numbers, length=len(numbers))[0]

    def _branches(self, pooled: Float[Array, "level b h w c"]) -> Float[Array, "level b h w c"]:
        """All blocks of the first branch are applied where it stands, then those of the next."""

        def step(block: nn.Module, branches: Array, i: Array) -> tuple[Array, None]:
            level = jnp.minimum(i // BLOCKS["pooled"], LEVELS - 1)  # the innermost one has more
            x = block(lax.dynamic_index_in_dim(branches, level, keepdims=False))
            return lax.dynamic_update_index_in_dim(branches, x, level, 0), None

        numbers = jnp.arange(LEVELS * BLOCKS["pooled"] + BLOCKS["pooled_last"])
        return repeat(step, self._block("pooled"), pooled, numbers, length=len(numbers))[0]

    def _block(self, name: str) -> nn.Module:
        kind = (self.features // 2, self.features, self.norm, self.dtype)
        return residual(*kind, remat=self.remat)(name=name)


def _enlarged(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Twice as high and wide, by nearest neighbours."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
