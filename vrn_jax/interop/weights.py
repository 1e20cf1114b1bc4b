"""Weights files: safetensors with one tensor a layer, and a JSON header that says what they are.

The header carries all that is needed to use the weights rightly (network, grid, input range,
batch normalisation, threshold), so no flag can contradict them, and all that is needed to use
them lawfully (licence, training data).
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from vrn_jax.errors import WeightsError
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.interop.mapping import layer_tensors, variables_from_layers
from vrn_jax.io.atomic import writing
from vrn_jax.presets import from_dict

__all__ = [
    "NAMED_WEIGHTS",
    "Weights",
    "WeightsInfo",
    "has_header",
    "load_weights",
    "save_weights",
]

NAMED_WEIGHTS = {"default": "default.safetensors"}
"""Weights embedded in the package: name -> file in `vrn_jax/assets`."""

_HEADER = "vrn_jax"
_FORMAT = 1


@dataclass(frozen=True)
class Weights:
    """A network's variables {"params", "batch_stats"}, float32 numpy arrays, and their header."""

    info: WeightsInfo
    variables: dict


def has_header(path: str | os.PathLike[str]) -> bool:
    """Whether this is a safetensors file with our header; False where there is no such file."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return _HEADER in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def load_weights(name_or_path: str | os.PathLike[str] = "default") -> Weights:
    """Reads embedded weights by name, or a file by path, and checks its sha256.

    Raises:
        WeightsError: if there is no such file, it is damaged, its header is missing or not
            understood, or its tensors are not those of the network in its header.
    """
    path = _resolve(name_or_path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(_HEADER)
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"cannot read weights from {path}: {error}") from error
    info = _parse_header(header, path)
    if (found := _sha256(tensors)) != info.sha256:
        raise WeightsError(
            f"{path} is damaged: its tensors have sha256 {found}, its header says {info.sha256}; "
            "get the file again"
        )
    return Weights(info, variables_from_layers(tensors, info.model))


def save_weights(
    path: str | os.PathLike[str], weights: Weights, *, bfloat16_kernels: bool = False
) -> WeightsInfo:
    """Writes a weights file, at once or not at all, and returns the header with its sha256.

    With `bfloat16_kernels` the convolution kernels are rounded to bfloat16, which halves the file.

    Raises:
        WeightsError: if the variables are not those of the network in the header.
        OSError: if the file cannot be written.
    """
    tensors = {
        name: tensor.astype(ml_dtypes.bfloat16)
        if bfloat16_kernels and name.endswith(".kernel")
        else tensor
        for name, tensor in layer_tensors(weights.variables).items()
    }
    variables_from_layers(tensors, weights.info.model)  # what cannot be loaded is not written
    info = dataclasses.replace(weights.info, sha256=_sha256(tensors))
    header = json.dumps({"format": _FORMAT} | dataclasses.asdict(info))
    with writing(path) as partial:
        partial.write_bytes(safetensors.numpy.save(tensors, metadata={_HEADER: header}))
    return info


def _resolve(name_or_path: str | os.PathLike[str]) -> Path:
    if name_or_path in NAMED_WEIGHTS:
        return Path(str(resources.files("vrn_jax.assets") / NAMED_WEIGHTS[str(name_or_path)]))
    path = Path(name_or_path)
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}; give a .safetensors file or a name: {', '.join(NAMED_WEIGHTS)}"
        )
    return path


def _parse_header(header: str | None, path: Path) -> WeightsInfo:
    if header is None:
        raise WeightsError(
            f"{path} has no vrn_jax header, so it does not say how it is to be used; make a file "
            "that does with vrn convert"
        )
    try:
        fields = dict(json.loads(header))
        version = fields.pop("format", None)
        if version != _FORMAT:
            raise ValueError(f"format {version!r}, this version of vrn_jax reads {_FORMAT}")
        return from_dict(WeightsInfo, fields)
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"the header of {path} is not understood: {error}") from error


def _sha256(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).view(np.uint8).tobytes())
    return digest.hexdigest()
