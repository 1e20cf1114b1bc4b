"""A mesh, a view and a look become a picture; a mesh turned around becomes many."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.geometry.texture import look_up
from vrn_jax.rendering.shading import (
    CLAY,
    backdrop,
    occlusion,
    shade,
    to_linear,
    to_srgb,
)
from vrn_jax.rendering.view import Seen, View, look_at, view_from_mesh
from vrn_jax.types import Mesh

__all__ = [
    "OVERSAMPLING",
    "Look",
    "clay",
    "depth_map",
    "paint",
    "render",
    "turntable",
]

Look = Literal["auto", "colour", "lit", "clay", "depth", "normals"]
"""How a mesh is drawn: its own colours as they are, the same with studio light on top, in lit clay,
by depth (lighter is nearer), or by normals as colours, 128 + 127 n: red right, green up, blue to
the viewer. "auto" is "colour" where there are colours, else "clay"."""

OVERSAMPLING = 2
"""Pictures are drawn so many times finer and averaged, against jagged edges."""
_NEAR_TO_FAR = np.array([(253, 246, 214), (142, 205, 187), (48, 128, 156), (38, 52, 104)])


def render(
    mesh: Mesh,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size: int = 384,
    view_width: float | None = None,
    look: Look = "auto",
    background: tuple[int, int, int] | None = None,
) -> UInt8[np.ndarray, "size size 3"]:
    """An orthographic, anti-aliased picture of a mesh in any frame, centred on its bounding box.

    Args:
        mesh: what to draw.
        yaw_deg: where the camera stands: 0 in front, 90 on the side of positive x.
        pitch_deg: how high it stands: 90 looks down from above.
        size: of the picture, pixels.
        view_width: what the picture spans, mesh units; None makes every side fit.
        look: how the mesh is drawn.
        background: RGB around it; None is a studio's soft backdrop.
    """
    view = View(yaw_deg, pitch_deg, size, view_width)
    mesh, seen = look_at(mesh, view, OVERSAMPLING)
    return paint(mesh, seen, view, look=look, background=background)


def paint(
    mesh: Mesh,
    seen: Seen,
    view: View,
    *,
    look: Look = "auto",
    background: tuple[int, int, int] | None = None,
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of what `look_at` has found with `OVERSAMPLING`; one finding serves any look."""
    pixels = _linear(mesh, seen, view, look)
    behind = backdrop(view.size) if background is None else to_linear(np.array(background))
    cover = seen.covered.astype(np.float32)[..., None]
    picture = np.zeros((*seen.covered.shape, 3), np.float32)
    picture[seen.covered] = pixels
    return to_srgb(_averaged(picture) + (1 - _averaged(cover)) * behind)


def turntable(
    mesh: Mesh,
    *,
    pitch_deg: float = 8.0,
    size: int = 384,
    frames: int = 48,
    swing_deg: float | None = None,
    look: Look = "auto",
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """Pictures of a mesh that turns once around, or to and fro by `swing_deg` to either side.

    After the last picture the first one follows without a jump.
    """
    for number in range(frames):
        turn = number / frames
        yaw = 360 * turn if swing_deg is None else swing_deg * float(np.sin(2 * np.pi * turn))
        yield render(mesh, yaw_deg=yaw, pitch_deg=pitch_deg, size=size, look=look)


def depth_map(
    mesh: Mesh,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size: int = 384,
    view_width: float | None = None,
) -> Float[np.ndarray, "size size"]:
    """z of the mesh, in its own unit from the middle of its bounding box; NaN where there is none.

    The view is that of `render` with the same arguments. Not anti-aliased: a pixel has the depth of
    what is at its centre.
    """
    _, seen = look_at(mesh, View(yaw_deg, pitch_deg, size, view_width))
    z = np.full(seen.covered.shape, np.nan)
    z[seen.covered] = seen.at_pixels(seen.points[:, 2:])[:, 0] / seen.pixels_per_unit
    return z


def _linear(mesh: Mesh, seen: Seen, view: View, look: Look) -> Float[np.ndarray, "p 3"]:
    """Linear light at the pixels that show the mesh."""
    has_colour = mesh.texture is not None or mesh.colours is not None
    if look == "auto" or (look in ("colour", "lit") and not has_colour):
        look = "colour" if has_colour else "clay"
    if look == "depth":
        return to_linear(_by_depth(seen.at_pixels(seen.points[:, 2:])[:, 0]))
    if look == "colour":
        return to_linear(_colours(mesh, seen))
    turn = view_from_mesh(view)
    if look == "clay":
        return clay(mesh, seen, turn)
    normals = _normals(mesh, seen, turn)
    if look == "normals":
        return to_linear(128 + 127 * normals * np.array([1, -1, 1], np.float32))
    # The photo has light of its own: so half of the lamps, as bright as before where it is frontal.
    openness = _openness(seen, OVERSAMPLING)
    frontal = shade(np.array([[0.0, 0.0, 1.0]]), np.ones((1, 3)), np.ones(1))
    light = shade(normals, np.ones_like(normals), openness) / frontal.astype(np.float32)
    return to_linear(_colours(mesh, seen)) * (0.45 + 0.55 * light)


def clay(
    mesh: Mesh, seen: Seen, view_from_mesh: Float[np.ndarray, "3 3"], *, step: int = OVERSAMPLING
) -> Float[np.ndarray, "p 3"]:
    """Linear light of a lit mesh in clay, at the pixels that show it.

    Corners are darkened after every `step`-th pixel, for that varies slowly.
    """
    normals = _normals(mesh, seen, view_from_mesh)
    albedo = np.broadcast_to(to_linear(np.array(CLAY)), normals.shape)
    return shade(normals, albedo, _openness(seen, step))


def _normals(
    mesh: Mesh, seen: Seen, view_from_mesh: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "p 3"]:
    normals = vertex_normals(mesh).astype(np.float32) @ view_from_mesh.T.astype(np.float32)
    normals = seen.at_pixels(normals)
    normals /= np.maximum(np.sqrt(np.einsum("pk,pk->p", normals, normals)), 1e-9)[:, None]
    return normals


def _colours(mesh: Mesh, seen: Seen) -> Float[np.ndarray, "p 3"]:
    if mesh.texture is None or mesh.uv is None:
        assert mesh.colours is not None
        return seen.at_pixels(mesh.colours.astype(np.float32))
    uv = seen.at_pixels(mesh.uv.astype(np.float32))
    uv[:, 1] = 1 - uv[:, 1]  # v counts from below
    return look_up(mesh.texture, uv)


def _openness(seen: Seen, step: int) -> Float[np.ndarray, " p"]:
    covered = seen.covered
    z = np.zeros(covered.shape, np.float32)
    z[covered] = seen.at_pixels(seen.points[:, 2:].astype(np.float32))[:, 0]
    coarse = occlusion(z[::step, ::step] / step, covered[::step, ::step])
    finer = coarse.repeat(step, axis=0).repeat(step, axis=1)
    return finer[: covered.shape[0], : covered.shape[1]][covered]


def _by_depth(z: Float[np.ndarray, " p"]) -> Float[np.ndarray, "p 3"]:
    span = max(float(np.ptp(z)), 1e-9)
    at = (z.max() - z) / span * (len(_NEAR_TO_FAR) - 1)
    channels = [np.interp(at, np.arange(len(_NEAR_TO_FAR)), column) for column in _NEAR_TO_FAR.T]
    return np.stack(channels, axis=-1)


def _averaged(picture: Float[np.ndarray, "H W c"]) -> Float[np.ndarray, "h w c"]:
    h, w = (side // OVERSAMPLING for side in picture.shape[:2])
    blocks = picture.reshape(h, OVERSAMPLING, w, OVERSAMPLING, -1)
    return np.einsum("hywxc->hwc", blocks) / np.float32(OVERSAMPLING**2)
