"""What training is told about a crop whose solid and landmarks are known in the head frame."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from vrn_jax.faces.sample import Attributes, Example
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Solid, front_z
from vrn_jax.models.guidance import mirror_order

__all__ = ["labelled"]

_FACING = 0.1


@jax.numpy_rank_promotion("allow")
def labelled(
    image: UInt8[Array, "h w 3"],
    solid: Solid,
    landmarks_head: Float[Array, "68 3"],
    facing: Float[Array, " 68"],
    mirrored: Bool[Array, ""],
) -> Example:
    """The example of a crop; landmarks are carried there and, where `mirrored`, renamed.

    `facing` are the cosines between the surface at the landmarks and the way to the viewer.
    """
    matrix = solid.crop_from_head
    order = jnp.where(mirrored, jnp.asarray(mirror_order()), jnp.arange(68))
    exact = jax.lax.Precision.HIGHEST
    landmarks = jnp.matmul(landmarks_head, matrix[:, :3].T, precision=exact) + matrix[:, 3]
    landmarks = landmarks[order]
    visible = _visible(landmarks, facing[order])
    landmarks = landmarks.at[:, 2].add(-front_z(solid))
    return Example(image, landmarks, visible, solid, _attributes(matrix))


def _visible(landmarks: Float[Array, "68 3"], facing: Float[Array, " 68"]) -> Bool[Array, " 68"]:
    """In the picture, and on a side that faces the camera; what covers a face no fit knows."""
    x, y = landmarks[:, 0], landmarks[:, 1]
    within = (x >= 0) & (x <= VRN_GRID.columns - 1) & (y >= 0) & (y <= VRN_GRID.rows - 1)
    return within & (facing > _FACING)


def _attributes(crop_from_head: Float[Array, "3 4"]) -> Attributes:
    """The pose as the crop shows it, in the order of `faces.pose`; all else is 0, or -1."""
    linear = crop_from_head[:, :3] * jnp.array([[1.0], [-1.0], [1.0]])
    turn = linear / jnp.linalg.norm(linear[2])
    sign = jnp.sign(jnp.linalg.det(turn))  # a mirrored head is a head with its x turned over
    turn = turn * jnp.stack([sign, 1.0, 1.0]) * jnp.stack([sign, 1.0, 1.0])[:, None]
    yaw = -jnp.arcsin(jnp.clip(turn[2, 0], -1, 1))
    pitch = jnp.arctan2(turn[2, 1], turn[2, 2])
    roll = jnp.arctan2(-turn[1, 0], turn[0, 0])
    unknown, no = jnp.float32(0), jnp.bool_(False)
    return Attributes(
        yaw=jnp.rad2deg(yaw),
        pitch=jnp.rad2deg(pitch),
        roll=jnp.rad2deg(roll),
        tone=unknown,
        beard=unknown,
        glasses=no,
        hat=no,
        covered=unknown,
        portrait=jnp.int32(-1),
    )
