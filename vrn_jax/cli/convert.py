"""`vrn convert`: weights of the original and of its PyTorch ports to ours, and back."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vrn_jax.cli.process import writable_folder
from vrn_jax.errors import InputError

if TYPE_CHECKING:
    from vrn_jax.interop.weights import Weights

__all__ = ["Convert", "convert", "read_weights"]

InputRange = Literal["0..1", "-1..1", "0..255"]
_RANGES: dict[str, tuple[float, float]] = {
    "0..1": (1 / 255, 0.0),
    "-1..1": (1 / 127.5, -1.0),
    "0..255": (1.0, 0.0),
}


@dataclass(frozen=True)
class Convert:
    """Convert weights between Torch7 (.t7), PyTorch (.pth, .pt) and vrn_jax (.safetensors).

    Files of other frameworks do not say how they are to be used. What is not given below is taken
    to be as in the authors' release.
    """

    input: tyro.conf.Positional[Path]
    """A .t7, .pth, .pt or .safetensors file, or the name of embedded weights."""
    output: tyro.conf.Positional[Path]
    """File to write; its suffix says the format."""
    keys: Literal["nested", "named"] = "nested"
    """Of a state dict to write: positions as in the public port, or names of layers."""
    name: str | None = None
    """What the weights shall be called. Default: the name of the input."""
    licence: str | None = None
    """Their licence."""
    training_data: str | None = None
    """What they were trained on."""
    norm: Literal["image", "running"] | None = None
    """Batch normalisation by the statistics of each image (the original), or by stored averages."""
    input_range: InputRange | None = None
    """Of the picture's values. The original: 0..1."""
    channels: Literal["rgb", "bgr"] | None = None
    """Their order. The original: rgb; the demonstration of the PyTorch port: bgr, 0..255."""
    crop: Literal["box", "run.sh", "run.m"] | None = None
    """Centred on the box, or as in the original's scripts. The original: run.sh."""
    upsampling: Literal["align_corners", "half_pixel", "asymmetric"] | None = None
    """Torch7 and so the original; PyTorch since 0.4; the Keras port."""
    threshold: float | None = None
    """Occupancy at the surface, 0 to 1. The original: 10 / 255."""


def convert(options: Convert) -> int:
    """Does what `vrn convert` says. Raises VrnError or OSError."""
    writable_folder(options.output.parent)
    suffix = options.output.suffix.lower()
    if suffix not in (".t7", ".pth", ".pt", ".safetensors"):
        raise InputError(f"{options.output} ends in none of .t7, .pth, .pt, .safetensors")
    from vrn_jax.interop.foreign import write_foreign
    from vrn_jax.interop.weights import save_weights

    weights = read_weights(options.input)
    try:
        info = dataclasses.replace(weights.info, **_changes(options))
    except ValueError as error:
        raise InputError(str(error)) from error
    if suffix == ".safetensors":
        info = save_weights(options.output, dataclasses.replace(weights, info=info))
        print(json.dumps(dataclasses.asdict(info), indent=1))
    else:
        write_foreign(options.output, weights.variables, info.model, options.keys)
        print("The file does not say this; whoever uses it must know:")
        print(json.dumps(dataclasses.asdict(dataclasses.replace(info, sha256="")), indent=1))
    return 0


def read_weights(source: Path) -> "Weights":
    """Embedded weights by name, our files, and those of other frameworks, used as the original is.

    Raises:
        WeightsError: if the file cannot be read or is not of one of our networks.
    """
    from vrn_jax.interop.foreign import read_foreign
    from vrn_jax.interop.info import original_info
    from vrn_jax.interop.mapping import variables_from_layers
    from vrn_jax.interop.weights import Weights, has_header, load_weights

    if source.suffix == "" or has_header(source):
        return load_weights(str(source))
    layers, config = read_foreign(source)
    info = original_info(config, name=source.stem, licence="not stated", training_data="not stated")
    return Weights(info, variables_from_layers(layers, config))


def _changes(options: Convert) -> dict:
    """The fields of the header that the user has given."""
    names = ("name", "licence", "training_data", "norm", "channels", "crop", "upsampling")
    changes = {name: getattr(options, name) for name in (*names, "threshold")}
    if options.input_range is not None:
        changes["input_scale"], changes["input_offset"] = _RANGES[options.input_range]
    return {name: value for name, value in changes.items() if value is not None}
