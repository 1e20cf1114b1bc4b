"""Frozen faces read again, by number and in any order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np

from vrn_jax.data.record import NAME, VERSION, FrozenExample, decode_face
from vrn_jax.data.stored import METADATA, open_data_set, split_records

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
    folder = Path(folder)
    builder = open_data_set(folder, {NAME: VERSION})
    records = split_records(builder, folder, split)
    return FrozenFaces(records, json.loads((folder / METADATA).read_text(encoding="utf-8")))
