"""From the raw pieces of any morphable head to a `Head`: finer, mirrored, with regions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from vrn_jax.faces.head import PARTS, Head
from vrn_jax.faces.regions import face_region, skin_masks
from vrn_jax.faces.topology import carried, mirrored, refined, vertex_normals

__all__ = ["Pieces", "assembled", "compacted"]

FINE_CM = 0.42
COARSE_CM = 0.84


@dataclass(frozen=True)
class Pieces:
    """A head before it is made finer: arrays as in `Head`, and `inside`: skin that is only seen
    through the openings of eyes and mouth."""

    neutral: Float[np.ndarray, "v 3"]
    identity: Float[np.ndarray, "i v 3"]
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]
    faces: Int[np.ndarray, "f 3"]
    landmarks: Int[np.ndarray, " 68"]
    part: UInt8[np.ndarray, " v"]
    inside: Bool[np.ndarray, " v"]
    source: str


def assembled(pieces: Pieces) -> Head:
    """Subdivides until edges obey `FINE_CM` (`COARSE_CM` at the back and inside), adds regions."""
    normals = vertex_normals(pieces.neutral, pieces.faces)
    finer = refined(pieces.neutral, pieces.faces, _longest(pieces, normals))
    neutral = carried(pieces.neutral, finer.parents)
    part = _of_parents(pieces.part, finer.parents)
    normals = vertex_normals(neutral, finer.faces)
    return Head(
        neutral=neutral,
        identity=carried(pieces.identity, finer.parents, axis=1),
        expression=carried(pieces.expression, finer.parents, axis=1),
        expression_names=pieces.expression_names,
        faces=finer.faces,
        mirror=mirrored(neutral, part),
        landmarks=pieces.landmarks.astype(np.int32),
        part=part,
        masks=skin_masks(neutral, pieces.landmarks, part, normals),
        solid=face_region(neutral, pieces.landmarks, part),
        source=pieces.source,
    )


def compacted(pieces: Pieces) -> Pieces:
    """Without the vertices that are in no face."""
    used = np.unique(np.concatenate([pieces.faces.ravel(), pieces.landmarks]))
    number = np.full(len(pieces.neutral), -1, np.int32)
    number[used] = np.arange(len(used))
    return Pieces(
        neutral=pieces.neutral[used],
        identity=pieces.identity[:, used],
        expression=pieces.expression[:, used],
        expression_names=pieces.expression_names,
        faces=number[pieces.faces],
        landmarks=number[pieces.landmarks],
        part=pieces.part[used],
        inside=pieces.inside[used],
        source=pieces.source,
    )


def _longest(pieces: Pieces, normals: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, " v"]:
    """How long edges may be: fine where the face is, coarse where no photo looks closely."""
    marks = pieces.neutral[pieces.landmarks]
    chin, ear = marks[8, 1], marks[[0, 16], 2].mean()
    behind = (normals[:, 2] < -0.3) | (pieces.neutral[:, 2] < ear - 3.0)
    far = behind | (pieces.neutral[:, 1] < chin - 3.0) | pieces.inside
    mouth = pieces.part == PARTS.index("mouth")
    return np.where(far | mouth, COARSE_CM, FINE_CM)


def _of_parents(values: np.ndarray, parents: Int[np.ndarray, "n 2"]) -> np.ndarray:
    """Carries labels on: a vertex between two labels gets the smaller one."""
    result = np.concatenate([values, np.zeros(len(parents), values.dtype)])
    for row, (first, second) in enumerate(parents, start=len(values)):
        result[row] = min(result[first], result[second])
    return result
