"""Memory traffic and arithmetic of a compiled step, from its HLO (see `hlo`).

Traffic is what every instruction reads and writes in the device's main memory: the operands and
results of fusions and other instructions as they stand in the text, without padding, and without
buffers that lie in a core's own fast memory. A fusion that only slices an operand reads the slice;
one that updates a slice in place writes the slice.
"""

import math
import re

from vrn_jax.training.hlo import Array, Instruction, Program

__all__ = ["flops", "memory_bytes"]

_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "partition-id", "replica-id", "iota", "opt-barrier", "async-start",
    "copy-done", "slice-done", "async-done", "all-reduce-done", "all-gather-done",
    "collective-permute-done", "custom-call-done",
}  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
_VIEWS = ("bitcast", "reshape", "get-tuple-element")
_NO_TRAFFIC_CALLS = ("AllocateBuffer", "ConcatBitcast", "Sharding")


def memory_bytes(program: Program) -> dict[str, int]:
    """Bytes read and written in main memory by a step on one device, by opcode."""
    found: dict[str, int] = {}
    for instruction, times in program.executed:
        moved = times * _moved(program, instruction)
        if moved:
            found[instruction.opcode] = found.get(instruction.opcode, 0) + moved
    return found


def flops(program: Program) -> int:
    """Two for every multiplication of matrix products and convolutions of a step on one device."""
    total = 0
    for instruction, times in program.executed:
        inside = program.computations.get(instruction.fused() or "", [instruction])
        total += times * sum(_flops(program, i) for i in inside)
    return total


def _moved(program: Program, instruction: Instruction) -> int:
    if instruction.opcode in _FREE or _is_bookkeeping(instruction):
        return 0
    operands = [program.outputs(name) for name in instruction.operands]
    if instruction.opcode.endswith("-start"):  # (operands, results, context): only one way each
        results = instruction.outputs[1:2]
        is_slice = instruction.opcode == "slice-start"
        read = [array for arrays in operands for array in arrays if not array.on_chip]
        size = sum(a.bytes for a in (results if is_slice and read else read))
        return size + _in_memory(results)
    if instruction.opcode in _SLICES:
        return 2 * _in_memory(instruction.outputs)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * _in_memory(operands[1])
    fused = instruction.fused()
    if fused is None:
        return sum(map(_in_memory, operands)) + _in_memory(instruction.outputs)
    return _fusion(program, fused, operands, instruction.outputs)


def _is_bookkeeping(instruction: Instruction) -> bool:
    return instruction.opcode == "custom-call" and any(
        f'"{name}"' in instruction.attributes for name in _NO_TRAFFIC_CALLS
    )


def _fusion(
    program: Program, name: str, operands: list[tuple[Array, ...]], outputs: tuple[Array, ...]
) -> int:
    reads = [
        min(_in_memory(arrays), _read(program, name, number))
        for number, arrays in enumerate(operands)
    ]
    writes = [
        min(_in_memory((array,)), written)
        for array, written in zip(outputs, _written(program, name), strict=True)
    ]
    return sum(reads) + sum(writes)


def _read(program: Program, computation: str, number: int) -> int:
    """Bytes that a fused computation reads of its parameter of that number."""
    body = program.computations[computation]
    (parameter,) = (i for i in body if i.opcode == "parameter" and int(i.argument) == number)

    def used(source: Instruction) -> int:
        return sum(by(user, source.name) for user in body if source.name in user.operands)

    def by(user: Instruction, name: str) -> int:
        if user.opcode in _SLICES:
            return sum(array.bytes for array in user.outputs)
        if user.opcode == "dynamic-update-slice" and name == user.operands[0]:
            return 0
        if user.opcode in _VIEWS:
            return used(user)
        if fused := user.fused():
            places = [place for place, operand in enumerate(user.operands) if operand == name]
            return sum(_read(program, fused, place) for place in places)
        return sum(array.bytes for array in program.outputs(name))

    return used(parameter)


def _written(program: Program, computation: str) -> list[int]:
    """Bytes that a fused computation writes of each of its results."""
    body = {i.name: i for i in program.computations[computation]}

    def of(result: Instruction) -> list[int]:
        if result.opcode == "tuple":
            return [size for name in result.operands for size in of(body[name])]
        if result.opcode in _VIEWS:
            return of(body[result.operands[0]])
        if fused := result.fused():
            return _written(program, fused)
        if result.opcode == "dynamic-update-slice":
            return [sum(array.bytes for array in program.outputs(result.operands[1]))]
        return [array.bytes for array in result.outputs]

    return of(program.roots[computation])


def _in_memory(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if not array.on_chip)


def _flops(program: Program, instruction: Instruction) -> int:
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (program.outputs(name)[0].shape for name in instruction.operands[:2])
    results = math.prod(instruction.outputs[0].shape)
    if instruction.opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
        sizes = [left[int(axis)] for axis in axes[1].split(",") if axis] if axes else []
        return 2 * results * math.prod(sizes)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if labels is None:
        return 0
    inputs = right[labels[2].index("i")]
    spatial = [a for a in labels[3] if a.isdigit()]
    outputs = {a: instruction.outputs[0].shape[labels[3].index(a)] for a in spatial}
    windows = _windows(instruction.attributes, len(spatial))
    pairs = 1
    for axis, window in zip(sorted(spatial), windows, strict=True):
        pairs *= _pairs(left[labels[1].index(axis)], outputs[axis], *window)
    others = results // math.prod(outputs.values())
    return 2 * others * inputs * pairs


def _windows(attributes: str, rank: int) -> list[tuple[int, int, int, int, int]]:
    """Of each spatial axis: size, stride, padding, dilation of the input and of the window."""
    window = re.search(r"window=\{([^}]*)\}", attributes)
    text = window[1] if window else ""

    def values(name: str, default: str) -> list[int]:
        found = re.search(rf"\b{name}=(\S+)", text)
        words = found[1].split("x") if found else [default] * rank
        return [int(word.split("_")[0]) for word in words]

    return list(
        zip(
            values("size", "1"),
            values("stride", "1"),
            values("pad", "0_0"),
            values("lhs_dilate", "1"),
            values("rhs_dilate", "1"),
            strict=True,
        )
    )


def _pairs(
    inputs: int, outputs: int, size: int, stride: int, pad: int, dilation: int, spread: int
) -> int:
    """How many pairs of an output and a place of the window meet an input, not padding or a gap."""
    last = (inputs - 1) * dilation
    return sum(
        0 <= (place := out * stride - pad + k * spread) <= last and place % dilation == 0
        for out in range(outputs)
        for k in range(size)
    )
