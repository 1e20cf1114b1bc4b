"""Training on several simulated devices and in several processes; what is read out of HLO."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from vrn_jax.config import ComputeConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.models.macs import forward_macs
from vrn_jax.training.aot import collectives_by_kind, compile_report, estimate, topology_devices
from vrn_jax.training.chips import CHIPS
from vrn_jax.training.hlo import Program, parse
from vrn_jax.training.hlo_cost import flops, memory_bytes
from vrn_jax.training.parallel import device_mesh, shardings
from vrn_jax.training.state import initial_state

ROOT = Path(__file__).parent.parent


def start(name: str, variables: dict[str, str] | None = None, **options) -> subprocess.Popen:
    """Calls a function of `pods.py` in a process with simulated devices."""
    command = [sys.executable, str(ROOT / "tests" / "pods.py"), name, json.dumps(options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment |= variables or {}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def result(process: subprocess.Popen) -> Any:
    output, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


# Devices


@pytest.mark.slow
def test_meshes_agree():
    """5 steps on the same samples, statistics of all: 1 device, 8, 4 x 2 with split weights, and
    two processes of 4 with weights split over all.
    """
    losses = result(start("agreement"))
    options = {"devices": 4, "address": free_address()}
    processes = [start("one_of_two", process=n, **options) for n in range(2)]
    losses |= {f"process {n}": result(process) for n, process in enumerate(processes)}
    for divided in losses:
        np.testing.assert_allclose(losses[divided], losses["1x1"], rtol=0, atol=1e-9)
    assert len(set(losses["1x1"])) == 5


@pytest.mark.slow
def test_meshes_agree_in_single_precision():
    losses = result(start("single_precision"))
    np.testing.assert_allclose(losses["4x2"], losses["1x1"], rtol=0, atol=1e-4)
    assert abs(losses["1x1"][-1] - losses["1x1"][0]) > 1e-3


def test_a_checkpoint_moves_to_other_devices(tmp_path):
    """Weights, statistics, optimizer and average, number by number, and where the data stands."""
    found = result(start("moves", folder=str(tmp_path)))
    position = found.pop("position")
    assert position == {"step": 7, "next_sample": 56, "seed": 0}
    assert found.keys() == {"1x1", "2x1", "2x2", "1x8"}
    for same in found.values():
        assert same.keys() >= {"step", "params", "batch_stats", "opt_state", "ema"}
        assert all(same.values())


@pytest.mark.slow
def test_replicas_have_statistics_of_their_own():
    """One device after the other, in plain code; also where pairs share."""
    losses = result(start("replicas"))
    for size in ("1", "2"):
        found, expected = losses[f"{size} share"], losses[f"{size} share, written out"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert abs(losses["1 share"][0] - losses["2 share"][0]) > 1e-6


@pytest.mark.slow
def test_a_step_exchanges_everything_at_once():
    """Plain data parallelism: one sum, of all gradients, statistics and metrics."""
    reports = result(start("reports"))
    data, fsdp = (reports[name]["collectives"] for name in ("data", "fsdp"))
    assert data.keys() == {"all-reduce"}
    assert data["all-reduce"]["count"] <= 4
    parameters = jax.tree.leaves(jax.eval_shape(partial(initial_state, small())).params)
    assert data["all-reduce"]["bytes"] >= 4 * sum(leaf.size for leaf in parameters)
    assert fsdp["all-gather"]["count"] == 1
    assert sum(kind["count"] for kind in fsdp.values()) <= 12
    memory = [reports[name]["memory"]["arguments"] for name in ("data", "fsdp")]
    assert memory[1] < memory[0]
    # Not quite all: the picture needs no gradient, and windows reach over the border.
    assert reports["data"]["flops"] == pytest.approx(reports["data"]["analytic_flops"], rel=0.05)


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, the TPU compiler, is not installed"
)
def test_a_step_on_a_pod_exchanges_everything_at_once(tmp_path):
    options = [
        "--compile-only", "--topology", "v5e:16x16", "--run.folder", str(tmp_path),
        "--model.stacks", "1", "--model.features", "8", "--compute.batch-size", "256",
        "--data.pool", "4", "--compute.loss-stride", "8", "--compute.loss-planes", "100",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "train.py"), str(ROOT / "configs" / "vrn.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=1800)
    report = json.loads((tmp_path / "compiled-v5e-16x16.json").read_text(encoding="utf-8"))
    assert report["devices"] == 256
    assert sum(kind["count"] for kind in report["collectives"].values()) <= 4


def small(**optim) -> TrainConfig:
    return TrainConfig(model=ModelConfig(stacks=1, features=8), optim=OptimConfig(**optim))


@pytest.mark.parametrize("kind", ["rmsprop", "adamw"])
def test_fsdp_splits_nearly_everything(kind):
    config = TrainConfig(optim=OptimConfig(kind=kind))
    state = jax.eval_shape(lambda: initial_state(config))
    mesh = AbstractMesh((4, 8), ("data", "fsdp"))
    for tree in (state.params, state.opt_state, state.ema):
        split = whole = 0
        for leaf, sharding in zip(
            jax.tree.leaves(tree), jax.tree.leaves(shardings(tree, mesh)), strict=True
        ):
            whole += leaf.size
            split += leaf.size * ("fsdp" in sharding.spec)
        assert split >= 0.9 * whole


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (ComputeConfig(fsdp=3), "--compute.fsdp must divide the devices: 3 does not divide 1"),
        (ComputeConfig(norm_devices=2), "--compute.norm-devices must divide the devices: 2"),
        (ComputeConfig(batch_size=3), "--compute.batch-size must be a multiple of the devices: 2"),
    ],
)
def test_what_does_not_come_out_even_is_refused(compute, message):
    devices = jax.devices()[:1] * (2 if compute.batch_size == 3 else 1)
    with pytest.raises(InputError, match=message):
        device_mesh(compute, devices)


@pytest.mark.parametrize("planes", [0, 7])
def test_planes_that_do_not_come_out_even_are_refused(planes):
    config = TrainConfig(compute=ComputeConfig(loss_planes=planes), data=DataConfig(pool=2))
    with pytest.raises(InputError, match=f"{planes} does not divide 200"):
        compile_report(config, "cpu:1")


# Processes

PRESET = """
from dataclasses import replace
from pods import config as small
from vrn_jax.config import OptimConfig, RunConfig

config = replace(
    small(),
    optim=OptimConfig("adamw", learning_rate=1e-4, drop_at=1.0, ema_decay=0.5),
    run=RunConfig(log_every=1, evaluate_samples=2, evaluate_every=1000, checkpoint_every=1),
)
"""


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts `vrn train` in so many processes of so many devices each."""
    base = tmp_path_factory.mktemp("jobs")
    preset = base / "preset.py"
    preset.write_text(PRESET, encoding="utf-8")
    cache = {"JAX_COMPILATION_CACHE_DIR": str(base / "compiled")}

    def launch(folder: Path, processes: int, devices: int, steps: int) -> list[subprocess.Popen]:
        options = [str(preset), "--run.folder", str(folder), "--run.steps", str(steps)]
        if processes > 1:
            options += ["--coordinator", free_address(), "--processes", str(processes)]
        return [
            start(
                "job",
                cache,
                devices=devices,
                arguments=options + (["--process", str(n)] if processes > 1 else []),
            )
            for n in range(processes)
        ]

    return launch


def wait_for_step(folder: Path, step: int, processes: list[subprocess.Popen]) -> None:
    checkpoints = folder / "checkpoints"
    while not (checkpoints.exists() and max(steps_saved(checkpoints), default=0) >= step):
        for process in processes:
            assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)


def steps_saved(checkpoints: Path) -> list[int]:
    return [int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()]


def losses(folder: Path) -> dict[int, float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    steps = [line["step"] for line in found if "loss" in line]
    assert steps == list(range(1, len(steps) + 1)), "a step is missing, or there twice"
    return {line["step"]: line["loss"] for line in found if "loss" in line}


@pytest.mark.slow
def test_a_job_survives_what_happens_to_its_processes(launch, tmp_path):
    """A run that is killed on 2 x 4 devices, goes on on 2, then on 2 x 2, is stopped there by a
    SIGTERM to one process, and ends on 1, is the run that had 1 device from start to end.
    """
    folder = tmp_path / "moved"
    job = launch(folder, 2, 4, steps=1000)
    wait_for_step(folder, 2, job)
    job[1].kill()
    _, errors = job[0].communicate(timeout=120)
    # An exchange of the step fails at once; where JAX's own waits for the other (for a checkpoint),
    # its coordination service ends the process when the other's heartbeats have stayed out.
    ends = {1: "most likely because another one has ended", -signal.SIGABRT: "another task died"}
    assert ends[job[0].returncode] in errors
    job[1].communicate()

    resumed_at = max(steps_saved(folder / "checkpoints"))
    (alone,) = launch(folder, 1, 2, steps=resumed_at + 1)
    assert result(alone) == 0

    job = launch(folder, 2, 2, steps=1000)
    wait_for_step(folder, resumed_at + 2, job)
    job[1].send_signal(signal.SIGTERM)
    assert [result(process) for process in job] == [128 + signal.SIGTERM] * 2
    stopped_at = max(steps_saved(folder / "checkpoints"))
    (alone,) = launch(folder, 1, 1, steps=stopped_at + 1)
    assert result(alone) == 0

    straight = tmp_path / "straight"
    (alone,) = launch(straight, 1, 1, steps=stopped_at + 1)
    assert result(alone) == 0
    found, expected = losses(folder), losses(straight)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=2e-4)


# HLO

HLO = """
HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (carry: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %carry = (s32[], f32[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %x = f32[4,8]{1,0} get-tuple-element(%carry), index=1
  %weights = f32[8,8]{1,0} constant({...})
  %y = f32[4,8]{1,0} dot(%x, %weights), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %z = f32[4,8]{1,0} all-reduce(%y), replica_groups={}, to_apply=%add, metadata={op_name="inner"}
  %next = s32[] add(%i, %i)
  ROOT %out = (s32[], f32[4,8]{1,0}) tuple(%next, %z)
}

%condition (carry.1: (s32[], f32[4,8])) -> pred[] {
  %carry.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%carry.1), index=0
  %limit = s32[] constant(LIMIT)
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (p: bf16[2,6,6,3], k: bf16[3,3,3,5], s: f32[4,8]) -> f32[4,8] {
  %p = bf16[2,6,6,3]{3,2,1,0} parameter(0)
  %k = bf16[3,3,3,5]{3,2,1,0} parameter(1)
  %s = f32[4,8]{1,0} parameter(2)
  %fast = f32[4,8]{1,0:T(8,128)S(1)} copy(%s)
  %c = bf16[2,6,6,5]{3,2,1,0} convolution(%p, %k), WINDOW, dim_labels=b01f_01io->b01f
  %started = (f32[8]{0}, f32[16]{0}) all-gather-start(%fast), dimensions={0}
  %gathered = f32[16]{0} all-gather-done(%started)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[4,8]{1,0}) tuple(%zero, %s)
  %loop = (s32[], f32[4,8]{1,0}) while(%begin), condition=%condition, body=%bodyTRIPS
  ROOT %result = f32[4,8]{1,0} get-tuple-element(%loop), index=1
}
"""


NESTED = """
HloModule jit_nested

%sliced (p0: bf16[9,32], p1: s32[]) -> bf16[1,32] {
  %p0 = bf16[9,32]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  ROOT %slice.1 = bf16[1,32]{1,0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,32}
}

%twice (q0: bf16[9,32], q1: s32[], q2: bf16[9,32], q3: bf16[9,32]) -> (bf16[9,32], bf16[9,32]) {
  %q0 = bf16[9,32]{1,0} parameter(0)
  %q1 = s32[] parameter(1)
  %q2 = bf16[9,32]{1,0} parameter(2)
  %q3 = bf16[9,32]{1,0} parameter(3)
  %inner = bf16[1,32]{1,0} fusion(%q0, %q1), kind=kLoop, calls=%sliced
  %one = bf16[9,32]{1,0} dynamic-update-slice(%q2, %inner, %q1)
  %other = bf16[9,32]{1,0} dynamic-update-slice(%q3, %inner, %q1)
  ROOT %both = (bf16[9,32]{1,0}, bf16[9,32]{1,0}) tuple(%one, %other)
}

ENTRY %main (a: bf16[9,32], i: s32[], b: bf16[9,32], c: bf16[9,32]) -> bf16[3,32] {
  %a = bf16[9,32]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = bf16[9,32]{1,0} parameter(2)
  %c = bf16[9,32]{1,0} parameter(3)
  %stored = (bf16[9,32]{1,0}, bf16[9,32]{1,0}) fusion(%a, %i, %b, %c), kind=kLoop, calls=%twice
  %fetched = ((bf16[9,32]{1,0}), bf16[3,32]{1,0:S(1)}, s32[]) slice-start(%a), slice={[0:3], [0:32]}
  ROOT %done = bf16[3,32]{1,0:S(1)} slice-done(%fetched)
}
"""


def test_traffic_is_that_of_slices_also_in_nested_fusions():
    """A fusion reads one slice of 64 bytes and its number, and writes two; another three are read,
    into fast memory.
    """
    assert memory_bytes(parse(NESTED)) == {"fusion": 64 + 4 + 2 * 64, "slice-start": 3 * 64}


def program(limit: int = 7, trips: str = "") -> Program:
    text = HLO.replace("LIMIT", str(limit)).replace("TRIPS", trips)
    return parse(text.replace("WINDOW", "window={size=3x3 pad=1_1x1_1}"))


@pytest.mark.parametrize(
    ("limit", "trips", "expected"),
    [(7, "", 7), (0, ', backend_config={"known_trip_count":{"n":"5"}}', 5)],
)
def test_an_exchange_in_a_loop_counts_as_often_as_it_runs(limit, trips, expected):
    """Where the text says how often, and where only the loop's condition does."""
    found = program(limit, trips).collectives()
    assert [(c.kind, c.bytes, c.count) for c in found] == [
        ("all-gather", 64, 1),
        ("all-reduce", 128, expected),
    ]
    assert found[1].origin == "inner"
    assert collectives_by_kind(found) == {
        "all-gather": {"count": 1, "bytes": 64},
        "all-reduce": {"count": expected, "bytes": 128 * expected},
    }


def test_arithmetic_is_counted_as_executed():
    """7 products of 4x8 and 8x8; a 3x3 convolution whose window leaves the 6x6 picture."""
    places = 16**2  # of 6 outputs along an axis, 4 see three inputs and 2 see two
    assert flops(program()) == 7 * 2 * 4 * 8 * 8 + 2 * 2 * places * 3 * 5


def test_traffic_leaves_fast_memory_out():
    moved = memory_bytes(program())
    assert moved["copy"] == 128  # read from memory, written to the core's own
    assert moved["convolution"] == 2 * (2 * 36 * 3 + 27 * 5 + 2 * 36 * 5)
    assert moved["dot"] == 7 * 4 * (32 + 64 + 32)


def test_flops_of_a_compiled_convolution_are_those_of_its_shape():
    def step(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).sum()

    shapes = (
        jax.ShapeDtypeStruct((2, 9, 9, 4), np.float32),
        jax.ShapeDtypeStruct((3, 3, 4, 6), np.float32),
    )
    text = jax.jit(step).lower(*shapes).compile().as_text()
    assert flops(parse(text)) == 2 * 2 * 4 * 4 * 6 * 9 * 4


def test_the_released_graph_takes_24_gigamacs():
    assert forward_macs(ModelConfig()) == pytest.approx(24.47e9, rel=1e-3)


# Estimates and refusals


def test_the_roofline_of_a_step():
    report = {
        "flops": 197e12, "analytic_flops": 98.5e12, "bytes_moved": 2 * 819e9, "devices": 4,
        "images_a_device": 8, "collectives": {"all-reduce": {"count": 1, "bytes": 100e9}},
        "memory": {"arguments": 1e9, "code": 0, "temporaries": 5e9},
    }  # fmt: skip
    found = estimate(report, CHIPS["TPU v5 lite"])
    assert found["roofline"]["step_s"] == pytest.approx(max(1, 2) + 1)
    assert found["roofline"]["mfu"] == pytest.approx(0.5 / 3)
    assert found["largest_batch_a_device_estimate"] == 24


@pytest.mark.parametrize("topology", ["gpu:8", "cpu:100000", "abacus:3", "cpu:many"])
def test_devices_that_are_not_there_are_refused(topology):
    with pytest.raises(InputError, match="--topology"):
        topology_devices(topology)
