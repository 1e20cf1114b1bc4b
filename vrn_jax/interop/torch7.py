"""Torch7's binary files (``.t7``): tables, tensors and modules, read without Torch.

A file is one tree of tagged values. Whatever Lua holds by reference (tables, objects, functions)
carries an index and is written once; later occurrences are the index alone, so cycles are possible.
Integers have 4 bytes, "longs" 8, or 4 where a 32-bit machine wrote the file; all little-endian.
Functions are skipped: nothing of a file is ever run.

Every count is checked against the bytes that are left before anything is made of it, so damage and
malice cost no more time and memory than the file's size.

Source: the serialisation of Torch7 itself (``File.lua`` and ``lib/TH/generic``).
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vrn_jax.errors import WeightsError
from vrn_jax.interop.strided import strided_view

__all__ = ["ELEMENTS", "Table", "TorchObject", "read_torch7"]

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN = range(6)
_FUNCTIONS = (6, 7, 8)

ELEMENTS = {
    "Byte": "u1",
    "Char": "i1",
    "Short": "<i2",
    "Int": "<i4",
    "Long": "<i8",
    "Half": "<f2",
    "Float": "<f4",
    "Double": "<f8",
}
"""Element types, by the first part of the names of storages and tensors."""

_CLASSES = {
    f"torch.{place}{'' if place and element == 'Float' else element}{kind}": (kind, np.dtype(code))
    for element, code in ELEMENTS.items()
    for place in ("", "Cuda")
    for kind in ("Tensor", "Storage")
}
"""Class name -> tensor or storage, and its elements. CUDA's float classes do not say "Float"."""

_UNFINISHED = object()
_DEEPEST = 96  # the released network is nested 60 deep


class Table(dict):
    """A Lua table. Like there it is equal to itself only, so it can be a key of another."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(eq=False)
class TorchObject:
    """An object of a Torch class that is no tensor: a network's module, usually."""

    typename: str
    fields: Any = None


def read_torch7(path: str | os.PathLike[str]) -> Any:
    """Reads the value that a file holds.

    Tensors and storages become numpy arrays (views of the file's bytes), other objects
    `TorchObject`, tables `Table`, strings str (byte by byte, Latin-1), whole numbers int; functions
    become None.

    Raises:
        WeightsError: if the file cannot be read or is no binary Torch7 file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    problems = []
    for long_bytes in (8, 4):
        try:
            return _Reader(data, long_bytes).whole()
        except (ValueError, RecursionError) as error:
            problems.append(str(error))
    ascii_hint = ""
    if data[:1].isdigit() and data[1:2] in (b"\n", b"\r"):
        ascii_hint = "; it looks like Torch7's ASCII format: save it in binary"
    raise WeightsError(
        f"{path} is not a whole Torch7 file (little-endian, binary): {problems[0]}{ascii_hint}"
    )


class _Reader:
    def __init__(self, data: bytes, long_bytes: int):
        self.data = data
        self.position = 0
        self.long = {8: "q", 4: "i"}[long_bytes]
        self.objects: dict[int, Any] = {}

    def whole(self) -> Any:
        value = self.value(0)
        if self.position != len(self.data):
            raise ValueError(f"{self.remaining} bytes are left over after the last value")
        return value

    @property
    def remaining(self) -> int:
        return len(self.data) - self.position

    def numbers(self, code: str, count: int = 1) -> tuple:
        layout = f"<{self.count(count, struct.calcsize('<' + code))}{code}"
        found = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return found

    def integer(self) -> int:
        if self.remaining < 4:
            raise ValueError(f"4 bytes cannot follow at byte {self.position} of {len(self.data)}")
        self.position += 4
        return int.from_bytes(self.data[self.position - 4 : self.position], "little", signed=True)

    def count(self, count: int, size: int) -> int:
        """`count`, if so many things of at least `size` bytes can follow."""
        if not 0 <= count * size <= self.remaining:
            raise ValueError(
                f"{count} things of {size} bytes cannot follow at byte {self.position} of "
                f"{len(self.data)}"
            )
        return count

    def string(self) -> str:
        start, size = self.position + 4, self.integer()
        self.position += self.count(size, 1)
        return self.data[start : start + size].decode("latin-1")

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"values are nested more than {_DEEPEST} deep")
        kind = self.integer()
        if kind == NIL:
            return None
        if kind == NUMBER:
            number = self.numbers("d")[0]
            return int(number) if number.is_integer() else number
        if kind == BOOLEAN:
            return self.integer() == 1
        if kind == STRING:
            return self.string()
        if kind not in (TABLE, TORCH, *_FUNCTIONS):
            raise ValueError(f"unknown type {kind} at byte {self.position - 4}")
        index = self.integer()
        if index not in self.objects:
            self.objects[index] = _UNFINISHED
            if kind == TABLE:
                self.table(index, depth)
            elif kind == TORCH:
                self.torch(index, depth)
            else:
                self.function(index, depth)
        if self.objects[index] is _UNFINISHED:
            raise ValueError(f"a tensor that holds itself before byte {self.position}")
        return self.objects[index]

    def function(self, index: int, depth: int) -> None:
        self.objects[index] = None
        self.string()  # its code
        self.value(depth + 1)  # what it closes over

    def table(self, index: int, depth: int) -> None:
        table = self.objects[index] = Table()
        for _ in range(self.count(self.integer(), 8)):  # key and value: a type each, at least
            key = self.value(depth + 1)
            if isinstance(key, np.ndarray):
                raise ValueError(f"a tensor as a table's key before byte {self.position}")
            table[key] = self.value(depth + 1)

    def torch(self, index: int, depth: int) -> None:
        typename = self.string()
        if typename.startswith("V "):  # files from before versions begin with the name
            typename = self.string()
        if typename not in _CLASSES:
            made = self.objects[index] = TorchObject(typename)
            made.fields = self.value(depth + 1)
            return
        kind, dtype = _CLASSES[typename]
        read = self.tensor if kind == "Tensor" else self.storage
        self.objects[index] = read(dtype, depth)

    def storage(self, dtype: np.dtype, depth: int) -> np.ndarray:
        count = self.count(self.numbers(self.long)[0], dtype.itemsize)
        start = self.position
        self.position += count * dtype.itemsize
        return np.frombuffer(self.data, dtype, count, start)

    def tensor(self, dtype: np.dtype, depth: int) -> np.ndarray:
        dimensions = self.integer()
        size, stride = (self.numbers(self.long, dimensions) for _ in range(2))
        offset = self.numbers(self.long)[0] - 1  # Lua counts from 1
        storage = self.value(depth + 1)
        if storage is None or dimensions == 0:
            return np.empty(0, dtype)
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or storage.dtype != dtype:
            raise ValueError(f"a tensor without a storage of its type before byte {self.position}")
        return strided_view(storage, offset, size, stride)
