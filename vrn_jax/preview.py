"""Pictures of meshes for people, drawn without a display."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from vrn_jax.geometry.mesh import moved, vertex_normals, y_flipped
from vrn_jax.geometry.rasterize import Fragments, interpolate_seen, rasterize
from vrn_jax.geometry.texture import look_up
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.types import Mesh

__all__ = ["preview", "render", "tile"]

BACKGROUND = (245, 245, 247)
_CLAY = np.array([214.0, 200.0, 188.0])
_LIGHT = np.array([-0.35, -0.45, 0.82])  # from the upper left, in front; pictures have y down
_OVERSAMPLING = 2


class _View(NamedTuple):
    """A mesh as a camera sees it, oversampled."""

    fragments: Fragments
    faces: Int[np.ndarray, "f 3"]
    view_from_mesh: Float[np.ndarray, "3 3"]


def render(
    mesh: Mesh,
    *,
    yaw_deg: float = 0.0,
    size: int = 384,
    view_width: float | None = None,
    background: tuple[int, int, int] = BACKGROUND,
) -> UInt8[np.ndarray, "size size 3"]:
    """An orthographic picture of a mesh, centred on its bounding box.

    Args:
        mesh: in any frame; drawn in its texture's colours, unlit, or else in shaded grey.
        yaw_deg: where the camera stands: 0 in front, 90 on the side of positive x.
        size: of the picture, pixels.
        view_width: what the picture spans, mesh units; None makes every yaw fit.
        background: RGB around the mesh.
    """
    mesh = _y_down(mesh)
    view = _look(mesh, yaw_deg, size, view_width)
    colour = _shaded(mesh, view) if mesh.texture is None else _textured(mesh, view)
    return _averaged(view, colour, background)


def preview(face: Reconstruction, textured: Mesh, *, size: int = 384) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the face's box, then the shape and the textured mesh from three sides.

    The mesh is shown upright, as the crop shows the face.
    """
    upright = moved(textured, face.crop.crop_from_photo, "crop")
    columns = []
    for yaw_deg in (-40.0, 0.0, 40.0):
        view = _look(upright, yaw_deg, size, None)
        pictures = (_shaded(upright, view), _textured(upright, view))
        columns.append(np.concatenate([_averaged(view, p, BACKGROUND) for p in pictures]))
    return np.concatenate([_photo_tile(face, 2 * size), *columns], axis=1)


def tile(face: Reconstruction, *, size: int = 192) -> UInt8[np.ndarray, "h w 3"]:
    """A small picture of a face: what the network saw, and the shape from two sides."""
    crop = np.asarray(Image.fromarray(face.crop.image).resize((size, size)))
    upright = moved(face.mesh, face.crop.crop_from_photo, "crop")
    shapes = [render(upright, yaw_deg=yaw_deg, size=size) for yaw_deg in (0.0, 50.0)]
    return np.concatenate([crop, *shapes], axis=1)


def _y_down(mesh: Mesh) -> Mesh:
    return y_flipped(mesh) if mesh.frame == "metres" else mesh


def _look(mesh: Mesh, yaw_deg: float, size: int, view_width: float | None) -> _View:
    pixels = size * _OVERSAMPLING
    points = mesh.vertices - (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    if view_width is None:
        view_width = 2.1 * float(np.linalg.norm(points, axis=1).max())
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    view_from_mesh = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    seen = points @ view_from_mesh.T * (pixels / view_width)
    seen[:, :2] += (pixels - 1) / 2
    return _View(rasterize(seen, mesh.faces, (pixels, pixels)), mesh.faces, view_from_mesh)


def _shaded(mesh: Mesh, view: _View) -> Float[np.ndarray, "p 3"]:
    normals = vertex_normals(mesh) @ view.view_from_mesh.T
    normals = interpolate_seen(view.fragments, view.faces, normals)
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    diffuse = (normals @ (_LIGHT / np.linalg.norm(_LIGHT)) / length).clip(0)
    return _CLAY * (0.3 + 0.75 * diffuse)[:, None]


def _textured(mesh: Mesh, view: _View) -> Float[np.ndarray, "p 3"]:
    assert mesh.uv is not None
    assert mesh.texture is not None
    uv = interpolate_seen(view.fragments, view.faces, mesh.uv)
    return look_up(mesh.texture, uv * [1, -1] + [0, 1])  # v counts from below


def _averaged(
    view: _View, colour: Float[np.ndarray, "p 3"], background: tuple[int, int, int]
) -> UInt8[np.ndarray, "size size 3"]:
    seen = view.fragments.face >= 0
    picture = np.empty((*seen.shape, 3), np.float32)
    picture[:] = background
    picture[seen] = colour
    size = len(picture) // _OVERSAMPLING
    blocks = picture.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING, 3)
    return blocks.mean(axis=(1, 3)).round().clip(0, 255).astype(np.uint8)


def _photo_tile(face: Reconstruction, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The photo around the face, with its box: four times as wide, as far as the photo goes."""
    middle = (face.box[:2] + face.box[2:]) / 2
    reach = 2 * float((face.box[2:] - face.box[:2]).max())
    size = np.array(face.photo.shape[1::-1])
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach), size).astype(int)
    photo = Image.fromarray(face.photo).crop((*low.tolist(), *high.tolist()))
    scale = side / max(photo.size)
    width, height = (max(1, round(length * scale)) for length in photo.size)
    tile = Image.new("RGB", (side, side), BACKGROUND)
    corner = ((side - width) // 2, (side - height) // 2)
    tile.paste(photo.resize((width, height)), corner)
    box = (face.box + 0.5 - np.tile(low, 2)) * scale + np.tile(corner, 2)
    ImageDraw.Draw(tile).rectangle([float(x) for x in box], outline=(255, 200, 0), width=3)
    return np.asarray(tile)
