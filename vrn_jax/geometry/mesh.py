"""Triangle meshes between frames, and their normals."""

import dataclasses

import numpy as np
from jaxtyping import Float

from vrn_jax.geometry.transforms import apply_similarity
from vrn_jax.types import Frame, Mesh

__all__ = ["OUTER_EYE_METRES", "in_metres", "moved", "outer_eye_distance", "vertex_normals"]

OUTER_EYE_METRES = 0.090
"""Distance of the outer eye corners that gives a mesh its size in metres: a photo has no scale of
its own, and adults' corners are 80 to 100 mm apart."""

_OUTER_EYE_CORNERS = (36, 45)  # iBUG points 37 and 46, counted from 0


def moved(mesh: Mesh, target_from_source: Float[np.ndarray, "3 3"], frame: Frame) -> Mesh:
    """The mesh in another left-handed pixel frame, by a plane similarity."""
    vertices = apply_similarity(target_from_source, mesh.vertices)
    return dataclasses.replace(mesh, vertices=vertices, frame=frame)


def outer_eye_distance(landmarks: Float[np.ndarray, "68 3"]) -> float:
    """Distance in space of the outer corners of the eyes, in the landmarks' unit."""
    left, right = _OUTER_EYE_CORNERS
    return float(np.linalg.norm(landmarks[left] - landmarks[right]))


def in_metres(mesh: Mesh, metres_per_unit: float) -> Mesh:
    """A photo or crop mesh in metres, centred, right-handed, y up: y and the winding turn over."""
    vertices = mesh.vertices - (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    return dataclasses.replace(
        mesh,
        vertices=vertices * np.array([1.0, -1.0, 1.0]) * metres_per_unit,
        faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
        frame="metres",
    )


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Unit normals that point out of the solid, averaged over the faces around a vertex by area."""
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
