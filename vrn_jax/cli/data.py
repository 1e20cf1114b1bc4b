"""`vrn data`: what made-up training faces are made of, and data sets of real ones."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vrn_jax.cli.frozen import DataExport, data_export
from vrn_jax.cli.prepare import DataFreeze, DataPrepare, data_freeze, data_prepare
from vrn_jax.cli.process import keep_compiled_programs, writable_folder
from vrn_jax.cli.textures import DataTextures, data_textures
from vrn_jax.config import FaceSettings
from vrn_jax.errors import InputError

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
class DataPreview:
    """Draw a contact sheet of made faces: picture, landmarks, depth and mask of each."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("faces.jpg")
    """The picture to write (.jpg or .png)."""
    head: Path | None = None
    """A head file; without one, the head that comes with this package."""
    textures: Path | None = None
    """Portraits on that head, from `vrn data textures`; without them skin is drawn."""
    count: int = 64
    """How many faces."""
    seed: int = 0
    """Of the stream of faces."""
    held_out: bool = False
    """Show the held-out stream."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How faces vary."""


@dataclass(frozen=True)
class Data:
    """Prepare what training faces are made of, and data sets."""

    what: (
        Annotated[DataHead, tyro.conf.subcommand("head")]
        | Annotated[DataInfo, tyro.conf.subcommand("info")]
        | Annotated[DataTextures, tyro.conf.subcommand("textures")]
        | Annotated[DataPreview, tyro.conf.subcommand("preview")]
        | Annotated[DataExport, tyro.conf.subcommand("export")]
        | Annotated[DataPrepare, tyro.conf.subcommand("prepare")]
        | Annotated[DataFreeze, tyro.conf.subcommand("freeze")]
    )


def data(command: Data) -> int:
    """Does what `vrn data` says. Raises VrnError or OSError."""
    return _ACTIONS[type(command.what)](command.what)


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
    from vrn_jax.faces.source import head_of

    head = head_of(options.head)
    print(f"{_counts(head)}\nexpressions: {' '.join(head.expression_names)}\nfrom {head.source}")
    return 0


def _preview(options: DataPreview) -> int:
    if options.count < 1 or options.output.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(
            "a preview needs --count of 1 or more and an --output that ends in .jpg or .png, got "
            f"{options.count} and {options.output}"
        )
    writable_folder(options.output.absolute().parent)
    keep_compiled_programs()
    from PIL import Image

    from vrn_jax.faces.preview import contact_sheet
    from vrn_jax.faces.source import face_source
    from vrn_jax.io.atomic import writing

    source = face_source(
        options.head, options.textures, options.faces, seed=options.seed, held_out=options.held_out
    )
    sheet = Image.fromarray(contact_sheet(source, options.count))
    kind = "PNG" if options.output.suffix.lower() == ".png" else "JPEG"
    with writing(options.output) as partial:
        sheet.save(partial, format=kind, quality=88)
    print(options.output)
    return 0


def _counts(head: "Head") -> str:
    return (
        f"{len(head.neutral):,} vertices, {len(head.faces):,} faces, "
        f"{len(head.identity)} identity modes, {len(head.expression)} expressions"
    )


_ACTIONS: dict[type, Callable[[Any], int]] = {
    DataHead: _head,
    DataInfo: _info,
    DataTextures: data_textures,
    DataPreview: _preview,
    DataExport: data_export,
    DataPrepare: data_prepare,
    DataFreeze: data_freeze,
}
