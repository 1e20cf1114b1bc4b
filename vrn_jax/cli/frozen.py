"""`vrn data export`: made faces to files."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vrn_jax.cli.process import keep_compiled_programs, writable_folder
from vrn_jax.config import FaceSettings
from vrn_jax.errors import InputError

if TYPE_CHECKING:
    from vrn_jax.faces.source import FaceSource

__all__ = ["DataExport", "data_export"]


@dataclass(frozen=True)
class DataExport:
    """Write made faces to a folder as a TFDS data set (ArrayRecord), picture and volume.

    About 90 kB a face. An interrupted export goes on where it was when the command is repeated.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder: a new or empty one, or that of an interrupted export."""
    count: int = 10_000
    """Faces to train on, the split "train"; 0 for none."""
    held_out: int = 0
    """Faces to test on, the split "test": another stream, and other portraits."""
    head: Path | None = None
    """A head file; without one, the head that comes with this package."""
    textures: Path | None = None
    """Portraits on that head, from `vrn data textures`; without them skin is drawn."""
    seed: int = 0
    """Of the streams of faces."""
    faces_per_shard: int = 1024
    """Faces in a file; so many are lost at most when the export is interrupted."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How faces vary."""


def data_export(options: DataExport) -> int:
    """Does what `vrn data export` says. Raises VrnError or OSError."""
    if min(options.count, options.held_out) < 0 or options.count + options.held_out < 1:
        raise InputError(
            "an export needs 1 face or more, got "
            f"--count {options.count} and --held-out {options.held_out}"
        )
    writable_folder(options.output)
    keep_compiled_programs()
    from tqdm import tqdm

    from vrn_jax.data.export import Export

    wanted = {False: options.count, True: options.held_out}
    export = Export(
        options.output,
        [(_source(options, held_out), count) for held_out, count in wanted.items() if count],
        made_from=_made_from(options),
        faces_per_shard=options.faces_per_shard,
    )
    start, before = time.perf_counter(), export.written
    try:
        with tqdm(total=export.faces, initial=before, unit="face", disable=None) as bar:
            export.write(on_faces=bar.update)
    except KeyboardInterrupt:
        left = export.faces - export.written
        print(f"vrn: {left:,} faces are left; the same command goes on with them", file=sys.stderr)
        raise
    seconds, made = time.perf_counter() - start, export.faces - before
    size = sum(path.stat().st_size for path in options.output.iterdir())
    print(f"faces made     {made:7,}   {made / seconds:.1f} faces/s")
    print(f"faces before   {before:7,}")
    print(f"megabytes      {size / 1e6:7,.1f}")
    print(f"written to     {options.output.resolve()}")
    return 0


def _source(options: DataExport, held_out: bool) -> "FaceSource":
    from vrn_jax.faces.source import face_source

    return face_source(
        options.head, options.textures, options.faces, seed=options.seed, held_out=held_out
    )


def _made_from(options: DataExport) -> dict[str, str]:
    """Whose data the faces are made of."""
    from vrn_jax.faces.source import head_of

    head = head_of(options.head)
    if options.textures is None:
        return {"head": head.source, "skin": "drawn by vrn_jax"}
    portraits = f"colours and shapes in {options.textures.name}; the terms of their photos apply"
    return {"head": head.source, "portraits": portraits}
