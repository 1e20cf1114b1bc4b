"""Files that are almost right: small valid ones with seeded damage."""

import random
import struct
from collections.abc import Iterator

EXTREMES = (0, 1, -1, 3, 4, 127, 255, 2**16, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))


def malformed(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged copies of `data`, one to four injuries each, and some plain noise."""
    rng = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            INJURIES[rng.randrange(len(INJURIES))](damaged, rng)
        yield bytes(damaged)


def flip_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def extreme_number(data: bytearray, rng: random.Random) -> None:
    layout = rng.choice(["<i", "<q"])
    size = struct.calcsize(layout)
    value = rng.choice(EXTREMES) % 2 ** (8 * size)
    at = rng.randrange(max(1, len(data) - size))
    data[at : at + size] = value.to_bytes(size, "little")


def remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randint(1, 64)]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randint(1, 256)] * rng.randint(1, 20)


def splice(data: bytearray, rng: random.Random) -> None:
    source, at = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    data[at:at] = data[source : source + rng.randint(1, 64)]


def noise(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.1:
        data[:] = rng.randbytes(rng.randint(0, 4096))


INJURIES = (flip_bytes, truncate, extreme_number, remove, repeat, splice, noise)
