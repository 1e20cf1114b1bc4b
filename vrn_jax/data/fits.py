"""From the parameters of a fitted face to its solid, its landmarks and its crop.

All conventions of 300W-LP and AFLW2000-3D are in this file. A fit places its vertices in the photo
by ``P = f R V + t`` with ``R = Rx(pitch) Ry(yaw) Rz(roll)``; then ``y = height + 1 - y``, since
photos have y down, and both count from 1. In our photo frame, which counts from 0, that is one
affine matrix, `photo_from_head`, and the crop is another one in front of it. So picture and mesh
meet by construction: the picture is warped by the very matrix that the mesh is moved by.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from vrn_jax.data.bfm import MICROMETRES, BaselModel
from vrn_jax.data.labels import labelled
from vrn_jax.faces.sample import Example
from vrn_jax.faces.source import one_by_one_on_cpu
from vrn_jax.geometry.solid import CELLS, SLOTS, field_pixels, make_solid
from vrn_jax.geometry.zbuffer import slots_needed

__all__ = [
    "FitModel",
    "Fits",
    "Keypoints",
    "crop_from_photo_space",
    "examples_of_fits",
    "fit_model",
    "photo_from_head",
    "rotation",
]

_SPARE_SLOTS = 1.4


class Fits(NamedTuple):
    """A batch of crops with the fits of the faces in them; as they travel to the device.

    `parameters` are Shape_Para and Exp_Para, one after the other. `crop_from_head` maps centimetres
    of the head to crop pixels, z up to its zero; where `mirrored` it mirrors.
    """

    image: UInt8[np.ndarray, "*b h w 3"]
    parameters: Float[np.ndarray, "*b m"]
    crop_from_head: Float[np.ndarray, "*b 3 4"]
    mirrored: Bool[np.ndarray, "*b"]


@dataclass(frozen=True, eq=False)
class FitModel:
    """The vertices of a `BaselModel` that the face region and the landmarks need, on the device.

    `basis` holds one mode a row. `region` are triangles, `around` for every landmark those that
    meet there, padded by repetition. `slots` are for `zbuffer.rasterize`.
    """

    mean: Float[Array, "v 3"]
    basis: Float[Array, "m v3"]
    region: Int[Array, "f 3"]
    landmarks: Int[Array, " 68"]
    around: Int[Array, "68 n 3"]
    slots: int


_ARRAYS = ("mean", "basis", "region", "landmarks", "around")


def _model_of(slots: int, arrays: tuple) -> FitModel:
    """A model of traced arrays, of their shapes or of their shardings."""
    model = object.__new__(FitModel)
    for name, value in (*zip(_ARRAYS, arrays, strict=True), ("slots", slots)):
        object.__setattr__(model, name, value)
    return model


jax.tree_util.register_pytree_node(
    FitModel,
    lambda model: (tuple(getattr(model, name) for name in _ARRAYS), model.slots),
    _model_of,
)


class Keypoints(NamedTuple):
    """The 68 landmarks of a face model alone, on the host, for cropping."""

    mean: Float[np.ndarray, "68 3"]
    basis: Float[np.ndarray, "68 3 m"]

    @classmethod
    def of(cls, model: BaselModel) -> "Keypoints":
        """Those of a model."""
        basis = np.concatenate([model.shape, model.expression], axis=2)[model.keypoints]
        return cls(model.mean[model.keypoints], basis)

    def __call__(self, parameters: Float[np.ndarray, " m"]) -> Float[np.ndarray, "68 3"]:
        """Centimetres in the head frame."""
        return self.mean + self.basis @ parameters


def rotation(pitch: float, yaw: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """R = Rx Ry Rz of 3DDFA; radians. Axes x right, y up, z to the viewer."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def photo_from_head(pose: Float[np.ndarray, " 7"], height: int) -> Float[np.ndarray, "3 4"]:
    """Head centimetres to photo pixels for `Pose_Para` and the photo's height.

    The pixel counted 1 by MATLAB is 0 here: x - 1, and height + 1 - y - 1.
    """
    pitch, yaw, roll, tx, ty, tz, scale = np.asarray(pose, np.float64)
    linear = scale * MICROMETRES * rotation(pitch, yaw, roll) * [[1.0], [-1.0], [1.0]]
    return np.concatenate([linear, [[tx - 1], [height - ty], [tz]]], axis=1)


def crop_from_photo_space(
    crop_from_photo: Float[np.ndarray, "3 3"], photo_from_head: Float[np.ndarray, "3 4"]
) -> Float[np.ndarray, "3 4"]:
    """`crop_from_head`: x and y by the crop's similarity, z by its scale alone."""
    space = np.zeros((3, 3))
    space[:2, :2] = crop_from_photo[:2, :2]
    space[2, 2] = np.sqrt(abs(np.linalg.det(crop_from_photo[:2, :2])))
    offset = np.append(crop_from_photo[:2, 2], 0.0)[:, None]
    return space @ photo_from_head + np.concatenate([np.zeros((3, 3)), offset], axis=1)


def fit_model(model: BaselModel) -> FitModel:
    """What the device needs of a model: a third of its vertices."""
    around = _around(model.faces, model.keypoints)
    parts = (model.region_faces, around, model.keypoints)
    used, numbers = np.unique(np.concatenate([part.ravel() for part in parts]), return_inverse=True)
    ends = np.cumsum([part.size for part in parts])
    region, around, landmarks = (
        jnp.asarray(flat.reshape(part.shape), jnp.int32)
        for flat, part in zip(np.split(numbers, ends[:-1]), parts, strict=True)
    )
    basis = np.concatenate([model.shape, model.expression], axis=2)[used]
    mean = jnp.asarray(model.mean[used])
    needed = int(slots_needed(field_pixels(mean), region, (CELLS, CELLS)))
    return FitModel(
        mean,
        jnp.asarray(np.moveaxis(basis, 2, 0).reshape(basis.shape[2], -1)),
        region,
        landmarks,
        around,
        min(SLOTS, int(needed * _SPARE_SLOTS)),
    )


def examples_of_fits(model: FitModel, fits: Fits) -> Example:
    """The batch that a training step needs. On a CPU one face after the other is made."""
    parameters = jnp.asarray(fits.parameters)
    # For all faces at once: the basis is far larger than all else, and so is read once only.
    moved = jnp.matmul(parameters, model.basis, precision=jax.lax.Precision.HIGHEST)
    points = model.mean[None] + moved.reshape(len(parameters), -1, 3)

    def make(one: tuple[Array, Fits]) -> Example:
        return _example(model, *one)

    return one_by_one_on_cpu(make, (points, fits))


def _example(model: FitModel, points: Float[Array, "v 3"], fit: Fits) -> Example:
    matrix = jnp.asarray(fit.crop_from_head)
    solid = make_solid(points, model.region, matrix, slots=model.slots)
    facing = _facing(model, points, matrix)
    mirrored = jnp.asarray(fit.mirrored)
    return labelled(jnp.asarray(fit.image), solid, points[model.landmarks], facing, mirrored)


def _facing(
    model: FitModel, points: Float[Array, "v 3"], crop_from_head: Float[Array, "3 4"]
) -> Float[Array, " 68"]:
    """Cosine between the surface at the landmarks and the way to the viewer."""
    a, b, c = (points[model.around[..., k]] for k in range(3))
    normal = -jnp.cross(b - a, c - a).sum(axis=1)  # the winding is for y down
    to_viewer = crop_from_head[2, :3]
    length = jnp.linalg.norm(normal, axis=1) * jnp.linalg.norm(to_viewer)
    return normal @ to_viewer / jnp.maximum(length, 1e-9)


def _around(
    faces: Int[np.ndarray, "f 3"], keypoints: Int[np.ndarray, " 68"]
) -> Int[np.ndarray, "68 n 3"]:
    """The triangles that meet in every landmark."""
    near = faces[np.isin(faces, keypoints).any(axis=1)]
    meeting = [near[(near == keypoint).any(axis=1)] for keypoint in keypoints]
    most = max(len(found) for found in meeting)
    return np.stack([np.resize(found, (most, 3)) for found in meeting])
