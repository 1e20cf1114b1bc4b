"""Reads what a compiled step does out of its HLO text: exchanges, memory traffic, arithmetic.

XLA's own `cost_analysis` counts the body of a loop once. Here every instruction counts as often as
it is executed: a loop's body times its known trip count.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["Collective", "Instruction", "Program", "parse"]

_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_BYTES = {"pred": 1, "token": 0, "opaque": 0, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-~]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-~]+) = (.*)$")
_ARRAY = re.compile(r"([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](?:\{([^}]*)\})?")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclass(frozen=True)
class Array:
    """A buffer: its element type, its shape, and whether it lies in a core's own fast memory."""

    dtype: str
    shape: tuple[int, ...]
    on_chip: bool

    @property
    def bytes(self) -> int:
        """Without padding."""
        bits = re.search(r"\d+", self.dtype)
        size = _BYTES.get(self.dtype, int(bits[0]) / 8 if bits else 4)
        return math.ceil(math.prod(self.shape) * size)


@dataclass(frozen=True)
class Instruction:
    """One line of HLO: ``name = outputs opcode(operands), attributes``."""

    name: str
    opcode: str
    outputs: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str
    argument: str
    """What stands in the parentheses: operands, a parameter's number, a constant's value."""

    def called(self) -> Iterator[tuple[str, int]]:
        """Computations that run when this one does, and how often (0: not stated).

        A fusion's is not one of them.
        """
        trips = _TRIPS.search(self.attributes)
        if self.opcode == "while":
            yield self.attribute("body"), int(trips[1]) if trips else 0
        elif self.opcode in ("call", "async-start"):
            yield self.attribute("to_apply|calls"), 1
        elif self.opcode == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
            names = branches[1].split(",") if branches else []
            names += re.findall(r"(?:true|false)_computation=(%[\w.\-~]+)", self.attributes)
            yield from ((name.strip().lstrip("%"), 1) for name in names)

    def fused(self) -> str | None:
        """The computation of a fusion."""
        return self.attribute("calls") if self.opcode == "fusion" else None

    def attribute(self, name: str) -> str:
        """The computation that an attribute names."""
        found = re.search(rf"(?:{name})=%?([\w.\-~]+)", self.attributes)
        return found[1] if found else ""


@dataclass(frozen=True)
class Collective:
    """An exchange between devices: its kind, the bytes that a device has of its result, how often
    it is executed in a step, and where the program says it comes from.
    """

    kind: str
    bytes: int
    count: int
    origin: str


@dataclass
class Program:
    """Computations by name, each a list of instructions in order."""

    computations: dict[str, list[Instruction]] = field(default_factory=dict)
    entry: str = ""
    roots: dict[str, Instruction] = field(default_factory=dict)
    """The instruction that gives a computation's result."""

    @cached_property
    def executed(self) -> list[tuple[Instruction, int]]:
        """All instructions outside of fusions, with how often they run; of branches all."""
        found: list[tuple[Instruction, int]] = []

        def visit(name: str, times: int) -> None:
            for instruction in self.computations.get(name, []):
                found.append((instruction, times))
                for callee, trips in instruction.called():
                    visit(callee, times * (trips or self._trips(instruction)))

        visit(self.entry, 1)
        return found

    def outputs(self, name: str) -> tuple[Array, ...]:
        """The buffers of the instruction of that name."""
        return self._by_name[name].outputs

    @cached_property
    def _by_name(self) -> dict[str, Instruction]:
        return {i.name: i for body in self.computations.values() for i in body}

    def _trips(self, loop: Instruction) -> int:
        """Trips of a loop that the text does not state: `lax.scan` counts from 0 to a constant.

        The condition compares with it, maybe in a fusion; it is the only constant there.
        """
        condition = loop.attribute("condition")
        bodies = [self.computations.get(condition, [])]
        bodies += [self.computations.get(i.fused() or "", []) for i in bodies[0]]
        constants = {
            int(i.argument)
            for body in bodies
            for i in body
            if i.opcode == "constant" and i.argument.lstrip("-").isdigit()
        }
        return constants.pop() if len(constants) == 1 else 1

    def collectives(self) -> list[Collective]:
        """Every exchange; an asynchronous one counts at its start."""
        found = []
        for instruction, times in self.executed:
            kind = instruction.opcode.removesuffix("-start")
            if kind not in _COLLECTIVES:
                continue
            outputs = instruction.outputs
            if instruction.opcode.endswith("-start") and kind != "all-reduce":
                outputs = outputs[len(outputs) // 2 :]  # a pair: operands, results
            origin = re.search(r'op_name="([^"]*)"', instruction.attributes)
            size = sum(array.bytes for array in outputs)
            found.append(Collective(kind, size, times, origin[1] if origin else ""))
        return found


def parse(text: str) -> Program:
    """Reads the text of a compiled module (`jax.stages.Compiled.as_text`)."""
    program, body, name = Program(), None, ""
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name = header[2]
            body = program.computations.setdefault(name, [])
            program.entry = name if header[1] else program.entry
        elif body is not None and (match := _INSTRUCTION.match(line)):
            body.append(_instruction(match[2], match[3]))
            if match[1]:
                program.roots[name] = body[-1]
    return program


def _instruction(name: str, rest: str) -> Instruction:
    outputs, rest = _type(rest)
    opcode, _, rest = rest.partition("(")
    operands, attributes = _until_closed(rest)
    return Instruction(
        name,
        opcode.strip(),
        tuple(_arrays(outputs)),
        tuple(re.findall(r"%([\w.\-~]+)", operands)),
        attributes,
        operands,
    )


def _type(text: str) -> tuple[str, str]:
    """Splits the type in front, which may be a tuple of types, from the rest."""
    if not text.startswith("("):
        kind, _, rest = text.partition(" ")
        return kind, rest
    inside, rest = _until_closed(text[1:])
    return inside, rest.strip()


def _until_closed(text: str) -> tuple[str, str]:
    """What stands before the parenthesis that closes an open one, and after."""
    depth = 1
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[:position], text[position + 1 :]
    return text, ""


def _arrays(text: str) -> Iterator[Array]:
    for dtype, shape, layout in _ARRAY.findall(text):
        yield Array(dtype, tuple(map(int, filter(None, shape.split(",")))), "S(1)" in layout)
