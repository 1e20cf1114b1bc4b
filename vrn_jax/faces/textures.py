"""Texture sets: the colours and fits of many portraits on one head, and the file they travel in."""

import hashlib
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.faces.head import Head
from vrn_jax.faces.identities import IdentityDistribution
from vrn_jax.io.atomic import writing

__all__ = ["TextureSet", "fingerprint", "is_held_out", "load_textures", "save_textures"]

HELD_OUT_OF = 8


@dataclass(frozen=True, eq=False)
class TextureSet:
    """Portraits fitted to one head.

    `colours` are RGB a vertex, in even light. `identity`, `expression`, `photo_from_head` and
    `residual` are those of `HeadFit`; `seen` is the share of the face, 0..1, that the portrait
    showed. `held_out` marks those that nothing may be trained on; `identities`, how people differ,
    is fitted to the others. `head` is the `fingerprint` of the head all this belongs to.
    """

    head: str
    names: tuple[str, ...]
    colours: UInt8[np.ndarray, "n v 3"]
    identity: Float[np.ndarray, "n i"]
    expression: Float[np.ndarray, "n e"]
    photo_from_head: Float[np.ndarray, "n 3 4"]
    residual: Float[np.ndarray, " n"]
    seen: Float[np.ndarray, " n"]
    held_out: Bool[np.ndarray, " n"]
    identities: IdentityDistribution

    def __post_init__(self) -> None:
        counts = {
            f.name: len(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("head", "identities")
        }
        if len(set(counts.values())) != 1:
            raise InputError(f"a texture set needs one row a portrait everywhere, got {counts}")


def is_held_out(name: str) -> bool:
    """Whether a portrait of this name is kept from training: about one in eight, always the same.

    A folder's portraits keep their sides when others join them.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % HELD_OUT_OF == 0


def fingerprint(head: Head) -> str:
    """The SHA-256 of a head's arrays, as they are after saving and loading."""
    digest = hashlib.sha256()
    for field in fields(Head):
        value = getattr(head, field.name)
        if field.name in ("identity", "expression", "masks"):
            value = value.astype(np.float16)
        if isinstance(value, np.ndarray):
            digest.update(f"{field.name} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def save_textures(path: Path, textures: TextureSet) -> None:
    """Writes a texture set as compressed .npz."""
    arrays: dict[str, Any] = {f.name: getattr(textures, f.name) for f in fields(TextureSet)}
    distribution = arrays.pop("identities")
    arrays |= {
        "head": np.array(textures.head),
        "names": np.array(json.dumps(textures.names)),
        "identities_mean": distribution.mean,
        "identities_transform": distribution.transform,
    }
    with writing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_textures(path: Path, head: Head) -> TextureSet:
    """Reads a texture set that `save_textures` wrote.

    Raises:
        InputError: if the file is missing or damaged, or belongs to another head.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            values: dict[str, Any] = {
                f.name: arrays[f.name] for f in fields(TextureSet) if f.name != "identities"
            }
            values["head"] = str(values["head"])
            values["names"] = tuple(json.loads(str(values["names"])))
            values["identities"] = IdentityDistribution(
                arrays["identities_mean"], arrays["identities_transform"]
            )
    except FileNotFoundError as error:
        raise InputError(
            f"there are no textures at {path}; `vrn data textures` makes them"
        ) from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no texture set ({error}); `vrn data textures` makes one"
        ) from error
    if values["head"] != fingerprint(head):
        raise InputError(
            f"the textures in {path} were made for another head; make them anew with "
            "`vrn data textures --head` and this one"
        )
    return TextureSet(**values)
