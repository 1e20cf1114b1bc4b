"""Made faces as a data source: a global sample number gives an example, whoever asks for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer

from vrn_jax.config import FaceSettings
from vrn_jax.errors import InputError
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.head import Head, load_head
from vrn_jax.faces.model import FaceModel, face_model
from vrn_jax.faces.sample import Example, Portraits, make_face, sample_key
from vrn_jax.faces.textures import TextureSet, load_textures

__all__ = [
    "FaceSource",
    "face_source",
    "head_of",
    "make_faces",
    "one_by_one_on_cpu",
    "portraits_of",
]

T = TypeVar("T")


def make_faces(
    model: FaceModel,
    portraits: Portraits | None,
    indices: Integer[Array, " b"],
    *,
    seed: Integer[Array, ""] | int,
    settings: FaceSettings,
    held_out: Bool[Array, ""] | bool = False,
) -> Example:
    """A batch of examples by their global sample numbers; jit or call it within a train step.

    Sample n of a seed is the same in every batch, on every device and any number of them. On a CPU
    one face after the other is made, which is faster there and takes a fraction of the memory.
    """

    def make(index: Integer[Array, ""]) -> Example:
        return make_face(sample_key(seed, index, held_out=held_out), model, settings, portraits)

    return one_by_one_on_cpu(make, indices)


def one_by_one_on_cpu(make: Callable[[Any], T], batch: Any) -> T:
    """`make` of every item of a batch: at once, but on CPUs, where loops need less memory."""
    # By the platform that it is compiled for, which may be another one than this machine's.
    return jax.lax.platform_dependent(
        batch, cpu=lambda items: jax.lax.map(make, items), default=jax.vmap(make)
    )


@dataclass(frozen=True, eq=False)
class FaceSource:
    """Made faces of one seed and split, by number, for use outside of a train step."""

    model: FaceModel
    portraits: Portraits | None = None
    settings: FaceSettings = field(default_factory=FaceSettings)
    seed: int = 0
    held_out: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise InputError(f"a seed is a number from 0 to 2**31 - 1, got {self.seed}")

    def __getitem__(self, index: int) -> Example:
        """Example `index`, on the device. Any number from 0 to 2**32 - 1."""
        return jax.tree.map(lambda leaf: leaf[0], self.batch([index]))

    def batch(self, indices: Integer[Array, " b"] | list[int]) -> Example:
        """Examples of these numbers, stacked.

        On a CPU each is made by a program of its own, since XLA uses all cores for that and one for
        a loop; elsewhere all are made at once, compiled once for every length of the list.
        """
        numbers = jnp.asarray(indices, jnp.uint32)
        if jax.default_backend() != "cpu":
            return self._made(numbers)
        singles = [self._made(numbers[i : i + 1]) for i in range(len(numbers))]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *singles)

    def _made(self, numbers: Integer[Array, " b"]) -> Example:
        return _compiled(
            self.model,
            self.portraits,
            numbers,
            seed=self.seed,
            settings=self.settings,
            held_out=self.held_out,
        )


_compiled = jax.jit(make_faces)


def face_source(
    head: Path | None = None,
    textures: Path | None = None,
    settings: FaceSettings | None = None,
    *,
    seed: int = 0,
    held_out: bool = False,
) -> FaceSource:
    """A source from files: a head (None: the built-in one), and portraits on it.

    The held-out stream wears held-out portraits only, the other one none of them.

    Raises:
        InputError: if a file cannot be used, or the textures belong to another head.
    """
    loaded = head_of(head)
    portraits = None
    if textures is not None:
        portraits = portraits_of(load_textures(textures, loaded), held_out=held_out)
    settings = FaceSettings() if settings is None else settings
    return FaceSource(face_model(loaded), portraits, settings, seed, held_out)


def head_of(path: Path | None) -> Head:
    """The head of a file; None takes the one that comes with vrn_jax.

    Raises:
        InputError: if the file is not that of a head.
    """
    return builtin_head() if path is None else load_head(path)


def portraits_of(textures: TextureSet, *, held_out: bool) -> Portraits:
    """The portraits of one split, on the device.

    Raises:
        InputError: if there are none.
    """
    rows = textures.held_out == held_out
    if not rows.any():
        split = "held out" if held_out else "left to train on"
        raise InputError(f"of {len(textures.names)} portraits none is {split}; use more portraits")
    return Portraits(
        jnp.asarray(textures.colours[rows]),
        jnp.asarray(textures.identity[rows], jnp.float32),
        jnp.asarray(textures.identities.mean, jnp.float32),
        jnp.asarray(textures.identities.transform, jnp.float32),
    )
