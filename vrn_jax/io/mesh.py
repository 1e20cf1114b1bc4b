"""Meshes to files, through trimesh."""

import os
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.types import Mesh

__all__ = ["write_glb"]


def write_glb(
    path: str | os.PathLike[str], mesh: Mesh, *, extras: dict[str, str | float] | None = None
) -> None:
    """Writes a mesh in metres as binary glTF 2.0, at once or not at all.

    `extras` go into the file's scene, for programs that look. A texture's vertices are repeated
    on its seams, so merge vertices by position before asking whether the surface is closed.

    Raises:
        ValueError: if the mesh is not in metres; glTF has no other unit.
    """
    if mesh.frame != "metres":
        raise ValueError(f"GLB files are in metres, got a mesh in {mesh.frame}; see in_metres")
    scene = trimesh.Scene(metadata=dict(extras or {}))
    scene.add_geometry(_to_trimesh(mesh), geom_name="face", node_name="face")
    data = export_glb(scene, include_normals=True)
    partial = Path(f"{os.fspath(path)}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def _to_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    material = PBRMaterial(name="photo", metallicFactor=0.0, roughnessFactor=0.9)
    visual = None
    if mesh.uv is not None and mesh.texture is not None:
        material.baseColorTexture = Image.fromarray(mesh.texture)
        visual = TextureVisuals(uv=mesh.uv, material=material)
    return trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=_seamless_normals(mesh),
        visual=visual,
        process=False,
    )


def _seamless_normals(mesh: Mesh) -> np.ndarray:
    """Vertex normals that agree where vertices are repeated, so that no seam is lit as an edge."""
    _, first, inverse = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    merged = Mesh(mesh.vertices[first], inverse.reshape(-1)[mesh.faces], mesh.frame)
    return vertex_normals(merged)[inverse.reshape(-1)]
