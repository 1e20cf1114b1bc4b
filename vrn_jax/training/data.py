"""Where a step's examples come from. A batch is a range of sample numbers.

Made faces are made from them on the device, inside the training step, so nobody hands out or stores
data. Of a data set the host brings pictures and fits, and the device makes solids of them there.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray, PyTree
from tqdm import tqdm

from vrn_jax.config import DataConfig, FaceSettings, TrainConfig
from vrn_jax.data.bfm import BaselModel, read_basel
from vrn_jax.data.fits import FitModel, fit_model
from vrn_jax.data.pipeline import Reading, batches, on_devices
from vrn_jax.data.sources import Batch, DataSet, examples_of, open_for_training
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.sample import Example, Portraits, make_face, sample_key
from vrn_jax.faces.source import FaceSource, face_source, make_faces
from vrn_jax.training.parallel import AXES, replicated

__all__ = [
    "Faces",
    "Fed",
    "Feed",
    "Source",
    "examples",
    "feed",
    "held_out_faces",
    "part_of",
    "source_shardings",
    "training_source",
]

_MADE_AT_ONCE = 8


class Faces(NamedTuple):
    """What faces are made of, on the device."""

    model: FaceModel
    portraits: Portraits | None


class Fed(NamedTuple):
    """What an update takes of a data set, and the face model that its fits need.

    Leaves of `batch` are [a b ...]: b samples for each of the a batches that are accumulated.

    Before the first update there is no batch; see `feed`.
    """

    model: FitModel | None
    batch: Batch | None = None


Source = Faces | Example | Fed
"""Where a step's examples come from: faces to be made, a pool of ready ones, or a data set."""


def training_source(config: DataConfig) -> Source:
    """What the training step needs to have its examples.

    Raises:
        InputError: if the files of the head, the portraits or the face model cannot be used.
    """
    if config.dataset is not None:
        return Fed(_basel(config)[1])
    source = _face_source(config, held_out=False)
    if config.pool:
        return _first(source, config.pool, "making faces")
    return Faces(source.model, source.portraits)


class Feed(NamedTuple):
    """The sources of all updates to come, and the records that could not be read for them here."""

    sources: Iterator[Source]
    skipped: set[str]


def feed(config: TrainConfig, mesh: Mesh, source: Source, first: int) -> Feed:
    """The source of every update after the first `first` ones.

    The same one for ever, or for a data set one with the next batch, read ahead, each process its
    share.

    Raises:
        InputError: if the data set cannot be read, or too much of it.
    """
    if not isinstance(source, Fed):
        return Feed(repeat(source), set())
    skipped: set[str] = set()
    accumulate, size = config.optim.accumulate, config.compute.batch_size
    here = size // jax.process_count()
    first_here = jax.process_index() * here
    stream = batches(
        _data_set(config.data, config.data.split),
        seed=config.data.seed,
        batch_size=accumulate * size,
        first_batch=first,
        share=[i * size + first_here + j for i in range(accumulate) for j in range(here)],
        most_skipped=config.data.most_skipped,
        reading=Reading(config.run.read_threads, config.run.read_processes),
        skipped=skipped,
    )
    parts = (
        jax.tree.map(lambda leaf: leaf.reshape(accumulate, here, *leaf.shape[1:]), batch)
        for batch in stream
    )
    on_mesh = on_devices(parts, _batch_sharding(mesh))
    return Feed((source._replace(batch=batch) for batch in on_mesh), skipped)


def _batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(None, AXES))


def source_shardings(source: Source, mesh: Mesh) -> PyTree[NamedSharding]:
    """Batches of a data set are split over the devices; all else is the same on each."""
    layout = jax.tree.map(lambda _: replicated(mesh), source)
    if not isinstance(source, Fed):
        return layout
    return layout._replace(batch=jax.tree.map(lambda _: _batch_sharding(mesh), source.batch))


def part_of(source: Source, number: Int[Array, ""] | int) -> Source:
    """The source of the `number`-th of the batches that are accumulated for an update."""
    if not isinstance(source, Fed):
        return source
    return source._replace(batch=jax.tree.map(lambda leaf: leaf[number], source.batch))


def held_out_faces(config: DataConfig, count: int) -> Example:
    """The first faces of the held-out stream, or of the data set's split for that; about 1 MB each.

    Raises as `training_source` does.
    """
    if config.dataset is not None and config.held_out_split is not None:
        return _held_out_records(config, config.held_out_split, count)
    return _first(_face_source(config, held_out=True), count, "making held-out faces")


def examples(source: Source, config: DataConfig, indices: Int[Array, " b"]) -> Example:
    """The examples of the given sample numbers, batched. Pure: every sample depends on its own
    number alone, not on the batch or the device it is made in. A batch of a data set is just those.
    """
    if isinstance(source, Fed):
        assert source.batch is not None  # `feed` has put it there
        return examples_of(source.model, source.batch)
    if isinstance(source, Faces):
        return make_faces(*source, indices, seed=config.seed, settings=config.faces)
    size = len(source.image)

    def place(index: Int[Array, ""]) -> Int[Array, ""]:
        return jax.random.randint(sample_key(config.seed, index), (), 0, size)

    places = jax.vmap(place)(indices)
    return jax.tree.map(lambda leaf: leaf[places], source)


def _basel(config: DataConfig) -> tuple[BaselModel, FitModel] | tuple[None, None]:
    """The face model of a data set of fits, and what the device needs of it."""
    return (None, None) if config.bfm is None else _read_basel(config.bfm, config.bfm_region)


@lru_cache(maxsize=1)  # large, and a run asks for it three times
def _read_basel(folder: str, region: str | None) -> tuple[BaselModel, FitModel]:
    model = read_basel(folder, region)
    return model, fit_model(model)


def _data_set(config: DataConfig, split: str) -> DataSet:
    assert config.dataset is not None
    return open_for_training(Path(config.dataset), split, config.faces, _basel(config)[0])


def _held_out_records(config: DataConfig, split: str, count: int) -> Example:
    """Records spread evenly over the split, cropped as reconstruction would."""
    data = _data_set(config, split)
    places = np.linspace(0, len(data), min(count, len(data)), endpoint=False).astype(int)
    on_device = _basel(config)[1]
    make = jax.jit(lambda batch: examples_of(on_device, batch))
    examples = []
    for place in tqdm(places, "reading held-out faces", leave=False, disable=None):
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], data.plain(int(place)).value)
        examples.append(make(one))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *examples)


def _face_source(config: DataConfig, *, held_out: bool) -> FaceSource:
    head = None if config.head is None else Path(config.head)
    textures = None if config.textures is None else Path(config.textures)
    return face_source(head, textures, config.faces, seed=config.seed, held_out=held_out)


def _first(source: FaceSource, count: int, what: str) -> Example:
    starts = range(0, count, _MADE_AT_ONCE)
    key = partial(sample_key, source.seed, held_out=source.held_out)
    batches = []
    for first in tqdm(starts, what, unit_scale=_MADE_AT_ONCE, leave=False, disable=None):
        keys = jax.vmap(key)(jnp.arange(first, first + _MADE_AT_ONCE))
        made = _made(Faces(source.model, source.portraits), source.settings, keys)
        batches.append(jax.block_until_ready(made))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *batches)


@partial(jax.jit, static_argnums=1)
def _made(faces: Faces, settings: FaceSettings, keys: PRNGKeyArray) -> Example:
    """One program for the training and the held-out stream, since only their keys differ."""
    return lax.map(lambda key: make_face(key, faces.model, settings, faces.portraits), keys)
