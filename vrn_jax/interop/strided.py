"""Tensors as Torch stores them: sizes, strides and an offset into a flat storage, often shared."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["strided_view"]

_MOST_DIMENSIONS = 8


def strided_view(
    storage: np.ndarray, offset: int, size: Sequence[int], stride: Sequence[int]
) -> np.ndarray:
    """A read-only view of a flat storage; offset and strides count elements. Copies nothing.

    Raises:
        ValueError: if the tensor reaches out of its storage, or repeats parts of it so that it has
            more elements than that. (Real weights never do; a copy could be of any size.)
    """
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor with {len(size)} sizes and {len(stride)} strides")
    if min((offset, *size, *stride)) < 0:
        raise ValueError("a tensor with a negative size, stride or offset")
    count = math.prod(size)
    if count == 0:
        return storage[:0]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(storage) or count > len(storage):
        raise ValueError(
            f"a tensor of {count} elements up to the {last + 1}th in a storage of {len(storage)}"
        )
    return np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * storage.itemsize for step in stride], writeable=False
    )
