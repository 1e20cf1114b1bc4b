"""Faces cut out of their photos, and put together in batches of few sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import CropRule, crop_face, quarter_turns
from vrn_jax.geometry.original_crop import crop_as_original
from vrn_jax.geometry.transforms import apply_similarity
from vrn_jax.postprocess import Cleaned
from vrn_jax.types import Face, FaceCrop

__all__ = ["LARGEST_BATCH", "Regressed", "Started", "batches", "cut_out", "landmarks_on_crop"]

LARGEST_BATCH = 16


class Started(NamedTuple):
    """Faces, the photos they are in, and the work under way on the device."""

    faces: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Face]]
    crops: list[FaceCrop]
    cleaned: list[tuple[Cleaned, int]]  # for each face its batch, and its place in that
    threshold: float | None = None  # None: the reconstructor's


@dataclass(frozen=True, eq=False)
class Regressed:
    """What the network says of a face of a photo, on the host: all that its mesh is made from.

    `logits` are those of the crop and, where the reconstructor mirrors, of the mirrored crop.
    """

    photo: UInt8[np.ndarray, "_ _ 3"]
    face: Face
    crop: FaceCrop
    logits: tuple[Float[np.ndarray, "h w d"], ...]


def batch_sizes() -> tuple[int, ...]:
    """How many faces the network takes at once; so few shapes are ever compiled.

    On a CPU one: together they are no faster, and take more memory.
    """
    return (1,) if jax.default_backend() == "cpu" else (1, 4, LARGEST_BATCH)


def batches(
    faces: Sequence[Face],
    crops: Sequence[FaceCrop],
    *,
    guided: bool,
    sizes: tuple[int, ...] | None = None,
) -> Iterator[tuple[UInt8[Array, "b h w 3"], Float[Array, "b l 2"] | None, int]]:
    """Images, landmarks (crop pixels) if the network is guided, and how many are not padding.

    Batches are padded to one of `sizes`, in rising order; None takes those of `batch_sizes`.

    Raises:
        InputError: if landmarks are needed and a face has none.
    """
    sizes = sizes or batch_sizes()
    for first in range(0, len(faces), sizes[-1]):
        count = min(sizes[-1], len(faces) - first)
        size = next(size for size in sizes if size >= count)
        padded = [first + min(i, count - 1) for i in range(size)]
        points = None
        if guided:
            points = jnp.asarray(np.stack([landmarks_on_crop(faces[i], crops[i]) for i in padded]))
        yield jnp.asarray(np.stack([crops[i].image for i in padded])), points, count


def cut_out(pixels: UInt8[np.ndarray, "_ _ 3"], face: Face, rule: CropRule) -> FaceCrop:
    """What the network sees of a face, by the rule of its weights.

    Raises:
        InputError: if the face's box is impossible or outside of the photo.
    """
    if rule != "box":
        return crop_as_original(pixels, face.box, face.landmarks, rule)
    # Landmarks know best how a face lies, whatever a user's own detector has filled in.
    turns = face.quarter_turns if face.landmarks is None else quarter_turns(face.landmarks)
    return crop_face(pixels, face.box, turns)


def landmarks_on_crop(face: Face, crop: FaceCrop) -> Float[np.ndarray, "68 2"]:
    """A face's landmarks in crop pixels, as a guided network takes them.

    Raises:
        InputError: if there are none.
    """
    if face.landmarks is None:
        raise InputError("these weights are of a guided network, which needs landmarks; got a box")
    return apply_similarity(crop.crop_from_photo, face.landmarks[:, :2]).astype(np.float32)
