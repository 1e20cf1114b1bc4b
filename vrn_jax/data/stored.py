"""Prepared data sets opened again: their splits as sequences of records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vrn_jax.data.record import array_record
from vrn_jax.errors import InputError

__all__ = ["METADATA", "open_data_set", "split_records"]

METADATA = "metadata.json"
"""TFDS's name for what is to be known about a data set besides its features."""


def open_data_set(folder: Path, versions: Mapping[str, str]) -> tfds.core.DatasetBuilder:
    """The data set in a folder, if it is one of those whose name and version are given.

    Raises:
        InputError: if there is none, it is unfinished, or another one.
    """
    array_record()
    if not (folder / "dataset_info.json").is_file():
        if (folder / METADATA).is_file():
            command = _command(folder)
            raise InputError(
                f"the export to {folder} is not finished; repeat its `{command}` to go on"
            )
        raise InputError(
            f"there is no data set in {folder}; `vrn data export` or `vrn data prepare` writes one"
        )
    try:
        builder = tfds.builder_from_directory(str(folder))
    except Exception as error:  # TFDS's readers of JSON raise what they like
        raise InputError(f"the metadata in {folder} cannot be read: {error}") from error
    wanted = versions.get(builder.name)
    if wanted is None or builder.version.major != int(wanted.split(".")[0]):
        expected = ", ".join(f"{name} {version}" for name, version in versions.items())
        raise InputError(
            f"{folder} holds {builder.name} {builder.version}, not {expected}; export anew"
        )
    return builder


def split_records(builder: tfds.core.DatasetBuilder, folder: Path, split: str) -> Sequence[bytes]:
    """The records of a split, undecoded, in any order. Threads may share them, processes copy them.

    Raises:
        InputError: if there is no such split, or a file is missing or changed.
    """
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
    return source(split, deserialize_method=as_bytes)


def _command(folder: Path) -> str:
    try:
        prepared = "prepared_from" in json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except ValueError:
        prepared = False
    return "vrn data prepare" if prepared else "vrn data export"
