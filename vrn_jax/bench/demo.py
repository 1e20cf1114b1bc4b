"""The web app under load, beside the batched reconstructor on the same photos; and its start.

Both turn JPEG bytes into GLB bytes. They take turns, so that whatever else the machine does meets
both: the ratio is worth more than the rates.
"""

import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vrn_jax.bench.provenance import provenance
from vrn_jax.errors import VrnError
from vrn_jax.inference import Reconstructor, load
from vrn_jax.outputs import OutputSettings, write_faces
from vrn_jax.pipeline import reconstruct_many

__all__ = ["measure_demo"]

_PACKAGES = ("jax", "flax", "numpy", "fastapi", "uvicorn")
_PATH = "/api/v1/reconstruct"
_GLB = OutputSettings(save=("glb",))


@dataclass
class _Load:
    """What clients met in one round. `seconds` are those of photos that became meshes."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0


def measure_demo(
    photo: np.ndarray, *, clients: int = 64, seconds: float = 60.0, rounds: int = 3
) -> dict:
    """Requests of `clients` at once for `seconds`, `rounds` times, on a server process of its own.

    A client that is told that the server is busy waits as long as it is asked to.
    """
    with tempfile.TemporaryDirectory() as folder:
        jpeg = Path(folder, "photo.jpg")
        Image.fromarray(photo).save(jpeg, quality=92)
        cache = str(Path(folder, "cache"))
        with _server(cache) as cold:
            body = jpeg.read_bytes()
            first = _first_mesh(cold, body)
            warm = statistics.median(_timed_post(cold.port, body) for _ in range(5))
            reconstructor = load()
            _bare(reconstructor, jpeg, Path(folder), 1.0)
            _loaded(cold.port, body, clients, min(seconds, 5.0))
            before = _resident_mb(cold.process)
            loads, ratios = [], []
            for _ in range(rounds):
                bare = _bare(reconstructor, jpeg, Path(folder), seconds / 2)
                loads.append(_loaded(cold.port, body, clients, seconds))
                again = _bare(reconstructor, jpeg, Path(folder), seconds / 2)
                rate = len(loads[-1].seconds) / loads[-1].wall
                ratios.append(2 * rate / (bare + again))
            growth = _resident_mb(cold.process) - before
    return {
        **provenance("vrn bench demo", _PACKAGES),
        "clients": clients,
        "round_seconds": seconds,
        "cold_start_to_first_mesh_seconds": round(first, 2),
        "warm_photo_seconds": round(warm, 3),
        "throughput_ratio": round(statistics.median(ratios), 3),
        "throughput_ratios": [round(ratio, 3) for ratio in ratios],
        "memory_growth_mb": round(growth, 1),
        "rounds": [_summary(one) for one in loads],
    }


def _summary(one: _Load) -> dict:
    percentiles = [float(np.percentile(one.seconds or [np.nan], p)) for p in (50, 95)]
    return {
        "answers_by_status": dict(sorted(one.statuses.items())),
        "meshes_per_second": round(len(one.seconds) / one.wall, 3),
        "p50_seconds": round(percentiles[0], 2),
        "p95_seconds": round(percentiles[1], 2),
    }


@dataclass
class _Server:
    process: subprocess.Popen
    port: int
    started: float


@contextmanager
def _server(cache: str) -> Iterator[_Server]:
    """`vrn demo` in a process of its own that has never compiled anything."""
    command = [sys.executable, "-m", "vrn_jax", "demo", "--no-browser", "--port", "0"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            port = re.search(r":(\d+)/", line)
            if port is None:
                raise VrnError(f"vrn demo did not start, it said {line!r}")
            yield _Server(process, int(port[1]), start)
        finally:
            process.terminate()


def _first_mesh(server: _Server, body: bytes) -> float:
    status, _ = _post(server.port, body)
    if status != 200:
        raise VrnError(f"the first photo was answered with status {status}")
    return time.perf_counter() - server.started


def _timed_post(port: int, body: bytes) -> float:
    start = time.perf_counter()
    _post(port, body)
    return time.perf_counter() - start


def _post(port: int, body: bytes) -> tuple[int, str | None]:
    """Status and Retry-After of what is answered to a photo."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", _PATH, body, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["Retry-After"]
    finally:
        connection.close()


def _loaded(port: int, body: bytes, clients: int, seconds: float) -> _Load:
    """Clients that come back as soon as they are served, until the time is over."""
    load, lock = _Load(), threading.Lock()
    start = time.perf_counter()

    def client() -> None:
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            try:
                status, wait = _post(port, body)
            except (OSError, http.client.HTTPException) as error:
                status, wait = type(error).__name__, None
            with lock:
                load.statuses[str(status)] += 1
                if status == 200:
                    load.seconds.append(time.perf_counter() - began)
            if wait is not None:
                time.sleep(float(wait))

    with ThreadPoolExecutor(clients) as pool:
        for one in [pool.submit(client) for _ in range(clients)]:
            one.result()
    load.wall = time.perf_counter() - start
    return load


def _bare(reconstructor: Reconstructor, jpeg: Path, folder: Path, seconds: float) -> float:
    """Photos per second of the batched reconstructor, written as GLB while the next are made."""
    start = time.perf_counter()

    def until_time_is_over() -> Iterator[Path]:
        while time.perf_counter() - start < seconds:
            yield jpeg

    done = 0
    with ThreadPoolExecutor(1) as pool:
        writes = []
        for outcome in reconstruct_many(reconstructor, until_time_is_over()):
            stem = folder / f"bare-{done % 8}"
            writes.append(pool.submit(list, write_faces(outcome.faces, stem, _GLB)))
            done += 1
            if len(writes) > 4:
                writes.pop(0).result()
        for write in writes:
            write.result()
    return done / (time.perf_counter() - start)


def _resident_mb(process: subprocess.Popen) -> float:
    """Memory of a process, as Linux counts it."""
    status = Path("/proc", str(process.pid), "status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    return float(match[1]) / 1024 if match else float("nan")
