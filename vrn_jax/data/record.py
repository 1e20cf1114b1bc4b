"""One frozen face: which features it has, and its way to the bytes of a record and back.

The occupancy is stored with eight planes to a byte, as `numpy.packbits` does along the last axis:
0.9 MB a volume, of which the records' own compression leaves 30 kB. The picture is a PNG, so
nothing of a sample is lost.
"""

import importlib
import io
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Bool, Float, Int, UInt8
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Attributes
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Solid, each, occupancy

__all__ = [
    "NAME",
    "VERSION",
    "FrozenExample",
    "array_record",
    "decode_face",
    "encode_face",
    "face_features",
    "pack_occupancy",
    "unpack_occupancy",
]

NAME = "vrn_made_faces"
VERSION = "1.0.0"
"""Of the features below, not of the package: the major number changes when old readers fail."""


class FrozenExample(NamedTuple):
    """A made face as it was stored: an `Example` in numpy, its solid as packed occupancy.

    `packed` is for `unpack_occupancy`; `number` is that of the sample in its stream. In a batch all
    arrays have a leading axis.
    """

    image: UInt8[np.ndarray, "*b h w 3"]
    landmarks: Float[np.ndarray, "*b 68 3"]
    visible: Bool[np.ndarray, "*b 68"]
    packed: UInt8[np.ndarray, "*b h w p"]
    attributes: Attributes
    number: Int[np.ndarray, "*b"]


def pack_occupancy(solids: Solid) -> UInt8[Array, "b h w p"]:
    """The occupancy of a batch of solids, eight planes to a byte, one solid after the other."""
    return jnp.stack([_packed(solid) for solid in each(solids)])


@jax.jit
def _packed(solid: Solid) -> UInt8[Array, "h w p"]:
    return jnp.packbits(occupancy(solid), axis=-1)


@jax.jit
def unpack_occupancy(packed: UInt8[Array, "*b h w p"]) -> Bool[Array, "*b h w d"]:
    """Which voxels are occupied, on the device: an eighth of the bytes travels there."""
    return jnp.unpackbits(packed, axis=-1, count=VRN_GRID.planes).astype(bool)


@cache
def face_features() -> tfds.features.FeaturesDict:
    """The features of a record, as TFDS knows them."""
    rows, columns, planes = VRN_GRID.shape
    tensor, features = tfds.features.Tensor, tfds.features
    attributes = {name: features.Scalar(_dtype(name)) for name in Attributes._fields}
    return features.FeaturesDict(
        {
            "image": features.Image(shape=(rows, columns, 3), encoding_format="png"),
            "landmarks": tensor(shape=(68, 3), dtype=np.float32),
            "visible": tensor(shape=(68,), dtype=np.bool_),
            "volume": tensor(
                shape=(rows, columns, -(-planes // 8)), dtype=np.uint8, encoding="bytes"
            ),
            "attributes": attributes,
            "number": features.Scalar(np.int64),
        }
    )


def encode_face(example: FrozenExample) -> bytes:
    """The record of one face."""
    png = io.BytesIO()
    Image.fromarray(example.image).save(png, format="PNG", compress_level=3)
    fields = example._asdict() | {
        "image": png.getvalue(),
        "volume": example.packed,
        "attributes": example.attributes._asdict(),
    }
    del fields["packed"]
    return face_features().serialize_example(fields)


def decode_face(record: bytes) -> FrozenExample:
    """The face of a record.

    TFDS would decode the picture as well, by whichever library it finds.
    """
    decoders = {"image": tfds.decode.SkipDecoding()}
    fields: Any = face_features().deserialize_example_np(record, decoders=decoders)
    with Image.open(io.BytesIO(fields["image"])) as picture:
        fields["image"] = np.array(picture)
    fields["packed"] = fields.pop("volume")
    attributes: Any = {k: _dtype(k)(v) for k, v in fields["attributes"].items()}
    fields["attributes"] = Attributes(**attributes)  # TFDS makes Python's numbers of scalars
    fields["number"] = np.int64(fields["number"])
    return FrozenExample(**fields)


def array_record() -> ModuleType:
    """The module that reads and writes ArrayRecord files.

    Raises:
        InputError: on platforms that it does not exist for.
    """
    try:
        return importlib.import_module("array_record.python.array_record_module")
    except ImportError as error:
        raise InputError(
            "data sets need the package array_record, which exists for Linux and Macs with Apple "
            f"silicon: pip install array_record ({error})"
        ) from error


def _dtype(attribute: str) -> type[np.generic]:
    """How an attribute is stored."""
    return {"glasses": np.bool_, "hat": np.bool_, "portrait": np.int32}.get(attribute, np.float32)
