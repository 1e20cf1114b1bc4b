"""From a shaped, posed and coloured head to linear pixels with coverage."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vrn_jax.faces.light import Lighting, shade, shadow
from vrn_jax.faces.model import FaceModel
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.zbuffer import interpolate, rasterize

__all__ = ["RENDER_SCALE", "Drawn", "Surface", "draw", "vertex_normals"]

RENDER_SCALE = 2
"""Pictures are drawn this many times finer than the crop, and averaged, against jagged edges."""

_SIZE = (VRN_GRID.rows * RENDER_SCALE, VRN_GRID.columns * RENDER_SCALE)
_SLOTS = 3 << 18


class Surface(NamedTuple):
    """What is to be drawn: vertices in head centimetres, linear colours, gloss (0: matt)."""

    points: Float[Array, "u 3"]
    colour: Float[Array, "u 3"]
    gloss: Float[Array, " u"]


class Drawn(NamedTuple):
    """Linear colours times coverage, the coverage, and crop z (-inf: nothing), in crop pixels."""

    colour: Float[Array, "h w 3"]
    cover: Float[Array, "h w"]
    z: Float[Array, "h w"]


def draw(
    surface: Surface,
    model: FaceModel,
    camera_from_head: Float[Array, "3 3"],
    crop_from_camera: Float[Array, "3 4"],
    lighting: Lighting,
) -> Drawn:
    """Draws a head. The camera's axes are centimetres, x right, y up, z to the viewer."""
    exact = lax.Precision.HIGHEST  # an accelerator's default would round positions to bfloat16
    points = jnp.matmul(surface.points, camera_from_head.T, precision=exact)
    to_crop, offset = crop_from_camera[:, :3], crop_from_camera[:, 3]
    pixels = jnp.matmul(points, to_crop.T, precision=exact) + offset
    finer = jnp.array([0.5, 0.5, 0.0]) * (RENDER_SCALE - 1)
    seen = rasterize(pixels * RENDER_SCALE + finer, model.scene, _SIZE, slots=_SLOTS)
    looks = [surface.colour, surface.gloss[:, None], vertex_normals(surface.points, model)]
    # One product turns the normals; besides, XLA would not keep their columns together without it.
    turn = jnp.eye(7).at[4:, 4:].set(camera_from_head.T)
    looks = jnp.matmul(jnp.concatenate(looks, axis=1), turn, precision=exact)
    at_pixels = interpolate(seen, model.scene, looks)
    normals = at_pixels[..., 4:]
    normals = normals / jnp.maximum(jnp.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    place = _camera_position(seen.z / RENDER_SCALE, crop_from_camera)
    lit = shadow(points, place + 0.25 * normals, model, lighting.lamps[0])
    light = shade(at_pixels[..., :3], at_pixels[..., 3], normals, lit, lighting)
    cover = (seen.face >= 0).astype(jnp.float32)[..., None]
    depth = jnp.where(seen.face >= 0, seen.z / RENDER_SCALE, -jnp.inf)
    return Drawn(_averaged(light * cover), _averaged(cover)[..., 0], _nearest(depth))


def vertex_normals(points: Float[Array, "u 3"], model: FaceModel) -> Float[Array, "u 3"]:
    """Unit normals, the faces around a vertex weighted by area. A gather, hence reproducible."""
    a, b, c = (points[model.scene[:, k]] for k in range(3))
    # The scene's triangles are wound for pictures with y down: the other way in these axes.
    faces = jnp.concatenate([jnp.cross(c - a, b - a), jnp.zeros((1, 3))])
    total = faces[model.incident].sum(axis=1)
    return total / jnp.maximum(jnp.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def _camera_position(
    z: Float[Array, "h w"], crop_from_camera: Float[Array, "3 4"]
) -> Float[Array, "h w 3"]:
    """Where the pixels' surface points are in the camera's centimetres, from their crop z."""
    inverse = jnp.linalg.inv(crop_from_camera[:, :3])
    offset = inverse @ crop_from_camera[:, 3]
    along = (jnp.arange(float(z.shape[0])) + 0.5) / RENDER_SCALE - 0.5
    x, y = along[None, :, None], along[:, None, None]
    return x * inverse[:, 0] + y * inverse[:, 1] + z[..., None] * inverse[:, 2] - offset


def _averaged(picture: Float[Array, "H W c"]) -> Float[Array, "h w c"]:
    return _blocks(picture).mean(axis=(1, 3))


def _nearest(z: Float[Array, "H W"]) -> Float[Array, "h w"]:
    return _blocks(z[..., None]).max(axis=(1, 3))[..., 0]


def _blocks(picture: Float[Array, "H W c"]) -> Float[Array, "h scale w scale c"]:
    """The pixels of the drawing that make up a pixel of the crop."""
    h, w = (n // RENDER_SCALE for n in picture.shape[:2])
    return picture.reshape(h, RENDER_SCALE, w, RENDER_SCALE, -1)
