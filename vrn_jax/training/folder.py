"""The folder of a run, on a disk or in an object store such as gs://bucket/run."""

import tempfile
from pathlib import Path

from etils import epath

from vrn_jax.interop.weights import Weights, save_weights
from vrn_jax.io.atomic import writing

__all__ = ["is_remote", "write", "write_weights"]


def is_remote(path: epath.PathLike) -> bool:
    """Whether it is a URL: files there cannot be added to, only written as a whole."""
    return "://" in str(path)


def write(path: epath.PathLike, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all."""
    if is_remote(path):
        epath.Path(path).write_bytes(content)  # objects appear when they are complete
        return
    with writing(path) as partial:
        partial.write_bytes(content)


def write_weights(path: epath.PathLike, weights: Weights) -> None:
    """`save_weights` to a disk or an object store."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.safetensors")
        save_weights(file, weights)
        write(path, file.read_bytes())
