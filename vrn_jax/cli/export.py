"""`vrn export`: the network as one file that runs without this package."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from vrn_jax.cli.convert import read_weights
from vrn_jax.cli.process import writable_folder
from vrn_jax.errors import InputError

__all__ = ["Export", "export"]


@dataclass(frozen=True)
class Export:
    """Write a network with its weights as StableHLO (for JAX alone) or ONNX.

    Crops as bytes [b 192 192 3] go in, occupancy [b 192 192 200] comes out. A JSON of the same name
    says so, and what the weights are.
    """

    output: tyro.conf.Positional[Path]
    """File to write: .stablehlo for CPUs, CUDA and TPUs, or .onnx, which needs the `onnx` extra."""
    weights: str = "default"
    """Embedded weights by name, or a .safetensors, .pth, .pt or .t7 file."""


def export(options: Export) -> int:
    """Does what `vrn export` says. Raises VrnError or OSError."""
    writable_folder(options.output.parent)
    suffix = options.output.suffix.lower()
    if suffix not in (".stablehlo", ".onnx"):
        raise InputError(f"{options.output} ends in none of .stablehlo, .onnx")
    from vrn_jax.export import export_onnx, export_stablehlo

    write = export_onnx if suffix == ".onnx" else export_stablehlo
    write(options.output, read_weights(Path(options.weights)))
    for path in (options.output, options.output.with_suffix(".json")):
        print(path)
    return 0
