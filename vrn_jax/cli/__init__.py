"""The command line: `vrn COMMAND`. Errors are one line on standard error, never a traceback.

A command is a frozen dataclass of its options and a function that does it and returns the exit
code. Both import nothing slow before the arguments are known to be good: JAX takes seconds.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from PIL import Image

from vrn_jax import __version__
from vrn_jax.cli.bench import Bench, bench
from vrn_jax.cli.compare import Compare, compare
from vrn_jax.cli.convert import Convert, convert
from vrn_jax.cli.data import Data, data
from vrn_jax.cli.demo import Demo, demo
from vrn_jax.cli.evaluate import Evaluate, evaluate
from vrn_jax.cli.export import Export, export
from vrn_jax.cli.reconstruct import Reconstruct, reconstruct
from vrn_jax.cli.render import Render, render
from vrn_jax.cli.train import Train, train
from vrn_jax.cli.video import Video, video
from vrn_jax.errors import VrnError

__all__ = ["main"]

_COMMANDS = {
    "reconstruct": Reconstruct,
    "video": Video,
    "render": Render,
    "demo": Demo,
    "train": Train,
    "data": Data,
    "evaluate": Evaluate,
    "convert": Convert,
    "compare": Compare,
    "export": Export,
    "bench": Bench,
}
_ACTIONS: dict[type, Callable[[Any], int]] = {
    Reconstruct: reconstruct,
    Video: video,
    Render: render,
    Demo: demo,
    Train: train,
    Data: data,
    Evaluate: evaluate,
    Convert: convert,
    Compare: compare,
    Export: export,
    Bench: bench,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `vrn` with the given arguments (default: those of the process); returns the exit code.

    0: done. 1: something given cannot be used, the message says what. 2: usage. 130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"vrn_jax {__version__}")
        return 0
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # read_photo checks
    try:
        command = _parse(given)
        return _ACTIONS[type(command)](command)
    except (VrnError, OSError) as error:
        print(f"vrn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vrn: interrupted", file=sys.stderr)
        return 130


def _parse(arguments: list[str]) -> Any:
    if arguments[:1] == ["train"] and arguments[1:] not in ([], ["-h"], ["--help"]):
        return Train(tuple(arguments[1:]))  # its options depend on the preset, so it parses them
    return tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        prog="vrn",
        description="3D faces from photos (VRN, ICCV 2017).",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
