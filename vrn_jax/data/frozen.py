"""Frozen faces read again, by number and in any order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np
import tensorflow_datasets as tfds

from vrn_jax.data.export import METADATA
from vrn_jax.data.record import NAME, VERSION, FrozenExample, array_record, decode_face
from vrn_jax.errors import InputError

__all__ = ["FrozenFaces", "open_frozen"]


class FrozenFaces:
    """Random access to the faces of one split. Threads may share it, processes copy it."""

    def __init__(self, records: Sequence[bytes], plan: dict[str, Any]):
        self._records = records
        self.plan = plan
        """How the faces were made: seeds, settings, versions; as in `metadata.json`."""

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> FrozenExample:
        """Face `index` of the split; IndexError if there is none."""
        return decode_face(self._records[range(len(self))[index]])

    def batch(self, indices: Sequence[int]) -> FrozenExample:
        """These faces, stacked."""
        faces = [self[index] for index in indices]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *faces)


def open_frozen(folder: str | Path, split: str = "train") -> FrozenFaces:
    """Opens a data set that `vrn data export` wrote.

    Raises:
        InputError: if there is none, it is unfinished or incomplete, or it has no such split.
    """
    array_record()
    folder = Path(folder)
    builder = _builder(folder)
    splits = builder.info.splits
    if split not in splits:
        raise InputError(f"{folder} has no split {split!r}, only {' and '.join(splits)}")
    paths = [Path(path) for path in splits[split].filepaths]
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"{missing[0]} is missing; copy the data set anew, or export it again")
    if sum(path.stat().st_size for path in paths) != splits[split].num_bytes:
        raise InputError(
            f"a shard of {folder} is cut off or changed; copy the data set anew, or export it again"
        )
    as_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    source: Any = builder.as_data_source  # a decorator hides its parameters from type checkers
    records = source(split, deserialize_method=as_bytes)
    return FrozenFaces(records, json.loads((folder / METADATA).read_text(encoding="utf-8")))


def _builder(folder: Path) -> tfds.core.DatasetBuilder:
    if not (folder / "dataset_info.json").is_file():
        if (folder / METADATA).is_file():
            raise InputError(
                f"the export to {folder} is not finished; repeat its `vrn data export` to go on"
            )
        raise InputError(f"there is no data set in {folder}; `vrn data export` writes one")
    try:
        builder = tfds.builder_from_directory(str(folder))
    except Exception as error:  # TFDS's readers of JSON raise what they like
        raise InputError(f"the metadata in {folder} cannot be read: {error}") from error
    if builder.name != NAME or builder.version.major != int(VERSION.split(".")[0]):
        raise InputError(
            f"{folder} holds {builder.name} {builder.version}, not {NAME} {VERSION}; export anew"
        )
    return builder
