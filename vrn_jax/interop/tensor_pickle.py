"""The pickle inside PyTorch's files: followed instruction by instruction, and written.

`pickletools` takes the stream apart (which runs nothing); this module knows the few instructions
and the handful of global names that state dicts use.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["Storage", "Tensor", "follow_pickle", "write_pickle"]

_STORAGES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class Storage:
    """What a pickle says of a storage: its name in the file, and `count` elements of `dtype`."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class Tensor:
    """What a pickle says of a tensor: offset, sizes and strides in elements of its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def follow_pickle(stream: io.BytesIO) -> tuple[Any, list[Storage]]:
    """The value of the next pickle in a stream, and the storages it refers to.

    Values are dicts with keys that are strings or numbers, lists, tuples, strings, numbers, None
    and `Tensor`. Objects' attributes are ignored.

    Raises:
        ValueError: on anything that no state dict holds.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            return machine.pop(), list(machine.storages.values())
        machine.step(opcode.name, argument)
    raise ValueError("its pickle has no end")


_MARK = object()


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.top()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            if argument not in self.memo:
                raise ValueError("its pickle refers to a value that is not there")
            stack.append(self.memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = tuple(self.pop() for _ in range(int(name[-1])))
            stack.append(items[::-1])
        elif name == "TUPLE":
            stack.append(tuple(self.pop_to_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            pairs = self.pop_to_mark() if name == "SETITEMS" else [self.pop(), self.pop()][::-1]
            _set_items(self.top(), pairs)
        elif name in ("APPEND", "APPENDS"):
            items = self.pop_to_mark() if name == "APPENDS" else [self.pop()]
            _checked(self.top(), list).extend(items)
        elif name == "GLOBAL":
            stack.append(_Global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            names = [_checked(self.pop(), str) for _ in range(2)]
            stack.append(_Global(names[1], names[0]))
        elif name == "REDUCE":
            arguments = _checked(self.pop(), tuple)
            stack.append(_call(self.pop(), arguments))
        elif name == "BINPERSID":
            stack.append(self.storage(_checked(self.pop(), tuple)))
        elif name == "BUILD":  # the attributes of an ordered dict: versions of its modules
            self.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"its pickle has the instruction {name}, which no state dict needs")

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("its pickle takes more values than it has")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("its pickle takes more values than it has")

    def storage(self, identity: tuple) -> Storage:
        match identity:
            case ("storage", _Global() as kind, str() as key, str(), int() as count, *view):
                if view not in ([], [None]):
                    raise ValueError("it has views of storages, as only PyTorch 0.1 wrote them")
                dtype = _STORAGES.get(kind.name)
                if dtype is None or kind.module not in ("torch", "torch.cuda"):
                    raise ValueError(f"storages of type {kind} are not supported")
                storage = Storage(key, np.dtype(dtype), count)
                if self.storages.setdefault(key, storage) != storage:
                    raise ValueError("two storages have the same name")
                return storage
        raise ValueError("its pickle refers to something that is no storage")


@dataclass(frozen=True)
class _Global:
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_PUSHES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "STRING",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle has a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _set_items(target: Any, pairs: list[Any]) -> None:
    _checked(target, dict)
    if len(pairs) % 2:
        raise ValueError("its pickle sets a key without a value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        # Tuples nested in tuples can take for ever to hash.
        if not isinstance(key, str | int | float):
            raise ValueError(f"its pickle has a {type(key).__name__} as a key")
        target[key] = value


def _call(function: Any, arguments: tuple) -> Any:
    """What the few functions return that state dicts call."""
    match str(_checked(function, _Global)), arguments:
        case "collections.OrderedDict", ():
            return {}
        case "collections.OrderedDict", (list() as pairs,):  # Python 2 wrote lists of pairs
            made: dict = {}
            for pair in pairs:
                _set_items(made, list(pair) if isinstance(pair, list | tuple) else [pair])
            return made
        case "torch.Size", (tuple() as size,):
            return size
        case (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            (Storage() as storage, int() as offset, tuple() as size, tuple() as stride, *_),
        ) if all(isinstance(n, int) for n in (*size, *stride)):
            return Tensor(storage, offset, size, stride)
        case "torch._utils._rebuild_parameter", (Tensor() as tensor, *_):
            return tensor
    raise ValueError(f"its pickle calls {function}, which no state dict does")


def write_pickle(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """The pickle of a state dict of float32 tensors: number i is the storage named `i`, in C order.

    Protocol 2, as `torch.save` writes it.
    """
    parts = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for i, (key, shape) in enumerate(shapes.items()):
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        identity = b"".join(
            [_text("storage"), b"ctorch\nFloatStorage\n", _text(str(i)), _text("cpu")]
        )
        parts += [
            _text(key),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            identity + _integer(int(np.prod(shape))) + b"tQ",
            _integer(0) + _integers(shape) + _integers(strides),
            b"\x89ccollections\nOrderedDict\n)RtR",  # no gradient, no hooks
        ]
    return b"".join([*parts, b"u."])


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
