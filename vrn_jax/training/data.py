"""Batches of made faces. A batch is a range of sample numbers; the faces are made from them on the
device, inside the training step, so nobody hands out or stores data.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray
from tqdm import tqdm

from vrn_jax.config import DataConfig, FaceSettings
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.sample import Example, Portraits, make_face, sample_key
from vrn_jax.faces.source import FaceSource, face_source, make_faces

__all__ = ["Faces", "Source", "examples", "held_out_faces", "training_source"]

_MADE_AT_ONCE = 8


class Faces(NamedTuple):
    """What faces are made of, on the device."""

    model: FaceModel
    portraits: Portraits | None


Source = Faces | Example
"""Where a step's examples come from: faces to be made, or a pool of ready ones."""


def training_source(config: DataConfig) -> Source:
    """What the training step needs to have its examples.

    Raises:
        InputError: if the files of the head or the portraits cannot be used.
    """
    source = _face_source(config, held_out=False)
    if config.pool:
        return _first(source, config.pool, "making faces")
    return Faces(source.model, source.portraits)


def held_out_faces(config: DataConfig, count: int) -> Example:
    """The first faces of the held-out stream; about 1 MB each. Raises as `training_source` does."""
    return _first(_face_source(config, held_out=True), count, "making held-out faces")


def examples(source: Source, config: DataConfig, indices: Int[Array, " b"]) -> Example:
    """The examples of the given sample numbers, batched. Pure: every sample depends on its own
    number alone, not on the batch or the device it is made in.
    """
    if isinstance(source, Faces):
        return make_faces(*source, indices, seed=config.seed, settings=config.faces)
    size = len(source.image)

    def place(index: Int[Array, ""]) -> Int[Array, ""]:
        return jax.random.randint(sample_key(config.seed, index), (), 0, size)

    places = jax.vmap(place)(indices)
    return jax.tree.map(lambda leaf: leaf[places], source)


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
