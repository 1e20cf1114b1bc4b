"""ArrayRecord shards, named as TFDS names them and written without TensorFlow."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath

from vrn_jax.data.record import array_record

__all__ = ["record_writer", "shard_template"]


def shard_template(folder: Path, name: str, split: str) -> tfds.core.ShardedFileTemplate:
    """How the shards of a split are named."""
    return tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=name, split=split, filetype_suffix="array_record"
    )


@contextlib.contextmanager
def record_writer(path: Path) -> Iterator[Callable[[bytes], object]]:
    """ArrayRecord with one record a chunk, for random access; each is compressed by itself."""
    writer = array_record().ArrayRecordWriter(str(path), "group_size:1")

    def write(record: bytes) -> None:
        with _as_os_error():
            writer.write(record)

    try:
        yield write
    finally:
        with _as_os_error():  # a full disk is told of here at last
            writer.close()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"cannot write a shard: {error}") from error
