"""`vrn bench`: speed and recall as JSON, and the tables made of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vrn_jax.cli.process import astronaut
from vrn_jax.config import FaceSettings
from vrn_jax.errors import InputError

__all__ = ["Bench", "bench"]


@dataclass(frozen=True)
class BenchInference:
    """Time every part of reconstructing the portrait that comes with scikit-image, beside peers."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; without one the numbers are printed."""


@dataclass(frozen=True)
class BenchDetection:
    """Measure how many faces are found when photos are turned, shrunk, cut, covered or blurred."""

    folder: tyro.conf.Positional[Path]
    """Photos with one face each."""
    limit: int | None = None
    """Use so many of them, evenly spread."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; without one the numbers are printed."""


@dataclass(frozen=True)
class BenchFaces:
    """Measure made faces: speed, how much they differ, and what the detector makes of them."""

    head: Path | None = None
    """A head file; without one, the head that comes with this package."""
    textures: Path | None = None
    """Portraits on that head, from `vrn data textures`; without them skin is drawn."""
    portraits: Path | None = None
    """Folder of portraits, one face each, to compare the detector's results with."""
    count: int = 200
    """How many faces to measure variety and likeness on."""
    batch: int | None = None
    """How many one program makes when speed is measured. Default: 1 on a CPU, else 64."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How faces vary."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; without one the numbers are printed."""


@dataclass(frozen=True)
class BenchDemo:
    """Load the web app with many clients, beside the bare reconstructor on the same photo."""

    clients: int = 64
    """Clients at once."""
    seconds: float = 60.0
    """How long a round takes."""
    rounds: int = 3
    """How many rounds; the median counts."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; without one the numbers are printed."""


@dataclass(frozen=True)
class BenchTables:
    """Rewrite the tables of documents from the JSON files of earlier benches."""

    documents: tyro.conf.Positional[tuple[Path, ...]] = (
        Path("README.md"),
        Path("docs/faces.md"),
        Path("docs/demo.md"),
    )
    """Markdown files with marked tables."""
    numbers: Path = Path("docs/bench")
    """Folder of the JSON files."""


@dataclass(frozen=True)
class Bench:
    """Measure speed or recall on this machine."""

    what: (
        Annotated[BenchInference, tyro.conf.subcommand("inference")]
        | Annotated[BenchDetection, tyro.conf.subcommand("detection")]
        | Annotated[BenchFaces, tyro.conf.subcommand("faces")]
        | Annotated[BenchDemo, tyro.conf.subcommand("demo")]
        | Annotated[BenchTables, tyro.conf.subcommand("tables")]
    )


def bench(command: Bench) -> int:
    """Does what `vrn bench` says. Raises VrnError or OSError."""
    from vrn_jax.io.atomic import writing

    options = command.what
    if isinstance(options, BenchTables):
        from vrn_jax.bench.tables import with_tables

        for document in options.documents:
            text = with_tables(document.read_text(encoding="utf-8"), options.numbers)
            with writing(document) as partial:
                partial.write_text(text, encoding="utf-8")
        return 0
    if isinstance(options, BenchInference):
        from vrn_jax.bench.inference import measure_inference

        numbers = measure_inference(astronaut())
    elif isinstance(options, BenchFaces):
        numbers = _measure_faces(options)
    elif isinstance(options, BenchDemo):
        from vrn_jax.bench.demo import measure_demo

        numbers = measure_demo(
            astronaut(), clients=options.clients, seconds=options.seconds, rounds=options.rounds
        )
    else:
        from vrn_jax.bench.detection import measure_recall

        numbers = measure_recall(options.folder, limit=options.limit)
    text = json.dumps(numbers, indent=1)
    if options.output is None:
        print(text)
    else:
        with writing(options.output) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return 0


def _measure_faces(options: BenchFaces) -> dict:
    if min(options.count, 1 if options.batch is None else options.batch) < 1:
        raise InputError(f"--count and --batch must be 1 or more, got {options}")
    from tqdm import tqdm

    from vrn_jax.bench.faces import measure_faces
    from vrn_jax.faces.builtin import builtin_head
    from vrn_jax.faces.head import load_head
    from vrn_jax.faces.source import face_source

    return measure_faces(
        face_source(options.head, options.textures, options.faces),
        builtin_head() if options.head is None else load_head(options.head),
        count=options.count,
        batch=options.batch,
        portraits=options.portraits,
        progress=lambda numbers: tqdm(numbers, unit="face", disable=None),
    )
