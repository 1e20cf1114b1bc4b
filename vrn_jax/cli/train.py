"""`vrn train`: a preset of `configs/`, with any of its values changed on the command line."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from vrn_jax.cli.process import keep_compiled_programs, writable_folder
from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.presets import load_preset

__all__ = ["Train", "train"]


@dataclass(frozen=True)
class Train:
    """Train a network: `vrn train configs/NAME.py`; --help after that lists what can be changed."""

    arguments: tyro.conf.Positional[tuple[str, ...]]
    """The preset, then overrides such as --optim.learning-rate 3e-4; --profile writes a trace."""


def train(options: Train) -> int:
    """Does what `vrn train` says. Raises VrnError or OSError.

    Returns 0, or 128 + 15 when stopped by a signal: the run is saved, but not finished.
    """
    config = parse(options.arguments)
    writable_folder(Path(config.run.folder))
    keep_compiled_programs()
    # The import waits until the arguments are known to be good: JAX takes seconds.
    from vrn_jax.training.loop import train as run

    summary = run(config)
    print(f"{config.run.folder}: step {summary['step']} of {config.run.steps}")
    if not summary["finished"]:
        print("stopped and saved; the same command goes on")
        return 128 + signal.SIGTERM
    held_out = summary["held_out"]
    print(f"held-out IoU {held_out['iou']:.3f}, best constant volume ", end="")
    print(f"{summary['best_constant_iou']:.3f}")
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
