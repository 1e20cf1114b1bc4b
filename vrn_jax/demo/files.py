"""A reconstructed face as the bytes of files, without a disk."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vrn_jax.geometry.texture import texture_from_photo
from vrn_jax.io.animation import encode_gif
from vrn_jax.io.mesh import mesh_files
from vrn_jax.outputs import extras, in_frame, numbers, refined
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.rendering import render
from vrn_jax.types import Mesh

__all__ = ["MEDIA_TYPES", "Detail", "Format", "encoded", "zipped"]

Format = Literal["glb", "obj", "ply", "stl", "json", "gif"]

MEDIA_TYPES: dict[str, str] = {
    "glb": "model/gltf-binary",
    "zip": "application/zip",
    "ply": "application/octet-stream",
    "stl": "model/stl",
    "json": "application/json",
    "gif": "image/gif",
}
"""By suffix. An OBJ comes with its material and picture, so it comes in a ZIP file."""

_FRAMES = 24
_FRAMES_A_SECOND = 11
_FRAME_SIDE = 320
_SWING_DEG = 65.0


@dataclass(frozen=True)
class Detail:
    """What is done to a mesh before it is written."""

    faces: int | None = None
    """Simplify the mesh to about so many faces."""
    smooth: int = 0
    """Rounds of Taubin's smoothing of the surface."""


def encoded(face: Reconstruction, stem: str, kind: Format, detail: Detail) -> dict[str, bytes]:
    """Files and what they are named: `stem` and a suffix.

    Raises:
        InputError: if the mesh cannot be simplified that far.
    """
    mesh = refined(face.mesh, smooth=detail.smooth, faces=detail.faces)
    if kind == "json":
        return {f"{stem}.json": json.dumps(numbers(face, mesh)).encode()}
    if kind != "stl":
        mesh = texture_from_photo(mesh, face.photo)
    mesh = in_frame(mesh, face, "metres")
    if kind == "gif":
        return {f"{stem}.gif": _turntable(mesh)}
    return mesh_files(f"{stem}.{kind}", mesh, extras=extras(face))


def zipped(files: dict[str, bytes]) -> bytes:
    """Files in one ZIP file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _turntable(mesh: Mesh) -> bytes:
    """A GIF that swings from side to side: a face has no back worth showing.

    Half of the swing is drawn, the way back shows the same pictures.
    """
    width = 2.1 * float(np.linalg.norm(mesh.vertices, axis=1).max())
    there = [
        render(mesh, yaw_deg=-_SWING_DEG * np.cos(phase), size=_FRAME_SIDE, view_width=width)
        for phase in np.linspace(0, np.pi, _FRAMES // 2 + 1)
    ]
    return encode_gif([*there, *there[-2:0:-1]], rate=_FRAMES_A_SECOND)
