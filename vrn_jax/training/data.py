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
from vrn_jax.faces.head import load_head
from vrn_jax.faces.model import FaceModel, face_model
from vrn_jax.faces.sample import Example, Portraits, make_face, sample_key

__all__ = ["Faces", "Source", "examples", "load_faces", "make_pool"]

_MADE_AT_ONCE = 8


class Faces(NamedTuple):
    """The arrays that faces are made of, on the device."""

    model: FaceModel
    portraits: Portraits | None


Source = Faces | Example
"""Where a step's examples come from: faces to make them of, or a pool of ready ones."""


def load_faces(config: DataConfig) -> Faces:
    """Reads the head.

    Raises:
        InputError: if it cannot be read.
    """
    if config.head == "builtin":
        from vrn_jax.faces.builtin import builtin_head

        return Faces(face_model(builtin_head()), None)
    head = load_head(Path(config.head))
    return Faces(face_model(head), None)


def examples(source: Source, config: DataConfig, indices: Int[Array, " b"]) -> Example:
    """The examples of the given sample numbers, batched. Pure: every sample depends on its own
    number alone, not on the batch or the device it is made in.
    """
    keys = jax.vmap(partial(sample_key, config.seed))(indices)
    if isinstance(source, Faces):
        return _made(source, config.faces, keys)
    size = len(source.image)
    places = jax.vmap(lambda key: jax.random.randint(key, (), 0, size))(keys)
    return jax.tree.map(lambda leaf: leaf[places], source)


def make_pool(faces: Faces, config: DataConfig, count: int, *, held_out: bool = False) -> Example:
    """The first `count` samples of a stream, made ahead of time; about 1 MB each."""
    batches = []
    for first in tqdm(
        range(0, count, _MADE_AT_ONCE),
        "making held-out faces" if held_out else "making faces",
        unit_scale=_MADE_AT_ONCE,
        leave=False,
        disable=None,
    ):
        indices = jnp.arange(first, first + _MADE_AT_ONCE)
        keys = jax.vmap(partial(sample_key, config.seed, held_out=held_out))(indices)
        batches.append(jax.block_until_ready(_make(faces, config.faces, keys)))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *batches)


def _made(faces: Faces, settings: FaceSettings, keys: PRNGKeyArray) -> Example:
    one = jax.jit(lambda key: make_face(key, faces.model, settings, faces.portraits))
    # A CPU is no faster with several faces at a time, and would need memory for all of them.
    return lax.platform_dependent(keys, cpu=partial(lax.map, one), default=jax.vmap(one))


_make = jax.jit(_made, static_argnums=1)
