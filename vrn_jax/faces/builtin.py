"""The head that comes with the package, so that everything runs without another file.

Made by `scripts/make_builtin_head.py` from MakeHuman data (CC0 1.0; see NOTICE). The asset holds
the coarse mesh; it is smoothed (Catmull-Clark) and made finer here.
"""

from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float, Shaped
from scipy.sparse import csr_matrix

from vrn_jax.faces.assembly import Pieces, assembled
from vrn_jax.faces.head import Head
from vrn_jax.faces.smoothing import Smoothed, catmull_clark
from vrn_jax.faces.topology import triangles

__all__ = ["builtin_head"]


@cache
def builtin_head() -> Head:
    """A head of 72 identity modes and 52 expressions with ICT-FaceKit's names (eyeBlink_L).

    Always the same object; do not write into it.
    """
    asset = files("vrn_jax.assets").joinpath("head.npz")
    with asset.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        values = dict(arrays)
    count = len(values["neutral"])
    smoothed = catmull_clark(values["quads"].astype(np.int32), count)
    new_from_old = csr_matrix(smoothed.new_from_old, dtype=np.float32)
    neutral = new_from_old @ values["neutral"]
    unit = values["unit_cm"]
    faces, _ = triangles(neutral, smoothed.quads)
    return assembled(
        Pieces(
            neutral=neutral,
            identity=_smooth_modes(new_from_old, values["identity"] * unit),
            expression=_smooth_modes(new_from_old, values["expression"] * unit),
            expression_names=tuple(values["expression_names"].tolist()),
            faces=np.concatenate([faces, values["triangles"].astype(np.int32)]),
            landmarks=values["landmarks"].astype(np.int32),
            part=_label(smoothed, values["part"]),
            inside=_label(smoothed, values["inside"]),
            source=str(values["source"]),
        )
    )


def _smooth_modes(
    new_from_old: csr_matrix, modes: Float[np.ndarray, "k v 3"]
) -> Float[np.ndarray, "k n 3"]:
    flat = modes.transpose(1, 0, 2).reshape(modes.shape[1], -1)
    return (new_from_old @ flat).reshape(-1, len(modes), 3).transpose(1, 0, 2)


def _label(smoothed: Smoothed, labels: Shaped[np.ndarray, " v"]) -> Shaped[np.ndarray, " n"]:
    """Old vertices keep their labels; a new one gets the smallest of those it is a mean of."""
    matrix = smoothed.new_from_old
    smallest = np.minimum.reduceat(labels[matrix.indices], matrix.indptr[:-1])
    return np.concatenate([labels, smallest[len(labels) :]])
