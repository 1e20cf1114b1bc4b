"""A `Head` from ICT-FaceKit (Li et al., "Learning Formation of Physically-Based Face Attributes",
CVPR 2020; https://github.com/ICT-VGL/ICT-FaceKit, MIT licence), which the user brings.
"""

import numpy as np
from jaxtyping import Bool, Int, UInt8

from vrn_jax.errors import InputError
from vrn_jax.faces.assembly import Pieces, assembled, compacted
from vrn_jax.faces.head import PARTS, Head
from vrn_jax.faces.ict_files import IctModel
from vrn_jax.faces.topology import components, triangles
from vrn_jax.faces.visibility import ever_seen

__all__ = ["ict_head"]

SOURCE = (
    "ICT-FaceKit, Copyright (c) 2020 USC Institute for Creative Technologies, MIT licence, "
    "https://github.com/ICT-VGL/ICT-FaceKit; cut, closed and made finer by vrn_jax"
)

_PART_OF_MATERIAL = {
    "M_Face": "skin",
    "M_BackHead": "skin",
    "M_ScleraLeft": "sclera",
    "M_ScleraRight": "sclera",
    "M_Teeth": "teeth",
    "M_GumsTongue": "mouth",
}
"""What is kept. Left out: the iris balls, which lie inside the scleras' corneas, and the sheets for
tears, wetness, shadow and lashes, which are meant to be drawn with transparency."""

_IRIS_CM = 0.6

_INNER_PARTS = [PARTS.index(name) for name in ("sclera", "iris", "teeth", "mouth")]

_GRIMACES = tuple(
    tuple(names.split())
    for names in (
        "",
        "jawOpen eyeWide_L eyeWide_R eyeLookUp_L eyeLookUp_R",
        "mouthSmile_L mouthSmile_R mouthUpperUp_L mouthUpperUp_R eyeLookDown_L eyeLookDown_R",
        "jawOpen mouthUpperUp_L mouthUpperUp_R mouthLowerDown_L mouthLowerDown_R eyeWide_L "
        "eyeWide_R eyeLookIn_L eyeLookOut_R",
        "mouthFunnel mouthLowerDown_L mouthLowerDown_R eyeWide_L eyeWide_R eyeLookOut_L "
        "eyeLookIn_R",
    )
)
"""Expressions pulled together to see deep into mouth and eyes."""


def ict_head(model: IctModel) -> Head:
    """Makes a `Head`: what no camera sees is left out, edges are made short, regions found.

    Raises:
        InputError: if skin or eyes are missing.
    """
    if missing := {"M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight"} - set(model.materials):
        raise InputError(
            f"expected a mesh with the materials of ICT-FaceKit, got {', '.join(model.materials)}; "
            f"{', '.join(sorted(missing))} missing"
        )
    faces, quad = triangles(model.neutral, model.quads)
    names = np.array(model.materials)[model.material[quad]]
    kept = np.isin(names, list(_PART_OF_MATERIAL))
    faces, names = faces[kept], names[kept]
    part = np.full(len(model.neutral), PARTS.index("lashes"), np.uint8)
    for material, name in _PART_OF_MATERIAL.items():
        part[faces[names == material]] = PARTS.index(name)
    _colour_irises(model, part)
    inside = _linings(model, faces, names, part)
    pieces = Pieces(
        neutral=model.neutral,
        identity=model.identity,
        expression=model.expression,
        expression_names=model.expression_names,
        faces=faces[_seen(model, faces, part, inside)],
        landmarks=model.landmarks,
        part=part,
        inside=inside,
        source=SOURCE,
    )
    return assembled(compacted(pieces))


def _linings(
    model: IctModel, faces: Int[np.ndarray, "f 3"], names: np.ndarray, part: UInt8[np.ndarray, " v"]
) -> Bool[np.ndarray, " v"]:
    """Finds the bags of mouth and eyes: pieces of the back head apart from the skull.

    Marks the mouth's as part "mouth" in `part`.
    """
    back = faces[names == "M_BackHead"]
    piece = components(len(part), back)
    numbers = np.unique(piece[back[:, 0]])
    inside = np.zeros(len(part), bool)
    front = np.unique(faces[names == "M_Face"])
    extent = [np.ptp(model.neutral[piece == number], axis=0).max() for number in numbers]
    for number, size in zip(numbers, extent, strict=True):
        mine = piece == number
        if size == max(extent):
            continue
        mine[front] = False
        inside |= mine
        if abs(model.neutral[mine, 0].mean()) < 0.5:
            part[mine] = PARTS.index("mouth")
    return inside


def _colour_irises(model: IctModel, part: UInt8[np.ndarray, " v"]) -> None:
    """Turns the fronts of the eyeballs from sclera to iris: around the apex of the cornea."""
    ball = part == PARTS.index("sclera")
    for side in (-1, 1):
        mine = np.flatnonzero(ball & (side * model.neutral[:, 0] > 0))
        points = model.neutral[mine]
        away = points - (points.min(axis=0) + points.max(axis=0)) / 2
        apex = away[np.linalg.norm(away, axis=1).argmax()]
        axis = apex / np.linalg.norm(apex)
        off_axis = np.linalg.norm(away - np.outer(away @ axis, axis), axis=1)
        part[mine[(off_axis < _IRIS_CM) & (away @ axis > 0)]] = PARTS.index("iris")


def _seen(
    model: IctModel,
    faces: Int[np.ndarray, "f 3"],
    part: UInt8[np.ndarray, " v"],
    inside: Bool[np.ndarray, " v"],
) -> Bool[np.ndarray, " f"]:
    """Whether a camera may see a face. Skin and linings are all kept: they close the head."""
    asked = np.all(np.isin(part[faces], _INNER_PARTS) & ~inside[faces], axis=1)
    modes = dict(zip(model.expression_names, model.expression, strict=True))
    shapes = [
        sum((modes[name] for name in names if name in modes), model.neutral) for names in _GRIMACES
    ]
    return ever_seen(shapes, faces, asked)
