"""TFDS's own `the300w_lp`, where a user has prepared it: its fits, read without TensorFlow.

TFDS writes TFRecord files unless told otherwise: records one after the other, each as its length in
8 bytes, 4 bytes of checksum, the record, 4 bytes of checksum.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, SupportsIndex, overload

import numpy as np
import tensorflow_datasets as tfds

from vrn_jax.data.fit_record import EXPRESSIONS, SHAPES, FitRecord
from vrn_jax.data.stored import open_data_set, split_records
from vrn_jax.errors import InputError

__all__ = ["TFDS_NAME", "decode_tfds_fit", "tfds_records"]

TFDS_NAME = "the300w_lp"
_VERSION = "1.0.0"
_SIZE = 450
_HEADER, _FOOTER = 12, 4


def tfds_records(folder: Path, split: str) -> Sequence[bytes]:
    """The records of a split, from ArrayRecord or TFRecord files.

    Raises:
        InputError: if there is no such data set or split, or a file is missing or cut off.
    """
    builder = open_data_set(folder, {TFDS_NAME: _VERSION})
    if split not in builder.info.splits:
        raise InputError(
            f"{folder} has no split {split!r}, only {' and '.join(builder.info.splits)}"
        )
    paths = [Path(path) for path in builder.info.splits[split].filepaths]
    if paths and ".array_record" in paths[0].name:
        return split_records(builder, folder, split)
    if ".tfrecord" not in paths[0].name:
        raise InputError(
            f"{folder} holds {paths[0].suffix} files; prepare it with "
            "`tfds build the300w_lp --file_format=array_record`"
        )
    return _TfRecords(tuple(place for path in paths for place in _places(path)))


def decode_tfds_fit(record: bytes) -> FitRecord:
    """The fit of a record; its picture stays encoded. TFDS keeps no names."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    fields: Any = _features().deserialize_example_np(record, decoders=decoders)
    return FitRecord(
        "",
        fields["image"],
        np.array([_SIZE, _SIZE], np.int32),
        fields["shape_params"],
        fields["exp_params"],
        fields["pose_params"],
        fields["landmarks_origin"] * np.float32(_SIZE) - 1,
    )


@dataclass(frozen=True)
class _TfRecords(Sequence[bytes]):
    """Records at (file, offset, length)."""

    places: tuple[tuple[Path, int, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: SupportsIndex) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        path, offset, length = self.places[index]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def _places(path: Path) -> list[tuple[Path, int, int]]:
    if not path.is_file():
        raise InputError(f"{path} is missing; copy the data set anew")
    size, offset, places = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
            if offset + _HEADER + length + _FOOTER > size:
                raise InputError(f"{path} is cut off; copy the data set anew")
            places.append((path, offset + _HEADER, length))
            offset += _HEADER + length + _FOOTER
    return places


@cache
def _features() -> tfds.features.FeaturesDict:
    """Those of `the300w_lp` that are read; the others are passed over."""
    tensor = tfds.features.Tensor
    shapes = {"shape_params": (SHAPES,), "exp_params": (EXPRESSIONS,), "pose_params": (7,)}
    parameters = {name: tensor(shape=shape, dtype=np.float32) for name, shape in shapes.items()}
    parameters["landmarks_origin"] = tensor(shape=(68, 2), dtype=np.float32)
    image = tfds.features.Image(shape=(_SIZE, _SIZE, 3), encoding_format="jpeg")
    return tfds.features.FeaturesDict({"image": image, **parameters})
