"""Landmarks by hand: 68 iBUG points from the files people keep them in."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vrn_jax.errors import InputError

__all__ = ["read_landmarks"]


def read_landmarks(path: str | Path) -> Float[np.ndarray, "68 c"]:
    """Points (x, y) or (x, y, z) in photo pixels; an integer is the centre of a pixel.

    By suffix: ``.npy``; ``.json`` (a list of lists, or what `vrn reconstruct --save json` wrote);
    ``.pts`` as the iBUG data sets have it, which counts pixels from 1; anything else as a text of
    two or three numbers a line.

    Raises:
        InputError: if the file cannot be read or holds anything but 68 points.
    """
    path = Path(path)
    try:
        points = _parse(path)
    except (OSError, ValueError, TypeError, EOFError, KeyError) as error:
        raise InputError(f"cannot read landmarks from {path}: {error}") from error
    if points.shape not in ((68, 2), (68, 3)):
        raise InputError(f"{path} must hold 68 points of 2 or 3 numbers, got {points.shape}")
    return points


def _parse(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        stored = json.loads(text)
        return np.array(
            stored["landmarks_ibug68"] if isinstance(stored, dict) else stored, np.float64
        )
    if path.suffix == ".pts":
        _, brace, rest = text.partition("{")
        if not brace:
            raise ValueError("a .pts file lists its points between { and }")
        return _numbers(rest.partition("}")[0]) - 1.0
    return _numbers(text.replace(",", " "))


def _numbers(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.splitlines() if line.strip()], np.float64)
