"""What a data set says of itself: how it was made, of what, and whom to cite."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vrn_jax.faces.source import FaceSource
from vrn_jax.version import __version__

__all__ = ["CITATION", "HOMEPAGE", "SPLITS", "description", "difference", "licence", "plan_of"]

SPLITS = {False: "train", True: "test"}
"""Name of the split of a source, by whether it is held out."""

HOMEPAGE = "https://arxiv.org/abs/1703.07834"

CITATION = """@inproceedings{jackson2017vrn,
  title = {Large Pose {3D} Face Reconstruction from a Single Image
           via Direct Volumetric {CNN} Regression},
  author = {Jackson, Aaron S. and Bulat, Adrian and Argyriou, Vasileios
            and Tzimiropoulos, Georgios},
  booktitle = {International Conference on Computer Vision (ICCV)},
  year = {2017},
}"""
"""Of the method that the faces are made for."""

_DESCRIPTION = """Made faces for volumetric regression, rendered by vrn_jax {version}: no photo of \
a person is in here as it was.

image: crop of 192 x 192 pixels, RGB. landmarks: the 68 iBUG points (x, y, z) in crop pixels,
x right, y down, z to the viewer, 0 at the solid's front-most point. visible: which of them the
picture shows. volume: occupancy of 192 rows x 192 columns x 200 depth planes, eight planes to a
byte (numpy.unpackbits(volume, axis=-1)); a plane is half a pixel deep, a larger one nearer the
viewer, and z = 0 is plane 178. attributes: angles in degrees, shares in 0..1. number: of the sample
in the stream of its seed; the streams of train and test share neither samples nor portraits.

Made with:
{plan}"""


def plan_of(
    parts: Sequence[tuple[FaceSource, int]], made_from: Mapping[str, str], faces_per_shard: int
) -> dict[str, Any]:
    """All that decides what is in the files, as plain values of JSON."""
    plan = {
        "vrn_jax": __version__,
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "made_from": dict(made_from),
        "faces_per_shard": faces_per_shard,
        "splits": {SPLITS[source.held_out]: _part(source, count) for source, count in parts},
    }
    return json.loads(json.dumps(plan))  # tuples become lists, as in a file


def _part(source: FaceSource, count: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((source.model, source.portraits)):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "count": count,
        "seed": source.seed,
        "portraits": 0 if source.portraits is None else len(source.portraits.colours),
        "sha256": digest.hexdigest(),
        "settings": dataclasses.asdict(source.settings),
    }


def description(plan: dict[str, Any]) -> str:
    """For TFDS's `DatasetInfo`."""
    return _DESCRIPTION.format(version=plan["vrn_jax"], plan=json.dumps(plan, indent=1))


def licence(plan: dict[str, Any]) -> str:
    """What the terms of this data set depend on; vrn_jax adds none of its own."""
    lines = [f"{what}: {whose}" for what, whose in plan["made_from"].items()]
    return "\n".join(["vrn_jax adds no terms of its own. The faces were made from", *lines])


def difference(found: Any, plan: dict[str, Any]) -> str:
    """The first entry in which two plans differ, in words; empty if they are equal."""
    ours, theirs = dict(_flat(plan)), dict(_flat(found))
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        if ours.get(name) != theirs.get(name):
            return f"{name} {theirs.get(name)}, not {ours.get(name)}"
    return ""


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [
        pair for key, inner in value.items() for pair in _flat(inner, f"{prefix}.{key}".strip("."))
    ]
