"""Where a made head stands: its pose, and the crop that a face detector would cut around it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vrn_jax.config import FaceSettings
from vrn_jax.faces.noise import Draws
from vrn_jax.geometry.crop import BOX_SIDE
from vrn_jax.geometry.grid import VRN_GRID

__all__ = ["Pose", "camera_from_head", "crop_from_camera", "draw_pose"]


class Pose(NamedTuple):
    """Angles of a head in radians. Yaw is positive when the nose points to the viewer's right,

    pitch when it points up, roll when the head tilts to the viewer's right.
    """

    yaw: Float[Array, ""]
    pitch: Float[Array, ""]
    roll: Float[Array, ""]


def draw_pose(draws: Draws, settings: FaceSettings) -> Pose:
    """Half of the heads look anywhere, the others mostly at the camera, as people in photos do."""
    yaw, pitch, roll = draws.normal((3,))
    limit = settings.max_yaw_deg
    anywhere = draws.chance(settings.uniform_yaw_share)
    yaw = jnp.where(anywhere, draws.uniform(-limit, limit), yaw * settings.yaw_deg)
    return Pose(
        jnp.deg2rad(jnp.clip(yaw, -limit, limit)),
        jnp.deg2rad(jnp.clip(pitch * settings.pitch_deg, -40.0, 40.0)),
        jnp.deg2rad(jnp.clip(roll * settings.roll_deg, -45.0, 45.0)),
    )


def camera_from_head(pose: Pose) -> Float[Array, "3 3"]:
    """The rotation roll * yaw * pitch, in axes x right, y up, z to the viewer."""
    (cy, sy), (cp, sp), (cr, sr) = ((jnp.cos(angle), jnp.sin(angle)) for angle in pose)
    yaw = jnp.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    pitch = jnp.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    roll = jnp.array([[cr, sr, 0.0], [-sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return roll @ yaw @ pitch


def crop_from_camera(
    draws: Draws, landmarks: Float[Array, "68 3"], settings: FaceSettings
) -> Float[Array, "3 4"]:
    """The crop of a head whose landmarks are given in the camera's centimetres (y up).

    The box around the landmarks gets the original's size and place, then the augmentation moves,
    scales and turns the crop. Depth is scaled like x and y.
    """
    xy = landmarks[:, :2] * jnp.array([1.0, -1.0])
    low, high = xy.min(axis=0), xy.max(axis=0)
    turn = draws.uniform(-1.0, 1.0) * jnp.deg2rad(settings.turn_deg)
    shift = draws.uniform(-settings.shift_px, settings.shift_px, (2,))
    zoom = draws.uniform(*settings.zoom)
    scale = zoom * BOX_SIDE / jnp.sqrt((high - low).prod())
    cos, sin = scale * jnp.cos(turn), scale * jnp.sin(turn)
    plane = jnp.array([[cos, -sin], [sin, cos]])
    middle = jnp.array([VRN_GRID.columns - 1, VRN_GRID.rows - 1]) / 2
    offset = middle + shift - plane @ ((low + high) / 2)
    flip = jnp.array([[1.0, 0.0], [0.0, -1.0]])
    matrix = jnp.zeros((3, 4)).at[:2, :2].set(plane @ flip).at[2, 2].set(scale)
    return matrix.at[:2, 3].set(offset)
