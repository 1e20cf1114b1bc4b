"""One fitted face of 300W-LP or AFLW2000-3D: its features, and its way to a record and back.

The photo is kept as the file that it was. 236 numbers describe the face; no mesh and no volume is
stored, the device makes them.
"""

import io
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, Int
from PIL import Image

from vrn_jax.data.archive import Archive, FitFiles
from vrn_jax.data.mat import read_mat
from vrn_jax.errors import InputError

__all__ = [
    "EXPRESSIONS",
    "SHAPES",
    "FitRecord",
    "decode_fit",
    "encode_fit",
    "fit_features",
    "read_fit",
]

SHAPES, EXPRESSIONS = 199, 29


class FitRecord(NamedTuple):
    """A photo as the bytes of its file, and the parameters of its face as the data set has them.

    `size` is (height, width). `landmarks` are the data set's own, x y of 300W-LP (`pt2d`) or x y z
    of AFLW2000-3D (`pt3d_68`), in photo pixels counted from 0.
    """

    name: str
    image: bytes
    size: Int[np.ndarray, "2"]
    shape: Float[np.ndarray, " 199"]
    expression: Float[np.ndarray, " 29"]
    pose: Float[np.ndarray, " 7"]
    landmarks: Float[np.ndarray, "68 c"]


@cache
def fit_features(landmark_numbers: int) -> tfds.features.FeaturesDict:
    """The features of a record, with landmarks of 2 or 3 numbers."""
    features, tensor = tfds.features, tfds.features.Tensor
    return features.FeaturesDict(
        {
            "name": features.Text(),
            "image": features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "size": tensor(shape=(2,), dtype=np.int32),
            "shape": tensor(shape=(SHAPES,), dtype=np.float32),
            "expression": tensor(shape=(EXPRESSIONS,), dtype=np.float32),
            "pose": tensor(shape=(7,), dtype=np.float32),
            "landmarks": tensor(shape=(68, landmark_numbers), dtype=np.float32),
        }
    )


def read_fit(archive: Archive, files: FitFiles) -> FitRecord:
    """Reads a photo's header and its parameters.

    Raises:
        InputError: if a file is damaged or lacks something.
    """
    landmarks = "pt2d" if files.subset else "pt3d_68"
    names = ("Shape_Para", "Exp_Para", "Pose_Para", landmarks)
    values = read_mat(io.BytesIO(archive.read(files.parameters)), names, files.parameters)
    sizes = (SHAPES, EXPRESSIONS, 7, 68 * (2 if files.subset else 3))
    for name, size in zip(names, sizes, strict=True):
        if values[name].size != size:
            raise InputError(
                f"{name} of {files.parameters} must have {size} numbers, got {values[name].shape}"
            )
    if values[landmarks].shape[1:] != (68,):
        raise InputError(
            f"{landmarks} of {files.parameters} must have 68 columns, got {values[landmarks].shape}"
        )
    points = values[landmarks].T.copy()
    points[:, :2] -= 1
    image = archive.read(files.image)
    shape, expression, pose = (values[name].ravel().astype(np.float32) for name in names[:3])
    size = _picture_size(image, files.image)
    return FitRecord(files.name, image, size, shape, expression, pose, points.astype(np.float32))


def encode_fit(record: FitRecord) -> bytes:
    """The bytes of a record."""
    return fit_features(record.landmarks.shape[1]).serialize_example(record._asdict())


def decode_fit(record: bytes, landmark_numbers: int) -> FitRecord:
    """The fit of a record; its picture stays encoded."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    features = fit_features(landmark_numbers)
    fields: Any = features.deserialize_example_np(record, decoders=decoders)
    name = fields["name"]
    fields["name"] = name.decode() if isinstance(name, bytes) else str(name)
    return FitRecord(**fields)


def _picture_size(image: bytes, name: str) -> Int[np.ndarray, "2"]:
    try:
        with Image.open(io.BytesIO(image)) as picture:
            kind, size = picture.format, (picture.height, picture.width)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name} is no picture, or damaged: {error}") from error
    if kind != "JPEG":
        raise InputError(f"{name} must be a JPEG, got {kind}")
    return np.array(size, np.int32)
