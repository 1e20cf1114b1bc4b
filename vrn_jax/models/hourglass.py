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

Each of the four families of blocks (skip, pooled, the last three pooled, merge) is one scan.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vrn_jax.models.layers import repeat, residual, residual_chain
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
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the four levels on the way in and merges them on the way out."""
        kind = (self.features, self.norm, self.dtype, self.remat)
        levels = _Level(*kind, name="levels")
        x, pooled = repeat(lambda level, x, _: level(x), levels, x, length=LEVELS)
        last = residual_chain(BLOCKS["pooled_last"], _block(*kind, "pooled_last"), pooled[-1])
        pooled = jnp.concatenate([pooled[:-1], last[None]])
        branches = jnp.repeat(jnp.repeat(pooled, 2, axis=2), 2, axis=3)  # nearest neighbour
        return repeat(
            lambda block, x, branch: (block(x + branch), None),
            _block(*kind, "merge"),
            x,
            branches,
            length=LEVELS,
            reverse=True,
        )[0]


class _Level(nn.Module):
    """The way in of one level: x -> (a, b before its upsampling)."""

    features: int
    norm: Statistics
    dtype: jax.typing.DTypeLike | None
    remat: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h2 w2 c"]]:
        kind = (self.features, self.norm, self.dtype, self.remat)
        pooled = nn.max_pool(x, (2, 2), strides=(2, 2))
        pooled = residual_chain(BLOCKS["pooled"], _block(*kind, "pooled"), pooled)
        return residual_chain(BLOCKS["skip"], _block(*kind, "skip"), x), pooled


def _block(
    features: int,
    norm: Statistics,
    dtype: jax.typing.DTypeLike | None,
    remat: bool,
    name: str,
) -> nn.Module:
    return residual(features // 2, features, norm, dtype, remat=remat)(name=name)
