"""Fills colours over a mesh from where they are known, by diffusion along its edges."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float

from vrn_jax.faces.head import Head

__all__ = ["Diffusion"]

REACHES = (4.0, 1.5, 0.5)  # cm over which known colours spread, the farthest first
FAINT = 0.02  # spread weight at which known colours and those there before count alike
SHORTEST = 0.05  # cm; edges count as no shorter


class Diffusion:
    """Diffusion over a head's skin: factorised once, a few milliseconds a use."""

    def __init__(self, head: Head):
        count = len(head.neutral)
        edges = np.concatenate(
            [head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]]
        )
        length = np.linalg.norm(head.neutral[edges[:, 0]] - head.neutral[edges[:, 1]], axis=1)
        near = 0.5 / np.maximum(length, SHORTEST) ** 2
        links = scipy.sparse.coo_array((near, edges.T), shape=(count, count)).tocsr()
        links = links.maximum(links.T)
        laplacian = scipy.sparse.diags_array(links.sum(axis=1)) - links
        one = scipy.sparse.eye_array(count)
        self._solvers = [
            scipy.sparse.linalg.splu(
                (one + reach**2 / 4.0 * laplacian).tocsc(),
                permc_spec="MMD_AT_PLUS_A",  # with the two below: for a symmetric matrix
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
            for reach in REACHES
        ]

    def fill(
        self,
        colours: Float[np.ndarray, "v 3"],
        weights: Float[np.ndarray, " v"],
        base: Float[np.ndarray, "v 3"],
    ) -> Float[np.ndarray, "v 3"]:
        """Colours everywhere: the known ones spread, and `base` where none is near.

        `weights` in [0, 1] say how well colours are known. Every result is a mean, with positive
        weights, of known colours and of `base`.
        """
        filled = base
        for solver in self._solvers:
            sums = solver.solve(np.column_stack([colours * weights[:, None], weights]))
            spread = np.maximum(sums[:, 3:], 0.0)
            share = spread / (spread + FAINT)
            filled = filled + share * (sums[:, :3] / np.maximum(spread, 1e-9) - filled)
        return filled
