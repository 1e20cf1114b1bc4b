"""A user's downloads to a TFDS data set, shard by shard.

As with `data.export`, a shard is there as a whole or not at all, TFDS's metadata come last, and an
interrupted preparation goes on with the first shard that is missing. What cannot be read is left
out, counted and named; too much of it stops the preparation.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from vrn_jax.data.card import difference
from vrn_jax.data.shards import record_writer, shard_template
from vrn_jax.data.stored import METADATA
from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing
from vrn_jax.version import __version__

__all__ = ["CHECKSUMS", "SKIPPED", "DataSetCard", "Encoded", "Preparation"]

CHECKSUMS = "SHA256SUMS"
"""File of the shards' checksums, for `sha256sum -c`."""
SKIPPED = "skipped.txt"
"""File that names what was left out, and why."""


class Encoded(NamedTuple):
    """A record, and what the statistics of the data set count of it."""

    record: bytes
    facts: dict[str, str]


@dataclass(frozen=True)
class DataSetCard:
    """What a data set is called and says of itself."""

    name: str
    version: str
    features: tfds.features.FeaturesDict
    description: str
    homepage: str
    citation: str
    licence: str


@dataclass(frozen=True)
class _Shard:
    split: str
    path: Path
    items: Sequence[Any]

    @property
    def notes(self) -> Path:
        """What was counted while the shard was written; removed at the end."""
        return self.path.with_name(f".{self.path.name}.json")


@dataclass
class _Notes:
    records: int = 0
    skipped: list[str] = field(default_factory=list)
    facts: dict[str, Counter] = field(default_factory=dict)

    def count(self, facts: Mapping[str, str]) -> None:
        self.records += 1
        for name, value in facts.items():
            self.facts.setdefault(name, Counter())[value] += 1


class Preparation:
    """A data set in a folder, to be written.

    `splits` are what its records are made of; `encode` makes one, or raises InputError for what
    cannot be used. `plan` is JSON that says what goes in; `most_skipped` is the share of the items
    that may be left out.

    Raises:
        InputError: if the folder cannot take the data set.
    """

    def __init__(
        self,
        folder: Path,
        card: DataSetCard,
        splits: Mapping[str, Sequence[Any]],
        encode: Callable[[Any], Encoded],
        *,
        plan: dict[str, Any],
        records_per_shard: int = 1024,
        most_skipped: float = 0.01,
    ):
        if records_per_shard < 1:
            raise InputError(f"a shard holds 1 record or more, got {records_per_shard}")
        self.folder, self.card, self._encode = folder, card, encode
        self._most_skipped = most_skipped
        own = {"vrn_jax": __version__, "records_per_shard": records_per_shard}
        counts = {name: len(items) for name, items in splits.items()}
        self._plan = {"prepared_from": plan, **own, "items": counts}
        self._check_folder()
        self._shards = [
            shard
            for name, items in splits.items()
            for shard in _shards(folder, card.name, name, items, records_per_shard)
        ]

    @property
    def items(self) -> int:
        """How many photos are to be looked at."""
        return sum(len(shard.items) for shard in self._shards)

    @property
    def done(self) -> int:
        """How many of them belong to finished shards."""
        return sum(len(shard.items) for shard in self._shards if shard.path.exists())

    def write(self, on_items: Callable[[int], object] = lambda count: None) -> dict[str, Any]:
        """Writes what is missing, telling `on_items` how many items were done; returns statistics.

        Raises:
            InputError: if more than the allowed share cannot be read.
            OSError: if a file cannot be written. Finished shards remain.
        """
        if (self.folder / "dataset_info.json").exists():  # TFDS's last file: nothing is missing
            return json.loads((self.folder / METADATA).read_text(encoding="utf-8"))["statistics"]
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_text(self.folder / METADATA, json.dumps(self._plan))
        with ThreadPoolExecutor(thread_name_prefix="vrn-encode") as pool:
            for shard in self._shards:
                if not shard.path.exists():
                    _write_shard(shard, self._encode, pool, on_items)
                self._check_skipped()
        return self._finish()

    def _check_folder(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; name a folder to prepare a data set in")
        try:
            found = json.loads((self.folder / METADATA).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if any(self.folder.iterdir()):
                raise InputError(
                    f"{self.folder} is not empty and holds no data set; give another folder"
                ) from error
            return
        except ValueError as error:
            raise InputError(f"{self.folder / METADATA} is damaged; give another folder") from error
        found.pop("statistics", None)
        if changed := difference(found, self._plan):
            raise InputError(
                f"{self.folder} holds a data set with {changed}; give another folder, or the "
                "options of that one"
            )

    def _notes(self) -> dict[str, _Notes]:
        """What was counted so far, by split."""
        total: dict[str, _Notes] = {}
        for shard in self._shards:
            notes = total.setdefault(shard.split, _Notes())
            if shard.notes.exists():
                found = json.loads(shard.notes.read_text(encoding="utf-8"))
                notes.records += found["records"]
                notes.skipped += found["skipped"]
                for name, counts in found["facts"].items():
                    notes.facts.setdefault(name, Counter()).update(counts)
        return total

    def _check_skipped(self) -> None:
        skipped = [line for notes in self._notes().values() for line in notes.skipped]
        if len(skipped) > self._most_skipped * self.items:
            raise InputError(
                f"{len(skipped):,} of {self.items:,} photos cannot be used, more than the "
                f"{self._most_skipped:.1%} allowed; the first: {skipped[0]}"
            )

    def _finish(self) -> dict[str, Any]:
        for leftover in self.folder.glob(f".{self.card.name}-*.partial"):  # of a killed run
            leftover.unlink()
        notes = self._notes()
        statistics = {
            name: {"records": part.records, "skipped": len(part.skipped)}
            | {fact: dict(sorted(counts.items())) for fact, counts in part.facts.items()}
            for name, part in notes.items()
        }
        skipped = [line for part in notes.values() for line in part.skipped]
        _write_text(self.folder / SKIPPED, "".join(f"{line}\n" for line in skipped))
        _write_text(self.folder / "README.md", _readme(self.card, statistics))
        sums = [f"{_sha256(shard.path)}  {shard.path.name}\n" for shard in self._shards]
        _write_text(self.folder / CHECKSUMS, "".join(sums))
        self._write_metadata(statistics)
        for shard in self._shards:
            shard.notes.unlink()
        return statistics

    def _write_metadata(self, statistics: dict[str, Any]) -> None:
        card = self.card
        tfds.folder_dataset.write_metadata(
            data_dir=str(self.folder),
            features=card.features,
            split_infos=[self._split_info(name) for name in self._plan["items"]],
            version=card.version,
            check_data=False,  # it would read by TensorFlow
            description=card.description,
            homepage=card.homepage,
            citation=card.citation,
            license=card.licence,
            metadata=tfds.core.MetadataDict(self._plan | {"statistics": statistics}),
            disable_shuffling=True,
        )

    def _split_info(self, name: str) -> tfds.core.SplitInfo:
        shards = [shard for shard in self._shards if shard.split == name]
        counts = [json.loads(shard.notes.read_text(encoding="utf-8")) for shard in shards]
        return tfds.core.SplitInfo(
            name=name,
            shard_lengths=[notes["records"] for notes in counts],
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=shard_template(self.folder, self.card.name, name),
        )


def _shards(folder: Path, name: str, split: str, items: Sequence[Any], size: int) -> list[_Shard]:
    template = shard_template(folder, name, split)
    firsts = range(0, len(items), size)
    return [
        _Shard(
            split,
            Path(template.sharded_filepath(shard_index=i, num_shards=len(firsts))),
            items[first : first + size],
        )
        for i, first in enumerate(firsts)
    ]


def _write_shard(
    shard: _Shard,
    encode: Callable[[Any], Encoded],
    pool: ThreadPoolExecutor,
    on_items: Callable[[int], object],
) -> None:
    def attempt(item: Any) -> Encoded | InputError:
        try:
            return encode(item)
        except InputError as error:
            return error

    notes = _Notes()
    with writing(shard.path) as partial, record_writer(partial) as write:
        for result in pool.map(attempt, shard.items):
            if isinstance(result, InputError):
                notes.skipped.append(str(result))
            else:
                write(result.record)
                notes.count(result.facts)
            on_items(1)
        _write_text(shard.notes, json.dumps(vars(notes)))


def _readme(card: DataSetCard, statistics: dict[str, Any]) -> str:
    lines = [f"# {card.name} {card.version}", "", card.description, ""]
    for split, numbers in statistics.items():
        lines.append(f"- `{split}`: {numbers['records']:,} records, {numbers['skipped']:,} skipped")
        for fact, counts in numbers.items():
            if isinstance(counts, dict):
                values = ", ".join(f"{name} {count:,}" for name, count in counts.items())
                lines.append(f"  - by {fact}: {values}")
    lines += ["", "## Licence", "", card.licence, "", "## Cite", "", f"```\n{card.citation}\n```"]
    return "\n".join([*lines, "", f"<{card.homepage}>", ""])


def _write_text(path: Path, text: str) -> None:
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
