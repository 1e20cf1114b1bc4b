"""The morphable head, and the file it travels in.

A head is a triangle mesh of fixed topology that moves linearly: neutral + identity modes +
expression modes. Everything the renderer and the voxeliser need to know of it, and nothing of where
it came from, is in `Head`; `faces.builtin` and `faces.ict` make one.

Head frame: centimetres, x to the viewer's right, y up, z to the viewer, right-handed; the neutral
head looks along +z.
"""

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing

__all__ = ["MASKS", "PARTS", "Head", "load_head", "save_head"]

PARTS = ("skin", "sclera", "iris", "teeth", "mouth", "lashes")
"""What a vertex belongs to, in the order of `Head.part`. "mouth" is gums, tongue and throat; "iris"
is iris and pupil together."""

MASKS = ("lips", "brows", "beard", "moustache", "scalp", "cheeks", "lids")
"""Names of the soft regions of skin in the order of `Head.masks`: the red of the lips, where brows
grow, where a beard and a moustache grow, where hair grows on the skull (hairline to nape, not the
ears), where cheeks blush, and the lids with the shadow around the eyes."""


@dataclass(frozen=True, eq=False)
class Head:
    """A morphable head. Lengths in centimetres, in the head frame (see the module).

    `identity` displaces the neutral vertices by modes whose coefficients are standard normal over
    people; `expression` by modes with weights in [0, 1], named by `expression_names`.
    `faces` are wound outward, and none is longer than about 0.4 cm where a camera may see it.
    `mirror` is the vertex each vertex falls on when left and right are swapped.
    `landmarks` are the vertices of the 68 iBUG points in order.
    `part` is an index into `PARTS`, `masks` are in [0, 1] in the order of `MASKS`.
    `solid` marks the face region of VRN's volumes: forehead to below the chin, ear to ear, without
    ears and neck; a triangle is part of it if its three vertices are.
    `source` says who made the data and under which licence.
    """

    neutral: Float[np.ndarray, "v 3"]
    identity: Float[np.ndarray, "i v 3"]
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]
    faces: Int[np.ndarray, "f 3"]
    mirror: Int[np.ndarray, " v"]
    landmarks: Int[np.ndarray, " 68"]
    part: UInt8[np.ndarray, " v"]
    masks: Float[np.ndarray, "v m"]
    solid: Bool[np.ndarray, " v"]
    source: str

    def __post_init__(self) -> None:
        if problems := _problems(self):
            raise InputError("this is no morphable head: " + "; ".join(problems))

    @property
    def region_faces(self) -> Int[np.ndarray, "f 3"]:
        """The triangles of the face region."""
        return self.faces[self.solid[self.faces].all(axis=1)]

    def shape(
        self, identity: Float[np.ndarray, " i"], expression: Float[np.ndarray, " e"]
    ) -> Float[np.ndarray, "v 3"]:
        """The vertices for given coefficients; the same sum as the renderer's, in numpy."""
        moved = np.tensordot(identity, self.identity, 1) + np.tensordot(
            expression, self.expression, 1
        )
        return (self.neutral + moved).astype(np.float32)


def save_head(path: Path, head: Head) -> None:
    """Writes a head as compressed .npz. Modes are stored as float16 (about 1e-4 cm)."""
    arrays: dict[str, Any] = {f.name: getattr(head, f.name) for f in fields(Head)}
    for name in ("identity", "expression", "masks"):
        arrays[name] = arrays[name].astype(np.float16)
    for name in ("expression_names", "source"):
        arrays[name] = np.array(json.dumps(arrays[name]))
    with writing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_head(path: Path) -> Head:
    """Reads a head that `save_head` wrote.

    Raises:
        InputError: if the file is missing, damaged, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            values: dict[str, Any] = {f.name: arrays[f.name] for f in fields(Head)}
            names = json.loads(str(values["expression_names"]))
            values |= {
                "expression_names": tuple(names),
                "source": json.loads(str(values["source"])),
            }
        for name in ("neutral", "identity", "expression", "masks"):
            values[name] = values[name].astype(np.float32)
        for name in ("faces", "mirror", "landmarks"):
            values[name] = values[name].astype(np.int32)
    except FileNotFoundError as error:
        raise InputError(f"there is no head file {path}; `vrn data head` makes one") from error
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no head file ({error}); `vrn data head` makes one from ICT-FaceKit's files"
        ) from error
    return Head(**values)


def _problems(head: Head) -> list[str]:
    """What does not fit together; empty for a usable head."""
    count = len(head.neutral)
    expected = {
        "neutral": (count, 3),
        "identity": (len(head.identity), count, 3),
        "expression": (len(head.expression_names), count, 3),
        "faces": (len(head.faces), 3),
        "mirror": (count,),
        "landmarks": (68,),
        "part": (count,),
        "masks": (count, len(MASKS)),
        "solid": (count,),
    }
    problems = [
        f"{name} has shape {getattr(head, name).shape}, expected {shape}"
        for name, shape in expected.items()
        if getattr(head, name).shape != shape
    ]
    for name in ("neutral", "identity", "expression", "masks"):
        if not np.isfinite(getattr(head, name)).all():
            problems.append(f"{name} has NaN or infinity")
    for name in ("faces", "mirror", "landmarks"):
        values = getattr(head, name)
        if values.size and not 0 <= values.min() <= values.max() < count:
            problems.append(f"{name} names vertices outside 0..{count - 1}")
    return problems
