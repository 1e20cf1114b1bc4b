"""`vrn bench data`: how fast a prepared data set becomes batches and volumes."""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vrn_jax.bench.provenance import provenance
from vrn_jax.config import PAPER_AUGMENTATION, FaceSettings
from vrn_jax.data.bfm import BaselModel, read_basel
from vrn_jax.data.fits import FitModel, fit_model
from vrn_jax.data.pipeline import batches
from vrn_jax.data.sources import DataSet, examples_of, open_for_training
from vrn_jax.geometry.solid import each, occupancy

__all__ = ["measure_data"]

_REPEATS = 20


def measure_data(
    dataset: Path, bfm: Path | None, *, split: str, batch_size: int, step_seconds: float | None
) -> dict[str, Any]:
    """Times reading, and on the device parameters to examples to volumes, with the paper's crops.

    Per core means per second of CPU time, which other programs on the machine disturb little;
    the rest is by the clock, the best of a few. With `step_seconds`, what a train step of
    `batch_size` takes on this machine, also the share of the reading that one core which does
    nothing else gets done behind it: 1 where reading is never waited for.
    """
    settings = FaceSettings(**PAPER_AUGMENTATION)
    model = None if bfm is None else read_basel(bfm)
    data = open_for_training(dataset, split, settings, model)
    by_clock, per_core = _images_per_second(data, batch_size)
    numbers: dict[str, Any] = {
        "data": data.name,
        "records": len(data),
        "batch": batch_size,
        "images_per_second_core": per_core,
        "images_per_second": by_clock,
        "device": _device_speed(data, None if model is None else fit_model(model)),
        "model": _sizes(model),
    }
    if step_seconds is not None:
        numbers["step_seconds"] = step_seconds
        numbers["hidden_share_core"] = min(1.0, step_seconds * per_core / batch_size)
    return numbers | provenance("vrn bench data", ("jax", "grain", "pillow", "numpy"))


def _images_per_second(data: DataSet, batch_size: int) -> tuple[float, float]:
    """By the clock and per second of CPU time, when buffers are full."""
    stream = batches(data, seed=0, batch_size=batch_size)
    count = max(4, 256 // batch_size)
    for _ in islice(stream, count):
        pass
    start, cpu = time.perf_counter(), time.process_time()
    for _ in islice(stream, count):
        pass
    images = count * batch_size
    return images / (time.perf_counter() - start), images / (time.process_time() - cpu)


def _device_speed(data: DataSet, model: FitModel | None) -> dict[str, float]:
    on_cpu = jax.default_backend() == "cpu"
    count = 8 if on_cpu else 64
    samples = [data.sample(i, 0).value for i in range(count)]
    batch = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *samples)

    make, fill = jax.jit(examples_of), jax.jit(occupancy)

    def volumes(model: Any, batch: Any) -> None:
        # None is kept, as where one is stored or scored after the other.
        for solid in each(make(model, batch).solid):
            jax.block_until_ready(fill(solid))

    speed = {}
    for name, function in (("examples", make), ("volumes", volumes)):
        by_clock, cpu = _best(function, model, batch)
        speed[f"{name}_per_second"] = count / by_clock
        if on_cpu:
            speed[f"{name}_per_second_core"] = count / cpu
    return speed


def _best(function: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Seconds by the clock and of CPU time, each the least of a few."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(_REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(function(*arguments))
        seconds.append((time.perf_counter() - start, time.process_time() - cpu))
    return min(s for s, _ in seconds), min(cpu for _, cpu in seconds)


def _sizes(model: BaselModel | None) -> dict[str, int]:
    if model is None:
        return {}
    return {
        "vertices": len(model.mean),
        "region_vertices": int(model.region.sum()),
        "region_triangles": len(model.region_faces),
    }
