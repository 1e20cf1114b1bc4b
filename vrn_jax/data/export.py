"""Made faces to a TFDS data set, shard by shard.

A shard is there as a whole or not at all, and TFDS's own metadata are written when all shards are.
So an export can be stopped at any time: until it is finished nothing takes it for a data set, and
it goes on with the first shard that is missing. What is being exported stands in `metadata.json`
from the start; an export of anything else to the same folder is refused.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from vrn_jax.data.card import (
    CITATION,
    HOMEPAGE,
    SPLITS,
    description,
    difference,
    licence,
    plan_of,
)
from vrn_jax.data.record import (
    NAME,
    VERSION,
    FrozenExample,
    array_record,
    encode_face,
    face_features,
    pack_occupancy,
)
from vrn_jax.data.shards import record_writer, shard_template
from vrn_jax.data.stored import METADATA
from vrn_jax.errors import InputError
from vrn_jax.faces.source import FaceSource
from vrn_jax.io.atomic import writing

__all__ = ["FACE_BYTES", "Export"]

FACE_BYTES = 90_000
"""Size of a face on disk, about: 57 kB picture, 29 kB volume."""

_BATCH = 32


@dataclass(frozen=True)
class _Shard:
    path: Path
    source: FaceSource
    numbers: range


class Export:
    """A data set of made faces in a folder, to be written.

    `parts` are sources and how many of their faces to take, from number 0 on; a held-out source
    becomes the split "test", another one "train". `made_from` says in words what the heads and
    portraits are and under which licences; it goes into the data set's licence text.

    Raises:
        InputError: if the parts cannot be one data set, or the folder cannot take it.
    """

    def __init__(
        self,
        folder: Path,
        parts: Sequence[tuple[FaceSource, int]],
        *,
        made_from: Mapping[str, str],
        faces_per_shard: int = 1024,
    ):
        if faces_per_shard < 1:
            raise InputError(f"a shard holds 1 face or more, got {faces_per_shard}")
        if not parts or min(count for _, count in parts) < 1:
            counts = [count for _, count in parts]
            raise InputError(f"an export needs 1 face or more of every source, got {counts}")
        if len({source.held_out for source, _ in parts}) != len(parts):
            raise InputError("an export takes one source to train on and one held out at most")
        array_record()
        self.folder = folder
        self._plan = plan_of(parts, made_from, faces_per_shard)
        self._check_folder()
        self._check_space(sum(count for _, count in parts), faces_per_shard)
        self._shards = [
            shard for part in parts for shard in _shards(folder, *part, faces_per_shard)
        ]

    @property
    def faces(self) -> int:
        """How many faces the finished data set has."""
        return sum(len(shard.numbers) for shard in self._shards)

    @property
    def written(self) -> int:
        """How many of them lie in finished shards."""
        return sum(len(shard.numbers) for shard in self._shards if shard.path.exists())

    def write(self, on_faces: Callable[[int], object] = lambda count: None) -> None:
        """Writes what is missing, and tells `on_faces` every few faces how many there are more.

        Raises:
            OSError: if a file cannot be written. Finished shards remain.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.folder / METADATA) as partial:
            partial.write_text(json.dumps(self._plan), encoding="utf-8")
        batch = min(_BATCH, max(len(shard.numbers) for shard in self._shards))
        with ThreadPoolExecutor(thread_name_prefix="vrn-encode") as pool:
            for shard in self._shards:
                if not shard.path.exists():
                    _write_shard(shard, batch, pool, on_faces)
        for leftover in self.folder.glob(f".{NAME}-*.partial"):  # of a run that was killed
            leftover.unlink()
        self._write_metadata()

    def _check_folder(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; name a folder to export to")
        try:
            found = json.loads((self.folder / METADATA).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if any(self.folder.iterdir()):
                raise InputError(
                    f"{self.folder} is not empty and holds no export; give another folder"
                ) from error
            return
        except ValueError as error:
            raise InputError(f"{self.folder / METADATA} is damaged; give another folder") from error
        if changed := difference(found, self._plan):
            raise InputError(
                f"{self.folder} holds an export with {changed}; give another folder, or the options"
                " of that one"
            )

    def _check_space(self, faces: int, faces_per_shard: int) -> None:
        folder = self.folder.absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        left = faces - faces_per_shard * sum(1 for _ in self.folder.glob(f"{NAME}-*"))
        free = shutil.disk_usage(there).free
        if left * FACE_BYTES > free:
            raise InputError(
                f"{left:,} faces need about {left * FACE_BYTES / 1e9:,.1f} GB, {there} has "
                f"{free / 1e9:,.1f} GB free; export fewer or elsewhere"
            )

    def _write_metadata(self) -> None:
        tfds.folder_dataset.write_metadata(
            data_dir=str(self.folder),
            features=face_features(),
            split_infos=[self._split_info(name) for name in self._plan["splits"]],
            version=VERSION,
            check_data=False,  # it would read by TensorFlow
            description=description(self._plan),
            homepage=HOMEPAGE,
            citation=CITATION,
            license=licence(self._plan),
            metadata=tfds.core.MetadataDict(self._plan),
            disable_shuffling=True,
        )

    def _split_info(self, name: str) -> tfds.core.SplitInfo:
        shards = [shard for shard in self._shards if SPLITS[shard.source.held_out] == name]
        return tfds.core.SplitInfo(
            name=name,
            shard_lengths=[len(shard.numbers) for shard in shards],
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=shard_template(self.folder, NAME, name),
        )


def _shards(folder: Path, source: FaceSource, count: int, size: int) -> Iterator[_Shard]:
    template = shard_template(folder, NAME, SPLITS[source.held_out])
    firsts = range(0, count, size)
    for i, first in enumerate(firsts):
        path = template.sharded_filepath(shard_index=i, num_shards=len(firsts))
        yield _Shard(Path(path), source, range(first, min(first + size, count)))


def _write_shard(
    shard: _Shard, batch: int, pool: ThreadPoolExecutor, on_faces: Callable[[int], object]
) -> None:
    with writing(shard.path) as partial, record_writer(partial) as write:
        for examples in _batches(shard, batch):
            for record in pool.map(encode_face, examples):
                write(record)
            on_faces(len(examples))


def _batches(shard: _Shard, size: int) -> Iterator[list[FrozenExample]]:
    """The faces of a shard; while those of one batch are in use, the next is being made."""
    made = _make(shard, 0, size)
    for first in range(0, len(shard.numbers), size):
        current = FrozenExample(**jax.device_get(made))
        if first + size < len(shard.numbers):
            made = _make(shard, first + size, size)
        count = len(shard.numbers[first : first + size])
        yield [jax.tree.map(lambda leaf, i=i: leaf[i], current) for i in range(count)]


def _make(shard: _Shard, first: int, size: int) -> dict[str, Any]:
    """A batch, always of the same length to be compiled once: the last face is repeated."""
    numbers = np.minimum(np.arange(size) + shard.numbers[first], shard.numbers[-1])
    example = shard.source.batch(jnp.asarray(numbers, jnp.uint32))
    return {
        "image": example.image,
        "landmarks": example.landmarks,
        "visible": example.visible,
        "packed": pack_occupancy(example.solid),
        "attributes": example.attributes,
        "number": numbers,
    }
