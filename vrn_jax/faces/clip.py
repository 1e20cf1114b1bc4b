"""A clip of one made person who turns the head and talks, with the truth about every frame."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from PIL import Image

from vrn_jax.config import FaceSettings
from vrn_jax.faces.head import Head
from vrn_jax.faces.model import FaceModel, face_model
from vrn_jax.faces.pose import Pose
from vrn_jax.faces.sample import Portraits, Take, make_face, sample_key
from vrn_jax.geometry.crop import BOX_SIDE
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Solid, occupancy

__all__ = ["Acting", "ClipFrame", "make_clip", "still", "talking"]

_FIXED = {"flip_chance": 0.0, "occluder_chance": 0.0}


class ClipFrame(NamedTuple):
    """A frame, and where the face is in it.

    `landmarks` are in pixels of the picture; `covered` says at a crop's 192x192 pixels what the
    solid hides, and the picture is so many times larger.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    landmarks: Float[np.ndarray, "68 3"]
    covered: Bool[np.ndarray, "192 192"]


@dataclass(frozen=True)
class Acting:
    """Where the head is at one time: degrees, shares, and crop pixels of way."""

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    jaw_open: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)


def talking(time_s: float) -> Acting:
    """A head that sweeps to both sides once in four seconds, nods, and speaks."""
    turn = 2 * np.pi * time_s / 4
    syllables = max(0.0, np.sin(2 * np.pi * 2.7 * time_s)) * (0.6 + 0.4 * np.sin(turn * 1.7))
    return Acting(
        yaw_deg=40.0 * np.sin(turn),
        pitch_deg=6.0 * np.sin(2.1 * turn),
        roll_deg=4.0 * np.sin(1.3 * turn),
        jaw_open=0.55 * syllables,
        shift_px=(7.0 * np.sin(turn), 2.0 * np.sin(2.1 * turn)),
    )


def still(time_s: float) -> Acting:
    """A head that does not move at all: what trembles in its mesh is noise."""
    del time_s
    return Acting()


def make_clip(
    head: Head,
    acting: Callable[[float], Acting],
    *,
    frames: int,
    rate: float = 25.0,
    enlarge: int = 2,
    number: int = 0,
    portraits: Portraits | None = None,
    settings: FaceSettings | None = None,
) -> Iterator[ClipFrame]:
    """Frames of person `number`, `rate` a second, of `enlarge` times 192x192 pixels.

    The face has the size of a crop's, times `enlarge`. Light, clothes and background stay.
    """
    model = face_model(head)
    settings = replace(settings or FaceSettings(), **_FIXED)
    jaw = np.array([name == "jawOpen" for name in head.expression_names], np.float32)
    camera = _camera(head)
    for i in range(frames):
        act = acting(i / rate)
        angles = np.deg2rad([act.yaw_deg, act.pitch_deg, act.roll_deg]).astype(np.float32)
        crop = camera.copy()
        crop[:2, 3] += act.shift_px
        take = Take(
            Pose(*jnp.asarray(angles)),
            jnp.asarray(act.jaw_open * jaw),
            jnp.asarray(crop),
            jnp.int32(i),
        )
        image, landmarks, covered = _frame(sample_key(0, number), model, settings, portraits, take)
        size = enlarge * VRN_GRID.rows
        picture = Image.fromarray(np.asarray(image)).resize((size, size), Image.Resampling.BICUBIC)
        points = np.asarray(landmarks, np.float64) * enlarge
        points[:, :2] += (enlarge - 1) / 2
        yield ClipFrame(np.asarray(picture), points, np.asarray(covered))


@jax.jit
def _frame(
    key: Array, model: FaceModel, settings: FaceSettings, portraits: Portraits | None, take: Take
) -> tuple[UInt8[Array, "h w 3"], Float[Array, "68 3"], Bool[Array, "h w"]]:
    example = make_face(key, model, settings, portraits, take)
    return example.image, example.landmarks, _covered(example.solid)


def _covered(solid: Solid) -> Bool[Array, "h w"]:
    return occupancy(solid).any(axis=2)


def _camera(head: Head) -> Float[np.ndarray, "3 4"]:
    """The crop of the mean head seen from the front."""
    points = head.neutral[head.landmarks][:, :2] * [1, -1]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = BOX_SIDE / np.sqrt(np.prod(high - low))
    matrix = np.zeros((3, 4), np.float32)
    matrix[:, :3] = scale * np.diag([1.0, -1.0, 1.0])
    middle = np.array([VRN_GRID.columns - 1, VRN_GRID.rows - 1]) / 2
    matrix[:2, 3] = middle - scale * (low + high) / 2
    return matrix
