"""How training scales: steps on simulated devices and processes here, exchanges on pods by HLO.

Simulated devices share this machine's cores, so their times show what dividing a step costs, not
what more chips gain. What is exchanged is read from the compiled step, also for slices of TPUs.
"""

import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from vrn_jax.bench.provenance import provenance
from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.presets import from_dict, load_preset

__all__ = ["exchange_bound_below", "measure_scaling", "measure_steps"]

_POOL = 64
_STEPS = 3
_IMAGES = 8
_LAYOUTS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (4, 1))
"""Processes, and simulated devices of each."""


def measure_scaling(
    timed: Path,
    preset: Path,
    topologies: tuple[str, ...],
    images_a_device: int,
    accumulate: int,
) -> dict[str, Any]:
    """Weak and strong scaling on this machine, and what a step exchanges on each topology.

    Strong: 8 images over all devices. Weak: 2 on each. The network is that of the preset `timed`,
    on a pool of 8 faces. The step of a topology is that of `preset`, with so many images a device,
    drawn from a pool of 64, whose gradients are accumulated over so many batches.

    Raises:
        InputError: if a process fails, `timed` trains on a data set, or the images cannot be
            divided into so many batches.
    """
    if accumulate < 1 or images_a_device < 1 or images_a_device % accumulate:
        raise InputError(
            f"{images_a_device} images a device cannot be divided into {accumulate} batches"
        )
    config = load_preset(timed)
    if config.data.dataset is not None:
        raise InputError(f"{timed} trains on a data set; give a preset that makes its faces")
    timings = []
    kinds = [(kind, layout) for kind in ("strong", "weak") for layout in _LAYOUTS]
    with tempfile.TemporaryDirectory() as cache:
        for kind, (processes, devices) in tqdm(kinds, desc="timing"):
            batch = 2 * processes * devices if kind == "weak" else _IMAGES
            divided = dataclasses.replace(
                config,
                compute=dataclasses.replace(config.compute, batch_size=batch),
                data=dataclasses.replace(config.data, pool=_IMAGES),
            )
            timings.append(
                {
                    "kind": kind,
                    "processes": processes,
                    "devices": processes * devices,
                    "images": batch,
                    "step_s": _timed(divided, processes, devices, cache),
                }
            )
    reports = [
        _compiled(preset, topology, images_a_device, accumulate)
        for topology in tqdm(topologies, desc="compiling")
    ]
    return {
        **provenance("vrn bench scaling", ("jax", "flax", "libtpu")),
        "timed": timed.name,
        "preset": preset.name,
        "timings": timings,
        "topologies": reports,
    }


def exchange_bound_below(report: dict[str, Any]) -> float:
    """Images a device below which the exchange takes longer than the rest of the step.

    The exchange does not depend on the batch and, on a ring or torus, hardly on the number of
    devices; all else is taken as proportional to the batch. From a report with a roofline.
    """
    times = report["roofline"]
    work = max(times["compute_s"], times["memory_s"]) / report["images_a_device"]
    return times["exchange_s"] / work


def measure_steps(config: TrainConfig) -> float:
    """Seconds of a step on all devices of this job, the fastest of a few, after the first."""
    import jax

    from vrn_jax.training.data import training_source
    from vrn_jax.training.loop import compile_step, placed
    from vrn_jax.training.parallel import device_mesh, replicated
    from vrn_jax.training.state import state_at_start
    from vrn_jax.training.step import batch_indices

    mesh = device_mesh(config.compute)
    state = placed(state_at_start(config), mesh)
    source = jax.device_put(training_source(config.data), replicated(mesh))
    update = compile_step(config, mesh, state, source)
    seconds = []
    for step in range(_STEPS + 1):
        start = perf_counter()
        state, metrics = update(state, batch_indices(config, step), source)
        jax.block_until_ready((state, metrics))
        seconds.append(perf_counter() - start)
    return min(seconds[1:])


def _timed(config: TrainConfig, processes: int, devices: int, cache: str) -> float:
    """`measure_steps` in processes of their own, which share a folder of compiled programs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    settings = json.dumps(dataclasses.asdict(config))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, settings, address, str(processes), str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    outputs = [process.communicate() for process in started]
    if failed := [errors for p, (_, errors) in zip(started, outputs, strict=True) if p.returncode]:
        raise InputError(f"{processes} x {devices} devices failed: {failed[0][-500:]}")
    return max(float(output.splitlines()[-1]) for output, _ in outputs)


def _compiled(preset: Path, topology: str, images: int, accumulate: int) -> dict[str, Any]:
    """The report of `vrn train --compile-only`, in a process that touches no accelerator."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", str(preset), "--compile-only", "--topology", topology]
        words += [
            "--data.pool",
            str(_POOL),
            "--compute.batch-size",
            str(images // accumulate * _devices(topology)),
            "--optim.accumulate",
            str(accumulate),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "vrn_jax", *words, "--run.folder", folder],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InputError(f"{topology} could not be compiled for: {done.stderr[-500:]}")
        (written,) = Path(folder).glob("compiled-*.json")
        report = json.loads(written.read_text(encoding="utf-8"))
    return report | {"exchange_bound_below_images_a_device": exchange_bound_below(report)}


def _devices(topology: str) -> int:
    return math.prod(map(int, topology.partition(":")[2].split("x")))


def _measure_as_one_of(settings: str, address: str, processes: str, process: str) -> None:
    from vrn_jax.training.processes import join

    if int(processes) > 1:
        join(address, int(processes), int(process))
    sys.stdout.write(f"{measure_steps(from_dict(TrainConfig, json.loads(settings)))}\n")


if __name__ == "__main__":
    _measure_as_one_of(*sys.argv[1:])
