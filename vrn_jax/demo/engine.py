"""Who does the work: a few threads for the host's part of it, and one thread for the device.

Faces of all requests meet before the device; whatever waits there when it is free goes through the
network together. Asyncio only waits, so a client that is slow to send or to take costs no thread.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from vrn_jax.batches import LARGEST_BATCH, Regressed, Started, batch_sizes
from vrn_jax.demo.metrics import Metrics
from vrn_jax.demo.refusal import busy
from vrn_jax.demo.settings import Limits
from vrn_jax.inference import Reconstructor
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.types import Face

__all__ = ["Engine", "Shape"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """How a surface is made of the network's answer; None takes what suits the weights."""

    threshold: float | None = None
    """Occupancy at the surface, 0 to 1."""
    sigma_px: float | None = None
    """Gaussian smoothing of the volume, crop pixels."""


@dataclass(eq=False)
class _Job:
    """A face for the network, or its answer; and how to clean it, if that is wanted."""

    face: tuple[UInt8[np.ndarray, "h w 3"], Face] | Regressed
    shape: Shape | None
    done: Future[tuple[Regressed, Started | None]]


class Engine:
    """Reconstructs faces for many requests at once. `start` it first, `stop` it at the end.

    Args:
        reconstructor: used by the device's thread alone but for finding and meshing faces.
        limits: how many requests are taken on.
        metrics: where times are noted.
    """

    def __init__(self, reconstructor: Reconstructor, limits: Limits, metrics: Metrics):
        self._reconstructor = reconstructor
        self._limits = limits
        self._metrics = metrics
        self._working = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threads = max(2, os.cpu_count() or 2)
        self._pool = ThreadPoolExecutor(threads, "vrn-host")
        # Volumes are large, so the device is not far ahead of the pool; but it is never idle.
        self._room = asyncio.Semaphore(threads + 2 * batch_sizes()[-1])
        self._ready = threading.Event()

    def start(self, photo: UInt8[np.ndarray, "h w 3"]) -> None:
        """Compiles all programs on a photo with a face, while requests already wait in line."""
        threading.Thread(
            target=self._serve_device, args=(photo,), name="vrn-device", daemon=True
        ).start()

    @property
    def ready(self) -> bool:
        """Whether everything is compiled."""
        return self._ready.is_set()

    def stop(self) -> None:
        """Ends the threads; work that has begun is finished."""
        self._jobs.put(None)
        self._pool.shutdown(cancel_futures=True)

    def check_room(self) -> None:
        """Raises Refusal 503 if there is no place among the requests being worked on."""
        if self._working >= self._limits.queue:
            raise busy(f"{self._working} requests are in work already; try again in a moment")

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A place among the requests being worked on.

        Raises:
            Refusal: 503 if there is none.
        """
        self.check_room()
        self._working += 1
        self._metrics.working.set(self._working)
        try:
            yield
        finally:
            self._working -= 1
            self._metrics.working.set(self._working)

    async def on_host(self, stage: str, work: Callable[..., T], *arguments: Any) -> T:
        """Does work in the pool; its time is noted under the name of the stage."""

        def timed() -> T:
            with self._metrics.seconds.labels(stage).time():
                return work(*arguments)

        return await asyncio.wrap_future(self._pool.submit(timed))

    async def find_faces(self, photo: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """The faces of a photo, the largest first. Raises NoFaceError."""
        return await self.on_host("detect", self._reconstructor.find_faces, photo)

    async def regress(self, photo: UInt8[np.ndarray, "h w 3"], face: Face) -> Regressed:
        """What the network says of a face. Raises InputError if it cannot be cut out."""
        regressed, _ = await self._on_device((photo, face), None)
        return regressed

    async def make(
        self,
        face: tuple[UInt8[np.ndarray, "h w 3"], Face] | Regressed,
        shape: Shape,
        write: Callable[[Reconstruction], T],
    ) -> T:
        """What `write`, called in the pool, makes of a face.

        Raises:
            InputError: if the face cannot be cut out, or nothing is occupied.
        """
        async with self._room:
            _, started = await self._on_device(face, shape)
            assert started is not None
            return await self.on_host("mesh", self._written, started, write)

    def _written(self, started: Started, write: Callable[[Reconstruction], T]) -> T:
        (face,) = self._reconstructor.finish(started, [0])
        return write(face)

    async def _on_device(
        self, face: tuple[UInt8[np.ndarray, "h w 3"], Face] | Regressed, shape: Shape | None
    ) -> tuple[Regressed, Started | None]:
        job = _Job(face, shape, Future())
        with self._metrics.seconds.labels("network").time():
            self._jobs.put(job)
            return await asyncio.wrap_future(job.done)

    def _compile(self, photo: UInt8[np.ndarray, "h w 3"]) -> None:
        reconstructor = self._reconstructor
        pair = (photo, reconstructor.find_faces(photo)[0])
        for size in batch_sizes():
            regressed = reconstructor.regress([pair] * size)
            reconstructor.finish(reconstructor.clean(regressed[0]), [0])
        self._ready.set()

    def _serve_device(self, photo: UInt8[np.ndarray, "h w 3"]) -> None:
        try:
            self._compile(photo)
        except Exception:  # requests may still succeed, or say what is wrong
            _LOG.exception("the warm-up failed")
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < LARGEST_BATCH:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._jobs.put(None)
                    break
                jobs.append(following)
            self._serve([job for job in jobs if job.done.set_running_or_notify_cancel()])

    def _serve(self, jobs: list[_Job]) -> None:
        """On a CPU the faces go one by one anyway: then the first does not wait for the last."""
        size = batch_sizes()[-1]
        for first in range(0, len(jobs), size):
            some = jobs[first : first + size]
            try:
                self._run(some)
            except Exception as error:  # whatever it is belongs to these requests
                if len(some) > 1:  # and to one of them, most likely
                    for job in some:
                        self._serve([job])
                else:
                    some[0].done.set_exception(error)

    def _run(self, jobs: list[_Job]) -> None:
        faces = [job.face for job in jobs if isinstance(job.face, tuple)]
        fresh = iter(self._reconstructor.regress(faces) if faces else ())
        if faces:
            self._metrics.batch.observe(len(faces))
        results = []
        for job in jobs:
            regressed = job.face if isinstance(job.face, Regressed) else next(fresh)
            results.append((regressed, self._clean(regressed, job.shape)))
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)

    def _clean(self, regressed: Regressed, shape: Shape | None) -> Started | None:
        if shape is None:
            return None
        return self._reconstructor.clean(
            regressed, threshold=shape.threshold, sigma_px=shape.sigma_px
        )
