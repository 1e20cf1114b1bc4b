"""Catmull-Clark subdivision as a matrix, so that whatever is linear on a mesh stays linear."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack

__all__ = ["Smoothed", "catmull_clark"]


class Smoothed(NamedTuple):
    """Four quads for each old one, and what every new vertex is a mean of.

    `new_from_old` is (n, v). Its first v rows are the old vertices, moved; then come the middles of
    the edges, then those of the quads.
    """

    quads: Int[np.ndarray, "q 4"]
    new_from_old: csr_matrix


def catmull_clark(quads: Int[np.ndarray, "q 4"], count: int) -> Smoothed:
    """One step (Catmull and Clark, 1978) on a mesh of quads over `count` vertices.

    Open edges stay where they are but for the curve's own smoothing (Hoppe et al., 1994).
    """
    pairs = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, of_quad, uses = np.unique(
        np.sort(pairs, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    of_quad = of_quad.reshape(-1, 4)
    middles = _means(quads, count)
    ends = _means(edges, count)
    open_edge = uses == 1
    around_edge = _incidence(of_quad, len(edges))  # edges by quads
    inner = (ends + diags(1 / uses) @ around_edge @ middles) / 2
    on_edges = diags(open_edge * 1.0) @ ends + diags(~open_edge * 1.0) @ inner
    on_vertices = _moved(quads, edges, open_edge, count, middles, ends)
    e, q = count + of_quad, (count + len(edges) + np.arange(len(quads)))[:, None]
    around = np.stack([quads, e, np.repeat(q, 4, axis=1), np.roll(e, 1, axis=1)], axis=2)
    matrix = csr_matrix(vstack([on_vertices, on_edges, middles]))
    return Smoothed(around.reshape(-1, 4).astype(np.int32), matrix)


def _moved(
    quads: Int[np.ndarray, "q 4"],
    edges: Int[np.ndarray, "e 2"],
    open_edge: np.ndarray,
    count: int,
    middles: csr_matrix,
    ends: csr_matrix,
) -> csr_matrix:
    """Where old vertices go: (F + 2 R + (n - 3) P) / n, or along the open edge."""
    quads_at, edges_at = _incidence(quads, count), _incidence(edges, count)
    number = np.maximum(np.asarray(edges_at.sum(axis=1)).ravel(), 1)
    quad_number = np.maximum(np.asarray(quads_at.sum(axis=1)).ravel(), 1)
    identity = diags(np.ones(count))
    inner = (
        diags(1 / (number * quad_number)) @ quads_at @ middles
        + diags(2 / number**2) @ edges_at @ ends
        + diags((number - 3) / number) @ identity
    )
    open_at = edges_at @ diags(open_edge * 1.0)
    on_rim = np.asarray(open_at.sum(axis=1)).ravel() > 0
    rim = open_at @ ends / 4 + identity / 2
    alone = np.asarray(edges_at.sum(axis=1)).ravel() == 0
    stay, go = diags((alone & ~on_rim) * 1.0), diags((~alone & ~on_rim) * 1.0)
    return csr_matrix(stay @ identity + go @ inner + diags(on_rim * 1.0) @ rim)


def _means(corners: Int[np.ndarray, "n k"], count: int) -> csr_matrix:
    rows = np.repeat(np.arange(len(corners)), corners.shape[1])
    values = np.full(len(rows), 1 / corners.shape[1])
    return csr_matrix((values, (rows, corners.ravel())), shape=(len(corners), count))


def _incidence(corners: Int[np.ndarray, "n k"], count: int) -> csr_matrix:
    """(count, n): 1 where a vertex (or edge) is part of an element."""
    columns = np.repeat(np.arange(len(corners)), corners.shape[1])
    shape = (count, len(corners))
    return csr_matrix(coo_matrix((np.ones(len(columns)), (corners.ravel(), columns)), shape=shape))
