"""`vrn data`: what made-up training faces are made of."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vrn_jax.cli.process import writable_folder

if TYPE_CHECKING:
    from vrn_jax.faces.head import Head

__all__ = ["Data", "data"]


@dataclass(frozen=True)
class DataHead:
    """Make a morphable head from a clone of https://github.com/ICT-VGL/ICT-FaceKit (MIT licence).

    Richer than the head that comes with this package: 100 identities from scans, 53 expressions.
    """

    model: tyro.conf.Positional[Path]
    """The clone, its folder FaceXModel, or an .npz packed from it."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("head.npz")
    """The head file to write."""


@dataclass(frozen=True)
class DataInfo:
    """Say what a head file holds, and who made its data under which licence."""

    head: tyro.conf.Positional[Path | None] = None
    """A head file; without one, the head that comes with this package."""


@dataclass(frozen=True)
class Data:
    """Prepare what training faces are made of."""

    what: (
        Annotated[DataHead, tyro.conf.subcommand("head")]
        | Annotated[DataInfo, tyro.conf.subcommand("info")]
    )


def data(command: Data) -> int:
    """Does what `vrn data` says. Raises VrnError or OSError."""
    if isinstance(command.what, DataHead):
        return _head(command.what)
    return _info(command.what)


def _head(options: DataHead) -> int:
    from tqdm import tqdm

    from vrn_jax.faces.head import save_head
    from vrn_jax.faces.ict import ict_head
    from vrn_jax.faces.ict_files import read_ict

    writable_folder(options.output.absolute().parent)
    model = read_ict(
        options.model, progress=lambda files: tqdm(files, unit="file", disable=None, leave=False)
    )
    head = ict_head(model)
    save_head(options.output, head)
    print(f"{options.output}: {_counts(head)}", file=sys.stderr)
    return 0


def _info(options: DataInfo) -> int:
    from vrn_jax.faces.builtin import builtin_head
    from vrn_jax.faces.head import load_head

    head = builtin_head() if options.head is None else load_head(options.head)
    print(f"{_counts(head)}\nexpressions: {' '.join(head.expression_names)}\nfrom {head.source}")
    return 0


def _counts(head: "Head") -> str:
    return (
        f"{len(head.neutral):,} vertices, {len(head.faces):,} faces, "
        f"{len(head.identity)} identity modes, {len(head.expression)} expressions"
    )
