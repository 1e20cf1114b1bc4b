"""Prepared data sets as samples: which record, decoded and cropped how, for any sample number.

Sample number n of a run is record `shuffled(n)`, augmented by numbers drawn from (seed, n). Nothing
else decides, so a run goes on exactly from its step alone, on any number of processes.
"""

import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from google.protobuf.message import DecodeError
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from vrn_jax.config import FaceSettings
from vrn_jax.data.augment import PLAIN, augmented_crop, coloured, draw_augmentation
from vrn_jax.data.bfm import BaselModel
from vrn_jax.data.builders import FIT_DATA_SETS
from vrn_jax.data.fit_record import FitRecord, decode_fit
from vrn_jax.data.fits import (
    FitModel,
    Fits,
    Keypoints,
    crop_from_photo_space,
    examples_of_fits,
    photo_from_head,
)
from vrn_jax.data.record import NAME as MADE_FACES
from vrn_jax.data.record import VERSION as MADE_FACES_VERSION
from vrn_jax.data.record import decode_face
from vrn_jax.data.scans import SCANS, SCANS_VERSION, Scans, decode_scan, examples_of_scans
from vrn_jax.data.stored import METADATA, open_data_set, split_records
from vrn_jax.data.tfds_fits import TFDS_NAME, decode_tfds_fit, tfds_records
from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Example
from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Packed
from vrn_jax.geometry.transforms import apply_affine

__all__ = ["Batch", "DataSet", "Sample", "examples_of", "open_for_training"]

Batch = Fits | Scans | Example
"""What a step gets from a data set; the examples are made of it on the device."""

_SHUFFLE_ROUNDS = 4
_MOST_TRIES = 100
_UNREADABLE = (
    DecodeError,
    zlib.error,
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
)
"""What decoders of damaged records and pictures raise. InputError is a ValueError."""


Load = Callable[[bytes, np.random.Generator | None], Batch]
"""Decodes a record and crops it; without a generator as reconstruction would."""


class Sample(NamedTuple):
    """One sample, without a leading axis, and what could not be read on the way to it."""

    value: Batch
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A split of a prepared data set. Threads may share it, processes copy it."""

    name: str
    records: Sequence[bytes]
    load: Load

    def __len__(self) -> int:
        return len(self.records)

    def sample(self, number: int, seed: int) -> Sample:
        """Sample `number` of the endless stream of a seed; every record once an epoch.

        In the place of a record that cannot be read stands the next one of the files.

        Raises:
            InputError: if a hundred in a row cannot be read.
        """
        epoch, place = divmod(number, len(self))
        record_number = grain.experimental.index_shuffle(
            place,
            max_index=len(self) - 1,
            seed=(seed + 0x9E3779B1 * epoch) % 2**32,
            rounds=_SHUFFLE_ROUNDS,
        )
        return self._load(record_number, lambda: np.random.default_rng([seed, number]))

    def plain(self, record_number: int) -> Sample:
        """A record as reconstruction would crop it. Raises as `sample` does."""
        return self._load(record_number, lambda: None)

    def _load(self, first: int, rng: Callable[[], np.random.Generator | None]) -> Sample:
        skipped: list[str] = []
        for number in range(first, first + _MOST_TRIES):
            place = number % len(self)
            try:
                return Sample(self.load(self.records[place], rng()), tuple(skipped))
            except _UNREADABLE as error:
                skipped.append(f"record {place} of {self.name}: {error}")
        raise InputError(f"{_MOST_TRIES} records in a row cannot be read; the first: {skipped[0]}")


@dataclass(frozen=True, eq=False)
class _LoadFit:
    decode: Callable[[bytes], FitRecord]
    keypoints: Keypoints
    settings: FaceSettings

    def __call__(self, record: bytes, rng: np.random.Generator | None) -> Fits:
        fit = self.decode(record)
        photo = _decoded(fit.image)
        place = photo_from_head(fit.pose, photo.shape[0])
        parameters = np.concatenate([fit.shape, fit.expression])
        landmarks = self.keypoints(parameters)
        image, matrix, mirrored = _cropped(photo, place, landmarks, self.settings, rng)
        return Fits(image, parameters, matrix, mirrored)


@dataclass(frozen=True, eq=False)
class _LoadScan:
    settings: FaceSettings

    def __call__(self, record: bytes, rng: np.random.Generator | None) -> Scans:
        scan = decode_scan(record)
        photo = _decoded(scan.image)
        place = scan.photo_from_head.astype(np.float64)
        image, matrix, mirrored = _cropped(photo, place, scan.landmarks, self.settings, rng)
        return Scans(image, scan.height, scan.landmarks, matrix, mirrored)


def _load_face(record: bytes, rng: np.random.Generator | None) -> Example:
    """A frozen face is what it was frozen as: nothing is augmented."""
    face = decode_face(record)
    packed: Any = Packed(face.packed)  # pyright: ignore[reportArgumentType]
    return Example(face.image, face.landmarks, face.visible, packed, face.attributes)  # pyright: ignore


def open_for_training(
    folder: Path, split: str, settings: FaceSettings, model: BaselModel | None
) -> DataSet:
    """Opens a prepared data set of any kind, or TFDS's `the300w_lp`.

    Of the settings those of the augmentation count. `model` is needed for fits only.

    Raises:
        InputError: if there is none, it has no such split, or a model is needed.
    """
    versions = {**FIT_DATA_SETS, SCANS: SCANS_VERSION, MADE_FACES: MADE_FACES_VERSION}
    kind = _kind(folder)
    if kind in (MADE_FACES, SCANS):
        load = _load_face if kind == MADE_FACES else _LoadScan(settings)
        records = split_records(open_data_set(folder, versions), folder, split)
        return DataSet(kind, _not_empty(records, folder, split), load)
    if kind == TFDS_NAME:
        records, decode = tfds_records(folder, split), decode_tfds_fit
    else:
        builder = open_data_set(folder, versions)
        records = split_records(builder, folder, split)
        decode = _decode_aflw if builder.name == "vrn_aflw2000_3d" else _decode_300w_lp
    if model is None:
        raise InputError(
            f"{folder} holds fits of the Basel Face Model; set --data.bfm to the folder with "
            "Model_Shape.mat and Model_Exp.mat"
        )
    load = _LoadFit(decode, Keypoints.of(model), settings)
    return DataSet(kind, _not_empty(records, folder, split), load)


def examples_of(model: FitModel | None, batch: Batch) -> Example:
    """The examples of a batch, on the device; `model` is that of fits."""
    if isinstance(batch, Example):
        return jax.tree.map(jax.numpy.asarray, batch)
    if isinstance(batch, Scans):
        return examples_of_scans(batch)
    assert model is not None  # `open_for_training` asks for it
    return examples_of_fits(model, batch)


def _decode_300w_lp(record: bytes) -> FitRecord:
    return decode_fit(record, 2)


def _decode_aflw(record: bytes) -> FitRecord:
    return decode_fit(record, 3)


def _kind(folder: Path) -> str:
    try:
        return str(json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError):
        return METADATA  # `open_data_set` says what is wrong


def _not_empty(records: Sequence[bytes], folder: Path, split: str) -> Sequence[bytes]:
    if not len(records):
        raise InputError(f"the split {split!r} of {folder} has no records")
    return records


def _decoded(image: bytes) -> UInt8[np.ndarray, "h w 3"]:
    with Image.open(io.BytesIO(image)) as picture:
        return np.asarray(picture.convert("RGB"))


def _cropped(
    photo: UInt8[np.ndarray, "h w 3"],
    photo_from_head: Float[np.ndarray, "3 4"],
    landmarks: Float[np.ndarray, "68 3"],
    settings: FaceSettings,
    rng: np.random.Generator | None,
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Float32[np.ndarray, "3 4"], np.ndarray]:
    """A photo's crop, augmented where numbers are drawn, `crop_from_head`, and if it is mirrored.

    `landmarks` are in the head frame.
    """
    augmentation = PLAIN if rng is None else draw_augmentation(rng, settings)
    crop = augmented_crop(apply_affine(photo_from_head, landmarks), augmentation)
    image = warp(photo, crop, VRN_GRID.shape[:2])
    if augmentation.colour != PLAIN.colour:
        image = coloured(image, augmentation.colour)
    matrix = crop_from_photo_space(crop, photo_from_head).astype(np.float32)
    return image, matrix, np.array(augmentation.mirrored)
