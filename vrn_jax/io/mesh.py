"""Meshes to files and back, through trimesh: GLB, OBJ, PLY and STL.

Files are right-handed with y up and z towards the viewer, whatever the frame: a mesh in pixels
gets its y and its winding turned over on the way out, so that it stands upright in any viewer.
"""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import UInt8
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from vrn_jax.errors import InputError
from vrn_jax.geometry.mesh import vertex_normals, y_flipped
from vrn_jax.geometry.texture import look_up
from vrn_jax.io.atomic import writing
from vrn_jax.types import Mesh

__all__ = ["MESH_SUFFIXES", "mesh_files", "read_mesh", "write_mesh"]

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Reads all geometry of a file as one mesh, with its texture or the colours of its vertices.

    It is taken as right-handed with y up, as files are written here; its unit is called metres,
    whatever it is. The corners of STL triangles are joined where they meet, to be shaded smoothly.

    Raises:
        InputError: if the suffix is none of `MESH_SUFFIXES`, or there is no mesh to be read.
    """
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path} ends in none of {', '.join(MESH_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"no mesh at {path}; check the path")
    try:
        joined = path.suffix.lower() == ".stl"
        found = trimesh.load_scene(path, process=joined).to_mesh()
    except Exception as error:  # trimesh has no error of its own: anything, from struct to KeyError
        raise InputError(f"cannot read {path} as a mesh: {error}") from error
    if not len(found.faces) or not np.isfinite(found.vertices).all():
        raise InputError(f"{path} holds no triangles at finite places")
    normals = np.asarray(found.vertex_normals, np.float64)  # those of the file, if it has any
    mesh = Mesh(np.asarray(found.vertices, np.float64), np.asarray(found.faces), "metres", normals)
    visual = found.visual
    if isinstance(visual, TextureVisuals):
        material = visual.material
        picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if visual.uv is not None and picture is not None:
            texture = np.asarray(picture.convert("RGB"))
            return replace(mesh, uv=np.asarray(visual.uv, np.float64), texture=texture)
    elif visual.kind == "vertex":
        return replace(mesh, colours=np.asarray(visual.vertex_colors[:, :3], np.uint8))
    return mesh


def write_mesh(
    path: str | os.PathLike[str], mesh: Mesh, *, extras: dict[str, str | float] | None = None
) -> None:
    """Writes a mesh in the format of the suffix, at once or not at all; see `mesh_files`.

    Raises:
        InputError: if the suffix is unknown, or a GLB is to be written in pixels.
        OSError: if the file cannot be written.
    """
    for name, data in mesh_files(Path(path).name, mesh, extras=extras).items():
        with writing(Path(path).with_name(name)) as partial:
            partial.write_bytes(data)


def mesh_files(
    name: str, mesh: Mesh, *, extras: dict[str, str | float] | None = None
) -> dict[str, bytes]:
    """A mesh in the format of the suffix of `name`: names of files, and what is in them.

    - ``.glb``: metres only, with the texture. `extras` go into the scene, for programs that look.
    - ``.obj``: with ``.mtl`` and ``.jpg`` of the same name for the texture. The OBJ comes last: who
      sees the OBJ sees all of it.
    - ``.ply``: with a colour at each vertex.
    - ``.stl``: the shape alone.

    Raises:
        InputError: if the suffix is none of these, or a GLB is asked for in pixels.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise InputError(f"{name} ends in none of {', '.join(MESH_SUFFIXES)}")
    if suffix == ".glb" and mesh.frame != "metres":
        raise InputError(f"GLB files are in metres, got a mesh in {mesh.frame}; see in_metres")
    if mesh.frame != "metres":
        mesh = y_flipped(mesh)
    if suffix == ".glb":
        return {name: _glb(mesh, extras or {})}
    if suffix == ".obj":
        return _obj(name, mesh)
    colours = None if mesh.texture is None else _vertex_colours(mesh)
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
    data = plain.export(file_type=suffix[1:])
    assert isinstance(data, bytes)
    return {name: data}


def _glb(mesh: Mesh, extras: dict[str, str | float]) -> bytes:
    material = PBRMaterial(name="photo", metallicFactor=0.0, roughnessFactor=0.9)
    if mesh.texture is not None:
        material.baseColorTexture = Image.fromarray(mesh.texture)
    scene = trimesh.Scene(metadata=dict(extras))
    scene.add_geometry(_textured(mesh, material), geom_name="face", node_name="face")
    return export_glb(scene, include_normals=True)


def _obj(name: str, mesh: Mesh) -> dict[str, bytes]:
    if mesh.uv is None or mesh.texture is None:
        return {
            name: export_obj(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)).encode()
        }
    picture, library = (Path(name).with_suffix(suffix).name for suffix in (".jpg", ".mtl"))
    jpeg = io.BytesIO()
    Image.fromarray(mesh.texture).save(jpeg, format="JPEG", quality=95)
    material = f"newmtl photo\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture}\n"
    text = export_obj(
        _textured(mesh, SimpleMaterial(name="photo")), include_normals=True, write_texture=False
    )
    return {
        picture: jpeg.getvalue(),
        library: material.encode(),
        name: f"mtllib {library}\nusemtl photo\n{text}".encode(),
    }


def _textured(mesh: Mesh, material) -> trimesh.Trimesh:
    visual = None if mesh.uv is None else TextureVisuals(uv=mesh.uv, material=material)
    return trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=vertex_normals(mesh),
        visual=visual,
        process=False,
    )


def _vertex_colours(mesh: Mesh) -> UInt8[np.ndarray, "v 3"]:
    assert mesh.uv is not None
    assert mesh.texture is not None
    colours = look_up(mesh.texture, mesh.uv * [1, -1] + [0, 1])  # v counts from below
    return colours.round().astype(np.uint8)
