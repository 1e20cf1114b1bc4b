"""`vrn bench`: speed and recall as JSON, and the tables made of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vrn_jax.cli.process import astronaut

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
class BenchTables:
    """Rewrite the tables of documents from the JSON files of earlier benches."""

    documents: tyro.conf.Positional[tuple[Path, ...]] = (Path("README.md"),)
    """Markdown files with marked tables."""
    numbers: Path = Path("docs/bench")
    """Folder of the JSON files."""


@dataclass(frozen=True)
class Bench:
    """Measure speed or recall on this machine."""

    what: (
        Annotated[BenchInference, tyro.conf.subcommand("inference")]
        | Annotated[BenchDetection, tyro.conf.subcommand("detection")]
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
