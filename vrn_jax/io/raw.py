"""The original release's ``.raw`` volumes: bytes in the order plane, row, column.

A byte is the probability times 255, cut off. The official scripts read them as *signed* bytes, so
that everything over 127 turns negative; they are unsigned.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.io.atomic import writing

__all__ = ["read_raw", "write_raw"]


def write_raw(path: str | os.PathLike[str], occupancy: Float[np.ndarray, "h w d"]) -> None:
    """Writes a volume of probabilities, 0..1, at once or not at all."""
    planes_first = np.moveaxis(np.asarray(occupancy, np.float32), 2, 0)
    with writing(path) as partial:
        partial.write_bytes((planes_first * 255).astype(np.uint8).tobytes())


def read_raw(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w d"]:
    """Reads a 192x192x200 volume, 0..255, rows first.

    Raises:
        InputError: if the file cannot be read or has another size.
    """
    rows, columns, planes = VRN_GRID.shape
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the volume {os.fspath(path)}: {error}") from error
    if len(data) != rows * columns * planes:
        raise InputError(
            f"{os.fspath(path)} has {len(data):,} bytes, a volume of {planes} x {rows} x {columns} "
            f"has {rows * columns * planes:,}"
        )
    return np.moveaxis(np.frombuffer(data, np.uint8).reshape(planes, rows, columns), 0, 2)
