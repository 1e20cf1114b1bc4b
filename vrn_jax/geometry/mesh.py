"""Triangle meshes between frames, and their normals."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from vrn_jax.geometry.transforms import apply_similarity, similarity_scale
from vrn_jax.types import Frame, Mesh

__all__ = [
    "OUTER_EYE_METRES",
    "grid_faces",
    "in_metres",
    "moved",
    "outer_eye_distance",
    "vertex_normals",
    "y_flipped",
]

OUTER_EYE_METRES = 0.090
"""Distance of the outer eye corners that gives a mesh its size in metres: a photo has no scale of
its own, and adults' corners are 80 to 100 mm apart."""

_OUTER_EYE_CORNERS = (36, 45)  # iBUG points 37 and 46, counted from 0


def grid_faces(shape: tuple[int, int]) -> Int[np.ndarray, "f 3"]:
    """Triangles that join the points of a grid, numbered row by row; two to a cell."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    return np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])


def moved(mesh: Mesh, target_from_source: Float[np.ndarray, "3 3"], frame: Frame) -> Mesh:
    """The mesh in another left-handed pixel frame, by a plane similarity."""
    normals = None
    if mesh.normals is not None:
        turn = np.eye(3)
        turn[:2, :2] = target_from_source[:2, :2] / similarity_scale(target_from_source)
        normals = mesh.normals @ turn.T
    vertices = apply_similarity(target_from_source, mesh.vertices)
    return dataclasses.replace(mesh, vertices=vertices, normals=normals, frame=frame)


def outer_eye_distance(landmarks: Float[np.ndarray, "68 3"]) -> float:
    """Distance in space of the outer corners of the eyes, in the landmarks' unit."""
    left, right = _OUTER_EYE_CORNERS
    return float(np.linalg.norm(landmarks[left] - landmarks[right]))


def in_metres(mesh: Mesh, metres_per_unit: float) -> Mesh:
    """A photo or crop mesh in metres, centred on its bounding box, right-handed with y up."""
    centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    centred = dataclasses.replace(mesh, vertices=(mesh.vertices - centre) * metres_per_unit)
    return dataclasses.replace(y_flipped(centred), frame="metres")


def y_flipped(mesh: Mesh) -> Mesh:
    """The mesh with y turned over, and with it the winding: from left- to right-handed axes."""
    flip = np.array([1.0, -1.0, 1.0])
    return dataclasses.replace(
        mesh,
        vertices=mesh.vertices * flip,
        faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
        normals=None if mesh.normals is None else mesh.normals * flip,
    )


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """The mesh's normals, else the mean of the faces around a vertex by area; out of the solid."""
    if mesh.normals is not None:
        return mesh.normals
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    corners = mesh.faces.ravel()
    normals = np.stack(
        [
            np.bincount(corners, np.repeat(face_normals[:, i], 3), len(mesh.vertices))
            for i in range(3)
        ],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
