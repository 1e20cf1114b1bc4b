"""`vrn train`: a preset of `configs/`, with any of its values changed on the command line."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from vrn_jax.cli.process import keep_compiled_programs, writable_folder
from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError, TrainingError
from vrn_jax.presets import load_preset

__all__ = ["Train", "train"]


@dataclass(frozen=True)
class Train:
    """Train a network: `vrn train configs/NAME.py`; --help after that lists what can be changed."""

    arguments: tyro.conf.Positional[tuple[str, ...]]
    """The preset, then overrides such as --optim.learning-rate 3e-4; --profile writes a trace.
    --compile-only --topology v5e:16x16 says what a step would cost there. --coordinator HOST:PORT
    --processes N --process I join the processes of a job that JAX does not find by itself."""


def train(options: Train) -> int:
    """Does what `vrn train` says. Raises VrnError or OSError.

    Returns 0, or 128 + 15 when stopped by a signal: the run is saved, but not finished.
    """
    launch, rest = _launch(options.arguments)
    config = parse(rest)
    if "://" not in config.run.folder:
        writable_folder(Path(config.run.folder))
    if launch.compile_only:
        return _compile_only(config, launch.topology)
    keep_compiled_programs()
    # The imports wait until the arguments are known to be good: JAX takes seconds.
    from vrn_jax.training.processes import is_alone, is_main, join

    join(launch.coordinator, launch.processes, launch.process)
    from vrn_jax.training.loop import train as run

    try:
        summary = run(config)
    except TrainingError as error:
        if is_alone():
            raise
        # An orderly exit would wait for the other processes, of which one may be gone.
        print(f"vrn: error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    if is_main():
        _say(config, summary)
    return 0 if summary["finished"] else 128 + signal.SIGTERM


def _say(config: TrainConfig, summary: dict[str, Any]) -> None:
    print(f"{config.run.folder}: step {summary['step']} of {config.run.steps}")
    if not summary["finished"]:
        print("stopped and saved; the same command goes on")
        return
    held_out = summary["held_out"]
    print(f"held-out IoU {held_out['iou']:.3f}, best constant volume ", end="")
    print(f"{summary['best_constant_iou']:.3f}")


def _launch(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits the options that say where to run, of which the configuration knows nothing."""
    parser = argparse.ArgumentParser(prog="vrn train", add_help=False, allow_abbrev=False)
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--topology", default="v5e:16x16")
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    return parser.parse_known_args(list(words))


def _compile_only(config: TrainConfig, topology: str) -> int:
    # This machine's own accelerator, if any, is not touched: it may be in use.
    if not topology.startswith("gpu"):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from etils import epath

    from vrn_jax.training.aot import compile_report, report_lines
    from vrn_jax.training.folder import write

    report = compile_report(config, topology)
    name = f"compiled-{topology.replace(':', '-')}.json"
    folder = epath.Path(config.run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name, f"{json.dumps(report, indent=1)}\n".encode())
    print("\n".join(report_lines(report)))
    print(f"written to {folder / name}")
    return 0


def parse(arguments: Sequence[str]) -> TrainConfig:
    """The configuration that a preset and overrides ask for.

    Raises:
        InputError: if there is no preset.
        SystemExit: on a wrong override, as tyro does, after saying what is wrong.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError("vrn train wants a preset first, such as configs/smoke.py")
    preset, *rest = arguments
    profile = "--profile" in rest
    rest = [word for word in rest if word != "--profile"]
    config = tyro.cli(
        TrainConfig, default=load_preset(preset), args=rest, prog=f"vrn train {preset}"
    )
    return replace(config, run=replace(config.run, profile=True)) if profile else config
