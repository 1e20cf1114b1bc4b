"""Torch7 networks: their tensors by position, and the released graph as a ``.t7`` file."""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vrn_jax.errors import WeightsError
from vrn_jax.interop.released import Module, walk
from vrn_jax.interop.torch7 import (
    BOOLEAN,
    NIL,
    NUMBER,
    STRING,
    TABLE,
    TORCH,
    Table,
    TorchObject,
)

__all__ = ["check_graph", "module_tensors", "torch7_bytes"]

_PARAMETERS = ("weight", "bias", "running_mean", "running_var")
_MOST_MODULES = 20_000  # the released network has 1,339
_CLASSES = {
    "Convolution": ("SpatialConvolution", "SpatialConvolutionMM"),
    "BatchNorm": ("SpatialBatchNormalization",),
    "MaxPool": ("SpatialMaxPooling",),
    "UpsampleNearest": ("SpatialUpSamplingNearest",),
    "UpsampleBilinear": ("SpatialUpSamplingBilinear",),
}
"""Torch7's classes, without "nn." or "cudnn.", where they are not called as we call the kind."""


def module_tensors(network: object) -> dict[str, np.ndarray]:
    """The parameters and statistics of a network read from a file, by position: "3.0.0.0.weight".

    Raises:
        WeightsError: if this is no network, or one that contains itself.
    """
    return {
        f"{path}.{name}": tensor
        for path, module in _modules(network)
        for name in _PARAMETERS
        if isinstance(tensor := _fields(module).get(name), np.ndarray)
    }


def check_graph(network: object, expected: Module) -> None:
    """Compares the classes of a network's modules with the graph they should form.

    Raises:
        WeightsError: its `problems` list every position where another module stands.
    """
    found = {path: module.typename.rpartition(".")[2] for path, module in _modules(network)}
    wanted, problems = dict(walk(expected)), []
    for path, module in wanted.items():
        allowed = _CLASSES.get(module.kind, (module.kind,))
        if found.get(path) not in allowed:
            problems.append(
                f"module {path or 'at the root'} is {found.get(path)}, not {allowed[0]}"
            )
    problems += [f"module {path} is left over" for path in found if path not in wanted]
    if problems:
        raise WeightsError(
            f"this Torch7 network is not VRN's graph: {'; '.join(problems[:5])}"
            + (f"; and {len(problems) - 5} more" if len(problems) > 5 else ""),
            tuple(problems),
        )


def _modules(network: object) -> Iterator[tuple[str, TorchObject]]:
    """Positions and modules, depth first."""
    waiting, seen = [("", network, 0)], 0
    while waiting:
        path, module, depth = waiting.pop()
        seen += 1
        if not isinstance(module, TorchObject) or seen > _MOST_MODULES or depth > 64:
            raise WeightsError(
                "this Torch7 file holds no plain network of nn modules, or one that contains itself"
            )
        yield path, module
        children = _fields(module).get("modules")
        if isinstance(children, Table):
            below = [children.get(i + 1) for i in range(len(children))]
            waiting += [
                (f"{path}.{i}" if path else str(i), child, depth + 1)
                for i, child in reversed(list(enumerate(below)))
            ]


def _fields(module: TorchObject) -> Table:
    return module.fields if isinstance(module.fields, Table) else Table()


def torch7_bytes(graph: Module, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The ``.t7`` file of a network with float32 `tensors`, by position. Its modules are of "nn".

    They have the fields that a forward pass of Torch7 needs and no gradients, in training mode, as
    in the release.
    """
    return _Writer().written(_torch_object(graph, "", tensors))


def _torch_object(module: Module, path: str, tensors: Mapping[str, np.ndarray]) -> TorchObject:
    name = _CLASSES.get(module.kind, (module.kind,))[0]
    fields: dict[str, Any] = {
        "_type": "torch.FloatTensor",
        "train": True,
        "output": np.empty(0, np.float32),
        "gradInput": np.empty(0, np.float32),
        **{p: tensors[f"{path}.{p}"] for p in _PARAMETERS if f"{path}.{p}" in tensors},
    }
    if module.kind in ("Sequential", "ConcatTable"):
        children = [
            _torch_object(child, f"{path}.{i}" if path else str(i), tensors)
            for i, child in enumerate(module.children)
        ]
        fields["modules"] = Table(enumerate(children, 1))
    elif module.kind == "Convolution":
        out, into, height, width = fields["weight"].shape
        step = 2 if module.layer == "stem.conv" else 1
        fields |= {"nInputPlane": into, "nOutputPlane": out, "kW": width, "kH": height}
        fields |= {"dW": step, "dH": step, "padW": width // 2, "padH": height // 2}
    else:
        fields |= _SETTINGS.get(module.kind, {})
    return TorchObject(f"nn.{name}", Table(fields))


_SETTINGS: dict[str, dict[str, Any]] = {
    "BatchNorm": {"eps": 1e-5, "momentum": 0.1, "affine": True},
    "ReLU": {"threshold": 0, "val": 0, "inplace": False},
    "CAddTable": {"inplace": False},
    "MaxPool": {"kW": 2, "kH": 2, "dW": 2, "dH": 2, "padW": 0, "padH": 0, "ceil_mode": False},
    "UpsampleNearest": {"scale_factor": 2},
    "UpsampleBilinear": {"scale_factor": 4},
}


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.objects = 0

    def written(self, value: Any) -> bytes:
        self.value(value)
        return b"".join(self.parts)

    def pack(self, layout: str, *values: float) -> None:
        self.parts.append(struct.pack(f"<{layout}", *values))

    def string(self, text: str) -> None:
        self.pack("i", len(text))
        self.parts.append(text.encode("latin-1"))

    def begin(self, kind: int) -> None:
        self.objects += 1
        self.pack("ii", kind, self.objects)

    def value(self, value: Any) -> None:
        match value:
            case None:
                self.pack("i", NIL)
            case bool():
                self.pack("ii", BOOLEAN, value)
            case int() | float():
                self.pack("id", NUMBER, value)
            case str():
                self.pack("i", STRING)
                self.string(value)
            case Table():
                self.begin(TABLE)
                self.pack("i", len(value))
                for key, item in value.items():
                    self.value(key)
                    self.value(item)
            case TorchObject():
                self.class_name(value.typename)
                self.value(value.fields)
            case _:
                self.tensor(np.asarray(value, "<f4"))

    def class_name(self, name: str) -> None:
        self.begin(TORCH)
        self.string("V 1")
        self.string(name)

    def tensor(self, tensor: np.ndarray) -> None:
        sizes = tensor.shape if tensor.size else ()
        strides = [int(np.prod(sizes[axis + 1 :])) for axis in range(len(sizes))]
        self.class_name("torch.FloatTensor")
        self.pack(f"i{2 * len(sizes)}q", len(sizes), *sizes, *strides)
        self.pack("q", 1)  # Lua counts from 1
        if not tensor.size:
            self.pack("i", NIL)
            return
        self.class_name("torch.FloatStorage")
        self.pack("q", tensor.size)
        self.parts.append(np.ascontiguousarray(tensor).tobytes())
