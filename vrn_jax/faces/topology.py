"""Meshes made finer without losing their linearity: every new vertex is a mean of two old ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

__all__ = [
    "Refined",
    "carried",
    "components",
    "edges_of",
    "mirrored",
    "refined",
    "triangles",
    "vertex_normals",
]

_PASSES = 12
_EQUAL_CM = 1e-4  # lengths of mirrored edges differ by rounding only


class Refined(NamedTuple):
    """Finer faces, and for each new vertex, in order, the two it lies half-way between."""

    faces: Int[np.ndarray, "f 3"]
    parents: Int[np.ndarray, "n 2"]


def triangles(
    vertices: Float[np.ndarray, "v 3"], quads: Int[np.ndarray, "q 4"]
) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, " f"]]:
    """Cuts quads along the shorter diagonal, and says which quad each triangle is from.

    A last corner of -1 stands for a triangle. The rule knows no left and right, so a symmetric mesh
    stays symmetric.
    """
    whole = quads[:, 3] >= 0
    corner = vertices[quads]
    first, second = (np.linalg.norm(corner[:, k] - corner[:, k + 2], axis=1) for k in (0, 1))
    turned = np.where(
        (whole & (second < first - _EQUAL_CM))[:, None], np.roll(quads, -1, axis=1), quads
    )
    faces = np.concatenate([turned[:, :3], turned[whole][:, [0, 2, 3]]])
    return faces.astype(np.int32), np.concatenate([np.arange(len(quads)), np.flatnonzero(whole)])


def refined(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    longest: Float[np.ndarray, " v"],
) -> Refined:
    """Halves edges until none is longer than allowed; neighbours stay joined.

    Args:
        vertices: where lengths are measured.
        faces: triangles.
        longest: the length allowed at each vertex; an edge must obey its stricter end.
    """
    born: list[np.ndarray] = []
    for _ in range(_PASSES):
        edges, of_face = edges_of(faces)
        length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        halved = length > longest[edges].min(axis=1) + _EQUAL_CM
        if not halved.any():
            break
        parents = edges[halved]
        middle = np.where(halved, len(vertices) + np.cumsum(halved) - 1, -1)
        vertices = carried(vertices, parents)
        faces = _divided(vertices, faces, middle[of_face])
        longest = np.concatenate([longest, longest[parents].mean(axis=1)])
        born.append(parents)
    parents = np.concatenate(born) if born else np.empty((0, 2), np.int32)
    return Refined(faces.astype(np.int32), parents.astype(np.int32))


def carried(values: np.ndarray, parents: Int[np.ndarray, "n 2"], *, axis: int = 0) -> np.ndarray:
    """Values of the old vertices along `axis`, followed by those of the new ones."""
    count = values.shape[axis]
    old = np.moveaxis(values, axis, 0)
    result = np.empty((count + len(parents), *old.shape[1:]), values.dtype)
    result[:count] = old
    start = 0
    while start < len(parents):  # later vertices may have earlier new ones as parents
        known = count + start
        late = np.flatnonzero((parents[start:] >= known).any(axis=1))
        end = start + int(late[0]) if len(late) else len(parents)
        first, second = parents[start:end].T
        result[known : count + end] = (result[first] + result[second]) / 2
        start = end
    return np.moveaxis(result, 0, axis)


def edges_of(
    faces: Int[np.ndarray, "f 3"],
) -> tuple[Int[np.ndarray, "e 2"], Int[np.ndarray, "f 3"]]:
    """The edges, each once, and which edges each face has (from corner k to k + 1)."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2), axis=2).astype(np.int64)
    count = pairs.max(initial=0) + 1
    keys, inverse = np.unique(pairs[..., 0] * count + pairs[..., 1], return_inverse=True)
    return np.stack(np.divmod(keys, count), axis=1), inverse.reshape(-1, 3)


def components(count: int, faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " v"]:
    """Numbers the connected pieces of a mesh; a vertex in no face is a piece of its own."""
    pairs = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def mirrored(vertices: Float[np.ndarray, "v 3"], part: np.ndarray) -> Int[np.ndarray, " v"]:
    """The vertex of the same part nearest to each one's reflection in x = 0."""
    result = np.empty(len(vertices), np.int32)
    for value in np.unique(part):
        mine = np.flatnonzero(part == value)
        reflected = vertices[mine] * np.array([-1, 1, 1])
        result[mine] = mine[KDTree(vertices[mine]).query(reflected)[1]]
    return result


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit normals, faces weighted by area; zero at vertices without a face."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _divided(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    middle: Int[np.ndarray, "f 3"],
) -> Int[np.ndarray, "g 3"]:
    """Cuts each face at the middles of its edges; -1 marks an edge that is left whole."""
    cut = middle >= 0
    number = cut.sum(axis=1)
    parts = [faces[number == 0]]
    turn = np.where(number == 1, cut.argmax(axis=1), 0)  # one: begin at the cut edge
    turn = np.where(number == 2, (cut.argmin(axis=1) + 1) % 3, turn)  # two: begin after the whole
    order = (turn[:, None] + np.arange(3)) % 3
    corner, mid = np.take_along_axis(faces, order, 1), np.take_along_axis(middle, order, 1)
    a, b, c = corner[number == 1].T
    m = mid[number == 1, 0]
    parts += [np.stack([a, m, c], 1), np.stack([m, b, c], 1)]
    a, b, c = corner[number == 2].T
    m, n = mid[number == 2, :2].T
    parts.append(np.stack([m, b, n], 1))
    parts.append(triangles(vertices, np.stack([a, m, n, c], 1))[0])
    a, b, c = corner[number == 3].T
    m, n, o = mid[number == 3].T
    parts += [np.stack(t, 1) for t in ((a, m, o), (m, b, n), (o, n, c), (m, n, o))]
    return np.concatenate(parts)
