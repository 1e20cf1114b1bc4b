"""Training on several simulated devices, as a process of its own; prints one line of JSON.

    python tests/pods.py NAME [JSON options]

calls the function NAME of this file with the options.
"""

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    OPTIONS = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={OPTIONS.pop('devices', 8)}"

import jax
import numpy as np
import optax
from domes import domes

from vrn_jax.cli import main
from vrn_jax.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from vrn_jax.training import loop, step
from vrn_jax.training.aot import compile_report
from vrn_jax.training.checkpoint import Checkpoints
from vrn_jax.training.loop import compile_step, placed
from vrn_jax.training.optimizers import make_optimizer
from vrn_jax.training.parallel import device_mesh, replicated
from vrn_jax.training.processes import join
from vrn_jax.training.state import initial_state
from vrn_jax.training.step import batch_indices

POOL = 16


def reports() -> dict:
    """What `--compile-only` says of 8 devices: with weights everywhere, and split over pairs."""
    return {
        name: compile_report(config(fsdp=fsdp, norm_devices=1), "cpu:8")
        for name, fsdp in (("data", 1), ("fsdp", 2))
    }


def config(*, float64: bool = False, **compute) -> TrainConfig:
    """A network of a few channels at float32 or float64, and a coarse loss.

    Gradient clipping, so that norms over slices count too; statistics of the whole batch.
    """
    compute = {"batch_size": 8, "norm_devices": 0, "loss_stride": 8, "loss_planes": 100} | compute
    dtype = "float64" if float64 else "float32"  # the former is no choice for users
    return TrainConfig(
        model=ModelConfig(stacks=1, features=8),
        data=DataConfig(pool=POOL),
        optim=OptimConfig(
            "adamw", schedule="cosine", learning_rate=1e-4, ema_decay=0.5, clip_norm=0.1
        ),
        compute=ComputeConfig(**compute, dtype=dtype),
    )


def agreement() -> dict:
    """Losses of the same run on several meshes: (data, fsdp) and statistics of all devices."""
    jax.config.update("jax_enable_x64", True)
    return {
        f"{data}x{fsdp}": run(config(float64=True, fsdp=fsdp), data * fsdp)
        for data, fsdp in ((1, 1), (8, 1), (4, 2))
    }


def single_precision() -> dict:
    """`agreement` in float32, at a lower rate.

    Adam divides by the gradient's size, so it turns the rounding of a gradient that is zero in
    truth into a step of the full rate.
    """
    found = {}
    for data, fsdp in ((1, 1), (4, 2)):
        settings = config(fsdp=fsdp)
        slow = dataclasses.replace(settings.optim, learning_rate=2e-5)
        found[f"{data}x{fsdp}"] = run(dataclasses.replace(settings, optim=slow), data * fsdp)
    return found


def one_of_two(address: str, process: int) -> list[float]:
    """The losses of `agreement` in float64 as one of two processes; the weights split over all."""
    jax.config.update("jax_enable_x64", True)
    join(address, 2, process)
    return run(config(float64=True, fsdp=jax.device_count()), jax.device_count())


def moves(folder: str) -> dict:
    """Saves a state of random numbers as it lies on 4 x 2 devices, and finds it on other meshes.

    Says for each part of the state whether all of its numbers are the same ones.
    """
    settings = dataclasses.replace(config(), run=RunConfig(folder=folder))
    random = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype),
        jax.eval_shape(lambda: initial_state(settings)),
    )._replace(step=np.int32(7))

    def mesh(data: int, fsdp: int) -> jax.sharding.Mesh:
        compute = dataclasses.replace(settings.compute, fsdp=fsdp)
        return device_mesh(compute, jax.devices()[: data * fsdp])

    with Checkpoints(folder, settings) as checkpoints:
        checkpoints.save(placed(state, mesh(4, 2)))
    found = {}
    for data, fsdp in ((1, 1), (2, 1), (2, 2), (1, 8)):
        with Checkpoints(folder, settings) as checkpoints:
            restored = checkpoints.restore(mesh(data, fsdp))
        parts = zip(restored, state, strict=True)
        same = [jax.tree.all(jax.tree.map(np.array_equal, *part)) for part in parts]
        found[f"{data}x{fsdp}"] = dict(zip(state._fields, map(bool, same), strict=True))
    position = next(Path(folder).glob("checkpoints/7/position/metadata"))
    return found | {"position": json.loads(position.read_text(encoding="utf-8"))}


def replicas() -> dict:
    """One step on 4 devices, each with statistics of its own, or in pairs; and written out."""
    jax.config.update("jax_enable_x64", True)
    found = {}
    for size in (1, 2):
        settings = config(float64=True, norm_devices=size)
        found[f"{size} share"] = run(settings, 4, steps=2)
        found[f"{size} share, written out"] = written_out(settings, 4 // size, steps=2)
    return found


def written_out(settings: TrainConfig, replicas: int, steps: int) -> list[float]:
    """The losses where every replica takes its part of a batch by itself, one after the other."""
    parts = dataclasses.replace(
        settings,
        compute=dataclasses.replace(
            settings.compute, batch_size=settings.compute.batch_size // replicas
        ),
    )
    optimizer = make_optimizer(settings.optim, settings.run.steps)
    gradients = jax.jit(partial(step._accumulated, parts, None))
    state, source = initial_state(settings), domes(POOL)
    params, stats, moments = state.params, state.batch_stats, state.opt_state
    losses = []
    for number in range(steps):
        shares = np.split(batch_indices(settings, number), replicas)
        found = [gradients(params, stats, share[None], source) for share in shares]
        mean = jax.tree.map(lambda *leaves: sum(leaves) / replicas, *found)
        updates, moments = optimizer.update(mean.params, moments, params)
        params, stats = optax.apply_updates(params, updates), mean.batch_stats
        losses.append(float(mean.metrics["loss"]))
    return losses


def job(arguments: list[str]) -> int:
    """`vrn train` with these arguments, with domes in the place of faces."""
    loop.training_source = lambda config: domes(config.pool)
    loop.held_out_faces = lambda config, count: domes(count)
    return main(["train", *arguments])


def run(settings: TrainConfig, count: int, steps: int = 5) -> list[float]:
    """The losses of `steps` steps on the first `count` devices."""
    mesh = device_mesh(settings.compute, jax.devices()[:count])
    state = placed(jax.device_get(jax.jit(initial_state, static_argnums=0)(settings)), mesh)
    source = jax.device_put(domes(POOL), replicated(mesh))
    update = compile_step(settings, mesh, state, source)
    losses = []
    for number in range(steps):
        state, metrics = update(state, batch_indices(settings, number), source)
        losses.append(float(metrics["loss"]))
    return losses


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    print(json.dumps(globals()[sys.argv[1]](**OPTIONS)))
