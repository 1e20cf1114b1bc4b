"""Pictures of meshes for people, drawn without a display."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.inference import Reconstruction
from vrn_jax.types import Mesh

__all__ = ["preview", "render"]

BACKGROUND = (245, 245, 247)
_CLAY = np.array([214.0, 200.0, 188.0])
_LIGHT = np.array([-0.35, -0.45, 0.82])  # from the upper left, in front; pixel frames have y down
_OVERSAMPLING = 2


def render(
    mesh: Mesh,
    *,
    yaw_deg: float = 0.0,
    size: int = 384,
    view_width: float | None = None,
    background: tuple[int, int, int] = BACKGROUND,
    shaded: bool = True,
) -> UInt8[np.ndarray, "size size 3"]:
    """An orthographic picture of a mesh, centred on its bounding box.

    Args:
        mesh: in any frame; drawn in its texture's colours, unlit, or else in shaded grey.
        yaw_deg: where the camera stands: 0 in front, 90 on the side of positive x.
        size: of the picture, pixels.
        view_width: what the picture spans, mesh units; None makes every yaw fit.
        background: RGB around the mesh.
        shaded: False draws a mesh without texture flat, as a silhouette.
    """
    pixels = size * _OVERSAMPLING
    centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    points = mesh.vertices - centre
    if view_width is None:
        view_width = 2.1 * float(np.linalg.norm(points, axis=1).max())
    # Metres have y up; turning it over for the picture mirrors the winding, so that turns over too.
    up, faces = (-1.0, mesh.faces[:, ::-1]) if mesh.frame == "metres" else (1.0, mesh.faces)
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    view_from_mesh = np.array([[cos, 0, -sin], [0, up, 0], [sin, 0, cos]])
    seen = points @ view_from_mesh.T * (pixels / view_width)
    seen[:, :2] += (pixels - 1) / 2
    fragments = rasterize(seen, faces, (pixels, pixels))
    if mesh.uv is not None and mesh.texture is not None:
        colour = _look_up(mesh.texture, interpolate(fragments, faces, mesh.uv))
    else:
        normals = interpolate(fragments, faces, vertex_normals(mesh) @ view_from_mesh.T)
        colour = _CLAY * (_brightness(normals)[..., None] if shaded else 1.0)
    colour = np.where(fragments.face[..., None] >= 0, colour, np.array(background, float))
    blocks = colour.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING, 3)
    return blocks.mean(axis=(1, 3)).round().clip(0, 255).astype(np.uint8)


def _brightness(normals: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    length = np.maximum(np.linalg.norm(normals, axis=-1), 1e-9)
    diffuse = (normals @ (_LIGHT / np.linalg.norm(_LIGHT)) / length).clip(0)
    return 0.3 + 0.75 * diffuse


def _look_up(
    texture: UInt8[np.ndarray, "th tw 3"], uv: Float[np.ndarray, "h w 2"]
) -> Float[np.ndarray, "h w 3"]:
    """Bilinear; texel centres lie half a texel from the picture's edge, v counts from below."""
    rows = (1 - uv[..., 1]) * texture.shape[0] - 0.5
    columns = uv[..., 0] * texture.shape[1] - 0.5
    layers = [
        scipy.ndimage.map_coordinates(
            texture[..., i].astype(np.float32), [rows, columns], order=1, mode="nearest"
        )
        for i in range(3)
    ]
    return np.stack(layers, axis=-1)


def preview(face: Reconstruction, textured: Mesh, *, size: int = 384) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the face's box, then the shaded and the textured mesh from three sides."""
    yaws = (-40.0, 0.0, 40.0)
    rows = [
        np.concatenate([render(mesh, yaw_deg=yaw, size=size) for yaw in yaws], axis=1)
        for mesh in (face.mesh, textured)
    ]
    views = np.concatenate(rows)
    return np.concatenate([_photo_tile(face, len(views)), views], axis=1)


def _photo_tile(face: Reconstruction, side: int) -> UInt8[np.ndarray, "side side 3"]:
    photo = Image.fromarray(face.photo)
    scale = side / max(photo.size)
    photo = photo.resize([max(1, round(length * scale)) for length in photo.size])
    tile = Image.new("RGB", (side, side), BACKGROUND)
    corner = ((side - photo.width) // 2, (side - photo.height) // 2)
    tile.paste(photo, corner)
    box = (face.box + 0.5) * scale + np.tile(corner, 2)
    ImageDraw.Draw(tile).rectangle([float(x) for x in box], outline=(255, 200, 0), width=3)
    return np.asarray(tile)
