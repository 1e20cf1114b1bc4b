"""`vrn compare`: the same weights and photos through PyTorch and through JAX."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vrn_jax.cli.convert import read_weights
from vrn_jax.cli.process import (
    astronaut,
    keep_compiled_programs,
    without_info_lines,
    writable_folder,
)

if TYPE_CHECKING:
    import numpy as np

    from vrn_jax.interop.weights import Weights

__all__ = ["Compare", "compare"]


@dataclass(frozen=True)
class Compare:
    """Show that JAX computes what PyTorch does with the same weights: every stage, volume, mesh.

    Needs the `torch` extra. On a GPU both run there.
    """

    weights: tyro.conf.Positional[str] = "default"
    """Embedded weights by name, a .safetensors, .pth, .pt or .t7 file, or "random": the released
    graph with random weights."""
    photos: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Photos with a face. Without any, the portrait that comes with scikit-image is used."""
    dtypes: tuple[Literal["float32", "float64", "bfloat16"], ...] = ("float32",)
    """What JAX computes in. PyTorch computes in the same, but for bfloat16 in float32."""
    precision: Literal["default", "high", "highest"] = "highest"
    """Of JAX's products of float32: GPUs and TPUs do less by default."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; a picture of both meshes goes beside it, as .png."""


def compare(options: Compare) -> int:
    """Does what `vrn compare` says. Raises VrnError or OSError."""
    if options.output is not None:
        writable_folder(options.output.parent)
    keep_compiled_programs()
    from vrn_jax.bench.parity import compare as compare_with_pytorch
    from vrn_jax.bench.provenance import provenance
    from vrn_jax.bench.tables import parity_table
    from vrn_jax.io.atomic import writing
    from vrn_jax.io.image import write_png

    weights = _weights(options.weights)
    crops, landmarks = _crops(weights, options.photos)
    found = [
        compare_with_pytorch(weights, crops, landmarks, dtype=dtype, precision=options.precision)
        for dtype in options.dtypes
    ]
    command = f"vrn compare {Path(options.weights).name} --dtypes {' '.join(options.dtypes)}"
    numbers = {
        **provenance(command, ("jax", "flax", "numpy", "torch")),
        "runs": [parity.numbers for parity in found],
    }
    print(parity_table(numbers))
    if options.output is not None:
        with writing(options.output) as partial:
            partial.write_text(json.dumps(numbers, indent=1) + "\n")
        write_png(options.output.with_suffix(".png"), found[0].picture())
    return 0


def _weights(name: str) -> "Weights":
    if name != "random":
        return read_weights(Path(name))
    from vrn_jax.bench.parity import random_weights
    from vrn_jax.config import ModelConfig

    return random_weights(ModelConfig())


def _crops(weights: "Weights", photos: tuple[Path, ...]) -> "tuple[np.ndarray, np.ndarray | None]":
    """The largest face of every photo, and its landmarks for a guided network."""
    import numpy as np

    from vrn_jax.batches import cut_out, landmarks_on_crop
    from vrn_jax.detection import FaceDetector
    from vrn_jax.inference import Reconstructor
    from vrn_jax.io.image import read_photo

    with without_info_lines():
        reconstructor = Reconstructor(weights, detector=FaceDetector())
    crops, landmarks = [], []
    for pixels in [read_photo(photo) for photo in photos] or [astronaut()]:
        face = reconstructor.find_faces(pixels)[0]
        crops.append(cut_out(pixels, face, weights.info.crop))
        if weights.info.model.task == "guided":
            landmarks.append(landmarks_on_crop(face, crops[-1]))
    return np.stack([crop.image for crop in crops]), np.stack(landmarks) if landmarks else None
