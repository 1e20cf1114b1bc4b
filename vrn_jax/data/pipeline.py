"""Batches of a prepared data set on the devices, by Grain: decoded ahead, and in order.

The samples of update u are the numbers u n to (u + 1) n - 1 of the endless stream; of these every
process reads its own share. So the position in the data is the step, whatever the number of
processes was before, and nothing else has to be saved.
"""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grain
import jax
import numpy as np
from absl import flags
from jax.sharding import Sharding

from vrn_jax.data.sources import Batch, DataSet, Sample
from vrn_jax.errors import InputError

__all__ = ["Reading", "SkippedRecords", "batches", "on_devices"]

_AHEAD_BATCHES = 2
"""Decoded samples wait for so many batches, and so many batches are on their way to the devices."""


@dataclass(frozen=True)
class Reading:
    """How the stream is read; none of it changes what is read."""

    threads: int = 8
    """In every process that decodes."""
    processes: int = 0
    """That decode beside the training process; 0 decodes in threads of it."""


class SkippedRecords(Warning):
    """A record that could not be read was left out of training."""


@dataclass(frozen=True, eq=False)
class _Numbered:
    """The samples of one process, in its order: a source for Grain."""

    data: DataSet
    seed: int
    first_batch: int
    batch_size: int
    share: Sequence[int]
    """Which samples of every batch are this process's."""

    def __len__(self) -> int:
        return len(self.share) * (2**40)

    def __getitem__(self, place: int) -> Sample:
        batch, within = divmod(int(place), len(self.share))
        number = (self.first_batch + batch) * self.batch_size + self.share[within]
        return self.data.sample(number, self.seed)


def batches(
    data: DataSet,
    *,
    seed: int,
    batch_size: int,
    first_batch: int = 0,
    share: Sequence[int] | None = None,
    most_skipped: float = 0.01,
    reading: Reading = Reading(),
    skipped: set[str] | None = None,
) -> Iterator[Batch]:
    """Endless batches from `first_batch` on, stacked in numpy; `share` of each, or all of it.

    Every record that cannot be read is named once, in a warning, and added to `skipped`.

    Raises:
        InputError: once more than `most_skipped` of the records cannot be read.
    """
    source: Any = _Numbered(data, seed, first_batch, batch_size, share or range(batch_size))
    ahead = max(_AHEAD_BATCHES * batch_size, reading.threads)
    options = grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=ahead)
    stream: Any = grain.MapDataset.source(source).to_iter_dataset(options)
    if reading.processes:
        if not flags.FLAGS.is_parsed():  # Grain's workers ask for its own flags; we have none
            flags.FLAGS.mark_as_parsed()
        workers = grain.MultiprocessingOptions(num_workers=reading.processes)
        stream = stream.mp_prefetch(workers)
    samples: Iterator[Sample] = iter(stream)
    missed = set() if skipped is None else skipped
    while True:
        chosen = list(islice(samples, len(source.share)))
        _note(missed, chosen, most_skipped * len(data), data)
        yield jax.tree.map(lambda *leaves: np.stack(leaves), *(sample.value for sample in chosen))


def on_devices(stream: Iterator[Batch], sharding: Sharding) -> Iterator[Batch]:
    """The batches as arrays on the devices; the next ones travel while one is used."""
    waiting: deque[Batch] = deque()
    for batch in stream:
        waiting.append(
            jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)
        )
        if len(waiting) == _AHEAD_BATCHES:
            yield waiting.popleft()


def _note(missed: set[str], samples: list[Sample], most: float, data: DataSet) -> None:
    for line in (line for sample in samples for line in sample.skipped if line not in missed):
        missed.add(line)
        warnings.warn(f"skipped {line}", SkippedRecords, stacklevel=3)
    if len(missed) > most:
        raise InputError(
            f"{len(missed):,} of {len(data):,} records of {data.name} cannot be read, more than "
            f"the allowed {most / len(data):.1%}; copy or prepare the data set anew"
        )
