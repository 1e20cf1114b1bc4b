"""Compiles the train step for a pod that is not there, and reports what it would cost."""

import dataclasses
import os
import re
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.models.macs import forward_macs
from vrn_jax.training.chips import Chip, chip_of
from vrn_jax.training.data import Source, examples, training_source
from vrn_jax.training.hlo import Collective, parse
from vrn_jax.training.hlo_cost import flops, memory_bytes
from vrn_jax.training.loop import lower_step
from vrn_jax.training.parallel import device_mesh
from vrn_jax.training.state import initial_state

__all__ = ["collectives_by_kind", "compile_report", "estimate", "report_lines", "topology_devices"]


def topology_devices(topology: str) -> list[Any]:
    """Devices to compile for: a TPU slice such as "v5e:16x16", or "cpu:8" or "gpu:8" of this host.

    Raises:
        InputError: if the slice does not exist or the compiler is not installed, or this host has
            fewer such devices.
    """
    platform, _, shape = topology.partition(":")
    if re.fullmatch(r"v\d\w*", platform):
        return _tpu_devices(topology)
    try:
        count, found = int(shape), jax.devices(platform)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"no devices for --topology {topology}: {error}. TPU slices, such as v5e:16x16 or "
            "v4:4x4x4, compile on any machine; gpu:N and cpu:N take the devices of this one"
        ) from error
    if not 0 < count <= len(found):
        raise InputError(f"--topology {topology}: this host has {len(found)} such devices")
    return found[:count]


def compile_report(config: TrainConfig, topology: str) -> dict[str, Any]:
    """Compiles the step of `config` for a topology and says what it takes, as JSON values.

    Sizes are bytes of one device, FLOP and traffic those of a step on one device; everything is
    counted as executed. The estimate is that of a roofline; nothing is run.

    Raises:
        InputError: as `topology_devices`, or if the batch cannot be divided among the devices, or
            the configuration has a data set.
    """
    devices = topology_devices(topology)
    mesh = device_mesh(config.compute, devices)
    state = jax.eval_shape(partial(initial_state, config))
    source = _source_shapes(config)
    start = perf_counter()
    lowered = lower_step(config, mesh, state, source)
    traced = perf_counter()
    compiled = lowered.compile()
    done = perf_counter()
    program = parse(compiled.as_text() or "")
    moved = memory_bytes(program)
    exchanged = program.collectives()
    images = config.compute.batch_size * config.optim.accumulate // mesh.size
    chip = chip_of(devices[0].device_kind)
    report = {
        "topology": topology,
        "devices": mesh.size,
        "device_kind": devices[0].device_kind,
        "mesh": dict(mesh.shape),
        "images_a_device": images,
        "accumulate": config.optim.accumulate,
        "seconds": {"trace": traced - start, "compile": done - traced},
        "memory": _memory(compiled, chip),
        "flops": flops(program),
        "analytic_flops": 6 * forward_macs(config.model) * images,
        "bytes_moved": sum(moved.values()),
        "bytes_moved_by": moved,
        "collectives": collectives_by_kind(exchanged),
    }
    if chip is not None:
        report |= estimate(report, chip)
    return report


def estimate(report: dict[str, Any], chip: Chip) -> dict[str, Any]:
    """Step time and largest batch by a roofline.

    Arithmetic and memory traffic overlap, exchanges do not; a sum over devices passes every link
    twice. Memory for temporaries grows with the batch, what remains of the chip's is for them.
    """
    compute = report["flops"] / chip.bfloat16_flops_per_s
    memory = report["bytes_moved"] / chip.memory_bytes_per_s
    crossing = sum(
        (2 if kind == "all-reduce" else 1) * found["bytes"]
        for kind, found in report["collectives"].items()
    )
    exchange = crossing / chip.link_bytes_per_s if report["devices"] > 1 else 0.0
    step = max(compute, memory) + exchange
    sizes = report["memory"]
    room = chip.memory_bytes - sizes["arguments"] - sizes["code"]
    return {
        "chip": dataclasses.asdict(chip),
        "roofline": {
            "compute_s": compute,
            "memory_s": memory,
            "exchange_s": exchange,
            "step_s": step,
            "images_per_s": report["images_a_device"] * report["devices"] / step,
            "mfu": report["analytic_flops"] / chip.bfloat16_flops_per_s / step,
        },
        "largest_batch_a_device_estimate": int(
            room / sizes["temporaries"] * report["images_a_device"]
        ),
    }


def collectives_by_kind(collectives: list[Collective]) -> dict[str, dict[str, int]]:
    """How many of each kind are executed in a step, and their bytes."""
    kinds: dict[str, dict[str, int]] = {}
    for found in collectives:
        total = kinds.setdefault(found.kind, {"count": 0, "bytes": 0})
        total["count"] += found.count
        total["bytes"] += found.count * found.bytes
    return kinds


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    memory, images = report["memory"], report["images_a_device"]
    share = f", {memory['share']:.0%} of the chip's" if "share" in memory else ""
    lines = [
        f"{report['topology']}: {report['devices']} x {report['device_kind']}, "
        f"{images} images on each, {images // report['accumulate']} at a time, "
        f"mesh {report['mesh']}",
        f"compiled in {report['seconds']['compile']:.0f} s (traced in "
        f"{report['seconds']['trace']:.0f} s)",
        f"memory a device: {memory['peak'] / 2**30:.2f} GiB at the peak{share}; arguments "
        f"{memory['arguments'] / 2**30:.2f}, temporaries {memory['temporaries'] / 2**30:.2f}",
        f"arithmetic a step and device: {report['flops'] / 1e12:.2f} TFLOP, "
        f"{report['flops'] / report['analytic_flops']:.2f} times the network's own",
        f"memory traffic: {report['bytes_moved'] / images / 1e9:.2f} GB an image",
    ]
    lines += [
        f"{kind}: {found['count']} a step, {found['bytes'] / 1e6:.1f} MB"
        for kind, found in report["collectives"].items()
    ] or ["no exchange between devices"]
    if "roofline" in report:
        times = report["roofline"]
        lines += [
            f"by data sheet ({report['chip']['source']}): {times['step_s'] * 1e3:.0f} ms a step = "
            f"max(arithmetic {times['compute_s'] * 1e3:.0f}, memory {times['memory_s'] * 1e3:.0f}) "
            f"+ exchange {times['exchange_s'] * 1e3:.1f}; {times['images_per_s']:.0f} images/s, "
            f"MFU {times['mfu']:.0%}",
            f"about {report['largest_batch_a_device_estimate']} images a device would fit",
        ]
    return lines


def _memory(compiled: jax.stages.Compiled, chip: Chip | None) -> dict[str, float]:
    found: Any = compiled.memory_analysis()
    sizes = {
        "arguments": found.argument_size_in_bytes,
        "outputs_not_in_arguments": found.output_size_in_bytes - found.alias_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "code": found.generated_code_size_in_bytes,
    }
    sizes["peak"] = sum(sizes.values())
    return sizes | ({"share": sizes["peak"] / chip.memory_bytes} if chip else {})


def _source_shapes(config: TrainConfig) -> Source:
    """What the step makes its examples of, without making any."""
    if config.data.dataset is not None:
        raise InputError("the step is compiled with made faces: leave out --data.dataset")
    faces = training_source(dataclasses.replace(config.data, pool=0))
    if not config.data.pool:
        return faces
    numbers = jax.ShapeDtypeStruct((config.data.pool,), jnp.int32)
    return jax.eval_shape(lambda faces, i: examples(faces, config.data, i), faces, numbers)


def _tpu_devices(topology: str) -> list[Any]:
    from jax.experimental import topologies

    # Without these, libtpu looks for the TPU of this machine and asks its metadata server.
    for name, value in (("TPU_SKIP_MDS_QUERY", "1"), ("TPU_WORKER_HOSTNAMES", "localhost")):
        os.environ.setdefault(name, value)
    # Both cores of a v4 chip are one device on the machines that have it, but not by default here.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except Exception as error:
        raise InputError(
            f"cannot compile for {topology}: {error}. It takes pip install libtpu, and the name of "
            "a slice such as v5e:16x16, v4:4x4x4, v5p:4x4x4 or v6e:16x16"
        ) from error
