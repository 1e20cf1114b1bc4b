"""Distances of scanned points to a predicted surface, as the NoW benchmark measures them.

S. Sanyal, T. Bolkart, H. Feng, M. J. Black, "Learning to regress 3D face shape and expression from
an image without 3D supervision", CVPR 2019, section 5: the prediction is aligned with the scan by
landmarks, scale included, and every point of the scan has its distance to the *surface*, not to the
nearest vertex. Theirs then refines the alignment; ours leaves it at the landmarks, so errors are
somewhat larger than by their script.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from vrn_jax.metrics.alignment import align
from vrn_jax.metrics.point_set import PointSet, check_same_frame, mesh_points
from vrn_jax.metrics.points import nearest_neighbours
from vrn_jax.types import Mesh

__all__ = ["distance_to_surface", "scan_to_mesh"]

_FIRST_CANDIDATES = 8
_POINTS_AT_ONCE = 1 << 14


def scan_to_mesh(
    scan: PointSet,
    mesh: Mesh,
    scan_landmarks: PointSet,
    mesh_landmarks: PointSet,
    *,
    limit: float,
) -> Float[np.ndarray, " p"]:
    """Distances of the scan's points to the mesh once it is aligned, in the scan's unit.

    The similarity is fitted to corresponding landmarks, of which `limit` is the largest root mean
    square distance that may remain, in the scan's unit.

    Raises:
        InputError: if the landmarks are not in the frames of scan and mesh, the handedness differs,
            or the alignment leaves more than `limit`.
    """
    check_same_frame(scan, scan_landmarks)
    check_same_frame(mesh_points(mesh), mesh_landmarks)
    scan_from_mesh = align(mesh_landmarks, scan_landmarks, limit=limit)
    return distance_to_surface(scan.points, scan_from_mesh(mesh.vertices), mesh.faces)


def distance_to_surface(
    points: Float[np.ndarray, "p 3"],
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
) -> Float[np.ndarray, " p"]:
    """The exact distance of every point to the nearest point of a triangle mesh.

    Candidates are the triangles whose centroids are nearest. A triangle lies within a radius of its
    centroid, so once the next centroid is further than the distance found plus the largest radius,
    no other triangle can be nearer.
    """
    triangles = _small_triangles(vertices, faces)
    centroids = triangles.mean(axis=1)
    radius = np.linalg.norm(triangles - centroids[:, None], axis=2).max()
    tree = KDTree(centroids)
    distance = np.empty(len(points))
    for start in range(0, len(points), _POINTS_AT_ONCE):
        part = slice(start, start + _POINTS_AT_ONCE)
        distance[part] = _nearest_triangle(points[part], triangles, tree, radius)
    return distance


def _nearest_triangle(
    points: Float[np.ndarray, "p 3"],
    triangles: Float[np.ndarray, "f 3 3"],
    tree: KDTree,
    radius: float,
) -> Float[np.ndarray, " p"]:
    import trimesh

    distance = np.empty(len(points))
    open_, count = np.arange(len(points)), min(_FIRST_CANDIDATES, len(triangles))
    while len(open_):
        to_centroid, candidate = nearest_neighbours(tree, points[open_], count)
        repeated = np.repeat(points[open_], count, axis=0)
        closest = trimesh.triangles.closest_point(triangles[candidate.ravel()], repeated)
        away = np.linalg.norm(closest - repeated, axis=1).reshape(-1, count).min(axis=1)
        distance[open_] = away
        certain = (to_centroid[:, -1] >= away + radius) | (count == len(triangles))
        open_, count = open_[~certain], min(4 * count, len(triangles))
    return distance


def _small_triangles(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "n 3 3"]:
    """The same surface without triangles much larger than the others, which spoil the bound."""
    import trimesh

    a, b, c = (vertices[faces[:, i]] for i in range(3))
    edges = np.linalg.norm(np.concatenate([b - a, c - b, a - c]), axis=1)
    smaller, pieces = trimesh.remesh.subdivide_to_size(
        vertices, faces, max_edge=2 * float(np.median(edges)), max_iter=30
    )[:2]
    return np.asarray(smaller)[np.asarray(pieces)]
