"""How fast a network trains, what making the faces costs of it, and how fast PyTorch trains it.

All in one run on one machine. PyTorch gets its data ready-made, and the target volumes too.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vrn_jax.bench.provenance import provenance
from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Example
from vrn_jax.geometry.solid import occupancy
from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.training.data import Source, examples, training_source
from vrn_jax.training.loop import compile_step
from vrn_jax.training.parallel import device_mesh
from vrn_jax.training.state import initial_state
from vrn_jax.training.step import batch_indices, guidance, network_input, weights_info

__all__ = ["measure_training"]

_PACKAGES = ("jax", "jaxlib", "flax", "torch")


def measure_training(config: TrainConfig, *, steps: int = 5, torch_peer: bool = True) -> dict:
    """Images a second (median of `steps`) of the training step that `config` describes.

    "made" makes every face within the step, "ready" draws as many from a pool that is there, and
    "making" makes faces and does nothing else; the first two with the seconds to compile them,
    without any cache. "torch_eager" and "torch_compiled" train the same graph in PyTorch on ready
    data; they are absent without the `torch` extra, and for a multitask network. On a CPU nothing
    is computed again, whatever the preset says.

    Raises:
        InputError: if a file of the faces cannot be used, or the preset keeps a pool.
    """
    if config.data.pool or config.data.dataset is not None:
        raise InputError(
            "the bench makes faces in the step: give a preset without data.pool and data.dataset"
        )
    if jax.default_backend() == "cpu":  # where arithmetic takes the time, not memory traffic
        config = dataclasses.replace(
            config, compute=dataclasses.replace(config.compute, remat="none")
        )
    faces = jax.device_put(training_source(config.data))
    make = jax.jit(lambda indices: examples(faces, config.data, indices))
    batches = [jnp.asarray(batch_indices(config, step)) for step in range(steps + 1)]
    pool = make(batches[0])
    results = {
        "made": _train(config, faces, batches),
        "ready": _train(config, pool, batches),
        "making": _rate(lambda step: make(batches[step]), batches),
    }
    if torch_peer and config.model.task != "multitask":
        results |= _torch(config, pool, batches)
    return {
        **provenance("vrn bench train", _PACKAGES),
        "model": dataclasses.asdict(config.model),
        "dtype": config.compute.dtype,
        "remat": config.compute.remat,
        "batch": len(batches[0]),
        "share_of_making": round(1 - results["ready"]["seconds"] / results["made"]["seconds"], 3),
        **results,
    }


def _train(config: TrainConfig, source: Source, batches: list[jax.Array]) -> dict[str, float]:
    state = jax.jit(initial_state, static_argnums=0)(config)
    jax.config.update("jax_enable_compilation_cache", False)
    clock, cpu_clock = time.perf_counter(), time.process_time()
    update = compile_step(config, device_mesh(config.compute), state, source)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu_clock
    jax.config.update("jax_enable_compilation_cache", True)

    def run(step: int) -> object:
        nonlocal state
        state, metrics = update(state, batches[step], source)
        return metrics

    compiling = {"compile_seconds": round(seconds, 1), "compile_cpu_seconds": round(cpu_seconds, 1)}
    return _rate(run, batches) | compiling


def _torch(
    config: TrainConfig, pool: Example, batches: list[jax.Array]
) -> dict[str, dict[str, float]]:
    """Channels last, RMSProp, and bfloat16 by autocast where `config` says so."""
    try:
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        from vrn_jax.interop.pytorch import enlarged, torch_vrn
    except ImportError:
        return {}
    info, device = weights_info(config), "cuda" if torch.cuda.is_available() else "cpu"
    state = jax.device_get(initial_state(config))
    tensors = layer_tensors({"params": state.params, "batch_stats": state.batch_stats})
    images, volumes = (torch.from_numpy(array).to(device) for array in _ready(config, pool))
    images = images.contiguous(memory_format=torch.channels_last)

    def rate(compiled: bool) -> dict[str, float]:
        network = torch_vrn(tensors, config.model, "batch").to(device)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-4)
        half = config.compute.dtype == "bfloat16"

        def loss() -> torch.Tensor:
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits = enlarged(network(images), info)
            return binary_cross_entropy_with_logits(logits.float(), volumes.float())

        forward = torch.compile(loss) if compiled else loss

        def run(_: int) -> float:
            optimizer.zero_grad()
            value = forward()
            value.backward()
            optimizer.step()
            return value.item()  # waits for the device

        return _rate(run, batches)

    return {"torch_eager": rate(False), "torch_compiled": rate(True)}


def _ready(config: TrainConfig, pool: Example) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees [b c h w], and its targets [b d h w] as bytes."""
    numbers = jnp.arange(len(pool.image))
    landmarks, shown = guidance(config.data, pool, numbers)
    info = weights_info(config)
    x = network_input(info, pool.image, landmarks, shown)
    volumes = jax.lax.map(lambda solid: occupancy(solid, info.grid), pool.solid)
    channels_first = (0, 3, 1, 2)
    return (
        np.asarray(x).transpose(channels_first).copy(),
        np.asarray(volumes, np.uint8).transpose(channels_first).copy(),
    )


def _rate(run: Callable[[int], Any], batches: list[jax.Array]) -> dict[str, float]:
    """Runs once for every batch; the first one, which compiles or warms up, does not count."""
    times = []
    for step in range(len(batches)):
        start = time.perf_counter()
        jax.block_until_ready(run(step))
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:])
    return {
        "seconds": round(seconds, 4),
        "images_per_second": round(len(batches[0]) / seconds, 3),
    }
