"""A reconstructed face to files of every kind."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.geometry.isosurface import simplify_surface, smooth_surface
from vrn_jax.geometry.mesh import OUTER_EYE_METRES, in_metres, moved, vertex_normals
from vrn_jax.geometry.pose import head_pose
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.texture import texture_from_photo
from vrn_jax.geometry.transforms import similarity_scale
from vrn_jax.io.animation import write_animation
from vrn_jax.io.atomic import writing
from vrn_jax.io.image import write_png
from vrn_jax.io.mesh import MESH_SUFFIXES, write_mesh
from vrn_jax.io.raw import write_raw
from vrn_jax.preview import preview
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.rendering import isosurfaces_picture, slices_picture, turntable
from vrn_jax.types import Frame, Mesh

__all__ = [
    "MESH_KINDS",
    "Kind",
    "OutputSettings",
    "depth_map",
    "extras",
    "in_frame",
    "normal_map",
    "numbers",
    "save",
    "write_faces",
    "write_outputs",
]

Kind = Literal[
    "glb",
    "obj",
    "ply",
    "stl",
    "npz",
    "raw",
    "json",
    "depth",
    "normals",
    "preview",
    "slices",
    "isosurfaces",
    "gif",
    "mp4",
]

MESH_KINDS = tuple(suffix[1:] for suffix in MESH_SUFFIXES)
"""The kinds that are meshes."""
_PICTURE_KINDS = ("depth", "normals", "preview", "slices", "isosurfaces")


@dataclass(frozen=True)
class OutputSettings:
    """What to write of a face, and how."""

    save: tuple[Kind, ...] = ("glb", "preview")
    """Kinds of files: meshes (glb, obj, ply, stl), the volume (npz; raw as the original has it),
    numbers (json), pictures (depth and normals as the photo sees them; preview; slices of the
    volume, and its isosurfaces at several thresholds), turntables (gif; mp4 with the video
    extra)."""
    frame: Frame = "metres"
    """Of obj, ply and stl: metres, photo or crop pixels. GLB is always in metres."""
    faces: int | None = None
    """Simplify the mesh to about so many faces."""
    smooth_surface: int = 0
    """Rounds of Taubin's smoothing of the mesh, which keeps its volume; 10 is much."""


def save(
    face: Reconstruction, path: str | os.PathLike[str], settings: OutputSettings | None = None
) -> None:
    """Writes one file, of the kind its suffix says: .glb, .obj, .ply, .stl, .npz, .raw, .json, .gif
    or .mp4, .preview.png, .depth.png, .normals.png, .slices.png or .isosurfaces.png. See
    `OutputSettings` for frame and simplification.

    Raises:
        InputError: if the suffix is none of these.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    for kind in get_args(Kind):
        suffix = _suffix(kind)
        if path.name.lower().endswith(suffix):
            stem = path.with_name(path.name[: -len(suffix)])
            write_outputs(
                face, stem, dataclasses.replace(settings or OutputSettings(), save=(kind,))
            )
            return
    known = ", ".join(map(_suffix, get_args(Kind)))
    raise InputError(f"{path} ends in none of {known}")


def write_faces(
    faces: Iterable[Reconstruction], stem: Path, settings: OutputSettings
) -> Iterator[Path]:
    """`write_outputs` for all faces of a photo; from the second one on, `stem` gets -2, -3, ...

    Yields the names of a face's files as soon as that face is written.
    """
    for number, face in enumerate(faces, 1):
        own = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        yield from write_outputs(face, own, settings)


def write_outputs(face: Reconstruction, stem: Path, settings: OutputSettings) -> list[Path]:
    """Writes `stem` + suffix for every kind asked for, each at once or not at all; names them.

    Folders are made as needed.

    Raises:
        InputError: if the mesh cannot be simplified as far as the settings ask.
        OSError: if a file cannot be written.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    mesh = refined(face.mesh, smooth=settings.smooth_surface, faces=settings.faces)
    textured = mesh
    if {"glb", "obj", "ply", "preview", "gif", "mp4"} & set(settings.save):
        textured = texture_from_photo(mesh, face.photo)
    paths, turning = [], []
    for kind in settings.save:
        path = stem.with_name(stem.name + _suffix(kind))
        if kind in MESH_KINDS:
            frame = "metres" if kind == "glb" else settings.frame
            write_mesh(path, in_frame(textured, face, frame), extras=extras(face))
        elif kind == "raw":
            write_raw(path, np.asarray(face.occupancy))
        elif kind == "npz":
            _write_npz(path, face)
        elif kind == "json":
            _write_json(path, face, mesh)
        elif kind == "depth":
            _write_depth(path, depth_map(mesh, face.photo.shape[:2]))
        elif kind in ("gif", "mp4"):
            upright = moved(textured, face.crop.crop_from_photo, "crop")
            turning = turning or list(turntable(upright))  # for both
            write_animation(path, turning)
        else:
            write_png(path, _picture(kind, face, mesh, textured))
        paths.append(path)
    return paths


def refined(mesh: Mesh, *, smooth: int, faces: int | None) -> Mesh:
    """The surface after `smooth` rounds of smoothing, simplified to about `faces` triangles.

    Raises:
        InputError: if it cannot be simplified that far.
    """
    if smooth:
        mesh = smooth_surface(mesh, smooth)
    return mesh if faces is None else simplify_surface(mesh, faces)


def depth_map(mesh: Mesh, shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """z of a photo-frame mesh at every pixel of its photo; NaN where the photo does not show it."""
    surface, seen = _look(mesh, mesh.vertices[:, 2:], shape)
    return np.where(seen, surface[..., 0], np.nan)


def normal_map(mesh: Mesh, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Normals as colours, 128 + 127 n: red right, green *up*, blue to the viewer; black: none."""
    normals, seen = _look(mesh, vertex_normals(mesh) * [1, -1, 1], shape)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return np.where(seen[..., None], np.round(128 + 127 * normals), 0).astype(np.uint8)


def _picture(
    kind: Kind, face: Reconstruction, mesh: Mesh, textured: Mesh
) -> UInt8[np.ndarray, "h w 3"]:
    if kind == "normals":
        return normal_map(mesh, face.photo.shape[:2])
    if kind == "preview":
        return preview(face, textured)
    occupancy = np.asarray(face.occupancy, np.float32)
    if kind == "slices":
        return slices_picture(occupancy)
    return isosurfaces_picture(occupancy, face.weights.grid)


def _look(mesh: Mesh, values: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    fragments = rasterize(mesh.vertices, mesh.faces, shape)
    return interpolate(fragments, mesh.faces, values), fragments.face >= 0


def _suffix(kind: Kind) -> str:
    return f".{kind}.png" if kind in _PICTURE_KINDS else f".{kind}"


def in_frame(mesh: Mesh, face: Reconstruction, frame: Frame) -> Mesh:
    """A mesh of the face, in photo pixels, as files in that frame have it."""
    if frame == "photo":
        return mesh
    # The crop shows faces upright that lie in their photo, so a mesh in metres stands upright too.
    on_crop = moved(mesh, face.crop.crop_from_photo, "crop")
    if frame == "crop":
        return on_crop
    return in_metres(on_crop, face.metres_per_pixel / similarity_scale(face.crop.crop_from_photo))


def extras(face: Reconstruction) -> dict[str, str | float]:
    """What a GLB file says of its origin."""
    return {
        "generator": "vrn_jax",
        "weights": face.weights.name,
        "weights_sha256": face.weights.sha256,
        "scale": f"outer eye corners are {OUTER_EYE_METRES} m apart",
        "photo_pixels_per_metre": 1 / face.metres_per_pixel,
    }


def _write_npz(path: Path, face: Reconstruction) -> None:
    with writing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            occupancy=np.asarray(face.occupancy),
            crop=face.crop.image,
            crop_from_photo=face.crop.crop_from_photo,
            crop_from_voxel=face.weights.grid.crop_from_voxel,
        )


def numbers(face: Reconstruction, mesh: Mesh) -> dict[str, Any]:
    """What the JSON file of a face holds; `mesh` is the one that is written."""
    pose = None
    if face.landmarks is not None and face.landmarks.shape[1] == 3:
        pose = head_pose(face.landmarks)._asdict()
    return {
        "frame": "photo pixels: x right, y down, z towards the viewer; integers are pixel centres",
        "photo_size": {"width": face.photo.shape[1], "height": face.photo.shape[0]},
        "box": dict(zip(("left", "top", "right", "bottom"), face.box.tolist(), strict=True)),
        "landmarks_ibug68": None if face.landmarks is None else face.landmarks.tolist(),
        "pose_degrees": pose,
        "crop_from_photo": face.crop.crop_from_photo.tolist(),
        "metres_per_pixel": face.metres_per_pixel,
        "mesh": {"vertices": len(mesh.vertices), "faces": len(mesh.faces)},
        "weights": dataclasses.asdict(face.weights),
    }


def _write_json(path: Path, face: Reconstruction, mesh: Mesh) -> None:
    with writing(path) as partial:
        partial.write_text(json.dumps(numbers(face, mesh), indent=1), encoding="utf-8")


def _write_depth(path: Path, depth: Float[np.ndarray, "h w"]) -> None:
    """16 bits: 0 is nothing, else z = low + (value - 1) * step, with both in the file's text."""
    low, high = (0.0, 0.0) if np.isnan(depth).all() else (np.nanmin(depth), np.nanmax(depth))
    step = max(float(high - low), 1e-9) / 65534
    values = np.where(np.isnan(depth), 0, 1 + np.round((depth - low) / step))
    text = {"z_low": repr(float(low)), "z_step": repr(step)}
    write_png(path, np.nan_to_num(values).astype(np.uint16), text)
