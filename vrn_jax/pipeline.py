"""Many photos: reading, detection, network and meshing overlapped."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vrn_jax.errors import VrnError
from vrn_jax.inference import Reconstructor, Started
from vrn_jax.io.image import read_photo
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.types import Face

__all__ = ["Outcome", "reconstruct_many"]


@dataclass(frozen=True)
class Outcome:
    """What became of a photo: its faces, or the error that says why there are none."""

    path: Path
    faces: list[Reconstruction]
    error: VrnError | None = None


_Read = tuple[Path, UInt8[np.ndarray, "h w 3"] | None, list[Face], VrnError | None]


def reconstruct_many(
    reconstructor: Reconstructor, paths: Iterable[Path], *, batch: int = 4, threads: int = 2
) -> Iterator[Outcome]:
    """Reconstructs the faces of photos, and yields the outcomes in the order of the paths.

    While the device works on the faces of `batch` photos, `threads` read the next ones and mesh the
    last. Memory is bounded: at most three batches of photos are held at once.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(threads, "vrn") as pool:
        reading: deque[Future[_Read]] = deque()
        meshing: deque[Future[Outcome]] = deque()

        def read_ahead() -> None:
            for path in islice(remaining, 2 * batch - len(reading)):
                reading.append(pool.submit(_read, reconstructor, path))

        try:
            read_ahead()
            while reading:
                photos = [reading.popleft().result() for _ in range(min(batch, len(reading)))]
                read_ahead()
                finishing = _start(reconstructor, photos)
                while meshing:
                    yield meshing.popleft().result()
                meshing.extend(pool.submit(*job) for job in finishing)
            while meshing:
                yield meshing.popleft().result()
        finally:
            for future in (*reading, *meshing):
                future.cancel()


def _read(reconstructor: Reconstructor, path: Path) -> _Read:
    try:
        pixels = read_photo(path)
        return path, pixels, reconstructor.find_faces(pixels), None
    except VrnError as error:
        return path, None, [], error


def _start(reconstructor: Reconstructor, photos: list[_Read]) -> list[tuple]:
    """Sets the device to work on the faces of these photos; returns the calls that finish them."""
    faces = [
        (pixels, face) for _, pixels, found, _ in photos if pixels is not None for face in found
    ]
    started = reconstructor.start(faces) if faces else None
    jobs, first = [], 0
    for path, _, found, error in photos:
        indices = range(first, first + len(found))
        jobs.append((_finish, reconstructor, path, started, indices, error))
        first = indices.stop
    return jobs


def _finish(
    reconstructor: Reconstructor,
    path: Path,
    started: Started | None,
    indices: range,
    error: VrnError | None,
) -> Outcome:
    if error is not None or started is None:
        return Outcome(path, [], error)
    try:
        return Outcome(path, reconstructor.finish(started, indices))
    except VrnError as problem:
        return Outcome(path, [], problem)
