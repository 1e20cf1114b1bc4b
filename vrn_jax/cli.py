"""The command line: `vrn COMMAND`. Errors are one line on standard error, never a traceback."""

import contextlib
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from PIL import Image

from vrn_jax import __version__
from vrn_jax.errors import InputError, VrnError
from vrn_jax.outputs import MESH_KINDS, OutputSettings, write_faces

if TYPE_CHECKING:
    from vrn_jax.inference import Reconstructor
    from vrn_jax.runs import Job, Result

__all__ = ["Reconstruct", "main"]


@dataclass(frozen=True)
class Reconstruct:
    """Make a textured 3D mesh of every face in photos."""

    photos: tyro.conf.Positional[tuple[str, ...]] = ()
    """Pictures, folders of pictures, or patterns. Without any, the portrait that comes with
    scikit-image is used."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """For one photo a mesh file (.glb, .obj, .ply, .stl), else a folder. Default: the current
    folder. Files are named after their photo; further faces of it get -2, -3, ..."""
    files: tyro.conf.OmitArgPrefixes[OutputSettings] = field(default_factory=OutputSettings)
    weights: str = "default"
    """Name of embedded weights, or a .safetensors file."""
    box: tuple[float, float, float, float] | None = None
    """The face's left, top, right and bottom in pixels of the one photo (brows to chin)."""
    landmarks: Path | None = None
    """File of 68 iBUG points in pixels of the one photo (.npy, .json, .pts, text)."""
    threshold: float | None = None
    """Occupancy at the surface, 0 to 1. Default: that of the weights."""
    sigma_px: float = 1.5
    """Gaussian smoothing of the volume, sigma in crop pixels; 0 for none."""
    mirror: bool = False
    """Average with the mirrored photo's volume; takes twice the time."""
    resume: bool = False
    """Of many photos, skip those that an earlier run finished with the same settings."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `vrn` with the given arguments (default: those of the process); returns the exit code.

    0: done. 1: something given cannot be used, the message says what. 2: usage. 130: interrupted.
    """
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"vrn_jax {__version__}")
        return 0
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # read_photo checks
    command = tyro.extras.subcommand_cli_from_dict(
        {"reconstruct": Reconstruct, "bench": Bench},
        prog="vrn",
        description="3D faces from photos (VRN, ICCV 2017).",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    try:
        return reconstruct(command) if isinstance(command, Reconstruct) else bench(command.what)
    except (VrnError, OSError) as error:
        print(f"vrn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vrn: interrupted", file=sys.stderr)
        return 130


def reconstruct(options: Reconstruct) -> int:
    """Does what `vrn reconstruct` says. Raises VrnError or OSError."""
    if options.box is not None and options.landmarks is not None:
        raise InputError("got both --box and --landmarks; give one, they say the same thing")
    _keep_compiled_programs()
    # Imports wait until the arguments are known to be good: JAX takes seconds.
    from vrn_jax.runs import find_photos, plan

    photos = find_photos(options.photos)
    if len(photos) > 1 or any(Path(name).is_dir() for name in options.photos):
        if options.box is not None or options.landmarks is not None:
            raise InputError(f"--box and --landmarks are for one photo, got {len(photos)}")
        folder = _folder(options.output or Path())
        return _reconstruct_many(options, plan(photos, folder), folder)
    return _reconstruct_one(options, photos[0] if photos else None)


def bench(options: BenchInference | BenchDetection | BenchTables) -> int:
    """Does what `vrn bench` says. Raises VrnError or OSError."""
    from vrn_jax.io.atomic import writing

    if isinstance(options, BenchTables):
        from vrn_jax.bench.tables import with_tables

        for document in options.documents:
            text = with_tables(document.read_text(), options.numbers)
            with writing(document) as partial:
                partial.write_text(text)
        return 0
    if isinstance(options, BenchInference):
        from vrn_jax.bench.inference import measure_inference

        numbers = measure_inference(_astronaut())
    else:
        from vrn_jax.bench.detection import measure_recall

        numbers = measure_recall(options.folder, limit=options.limit)
    text = json.dumps(numbers, indent=1)
    if options.output is None:
        print(text)
    else:
        with writing(options.output) as partial:
            partial.write_text(text + "\n")
    return 0


def _reconstruct_one(options: Reconstruct, photo: Path | None) -> int:
    stem, settings = _single_target(options, photo.stem if photo else "astronaut")
    from vrn_jax.io.image import read_photo
    from vrn_jax.io.landmarks import read_landmarks

    pixels = read_photo(photo) if photo else _astronaut()
    landmarks = read_landmarks(options.landmarks) if options.landmarks else None
    reconstructor = _reconstructor(options, detect=landmarks is None and options.box is None)
    faces = reconstructor(pixels, landmarks=landmarks, box=options.box)
    for path in write_faces(faces, stem, settings):
        print(path)
    return 0


def _reconstruct_many(options: Reconstruct, jobs: "list[Job]", folder: Path) -> int:
    from tqdm import tqdm

    from vrn_jax.runs import Journal, run, write_contact_sheet

    journal = Journal(folder, replace(options, photos=(), output=None, resume=False))
    finished = journal.finished(jobs) if options.resume else set()
    todo = [job for job in jobs if job.photo not in finished]
    results: list[Result] = []
    start = time.perf_counter()
    with tqdm(total=len(todo), unit="photo", disable=None) as bar:

        def on_result(result: "Result") -> None:
            results.append(result)
            if result.error is None:
                journal.note(result)
            else:
                bar.write(f"{result.job.photo}: {result.error}", file=sys.stderr)
            bar.update()

        if todo:
            run(todo, _reconstructor(options), options.files, on_result=on_result)
    tiles = [tile for result in results for tile in result.tiles]
    if tiles:
        write_contact_sheet(folder / "contact-sheet.jpg", tiles, columns=3)
    failed = [result for result in results if result.error is not None]
    seconds = time.perf_counter() - start
    print(f"photos done     {len(results) - len(failed):6}   faces {len(tiles)}")
    print(f"photos failed   {len(failed):6}")
    print(f"photos skipped  {len(finished):6}   finished before")
    print(f"seconds         {seconds:6.1f}   {len(results) / max(seconds, 1e-9):.2f} photos/s")
    print(f"written to      {folder.resolve()}" + ("/contact-sheet.jpg, ..." if tiles else ""))
    return 1 if failed else 0


def _reconstructor(options: Reconstruct, *, detect: bool = True) -> "Reconstructor":
    from vrn_jax.detection import FaceDetector
    from vrn_jax.inference import load

    detector = None
    if detect:
        with _without_info_lines():
            detector = FaceDetector()
    return load(
        options.weights,
        threshold=options.threshold,
        sigma_px=options.sigma_px,
        mirror=options.mirror,
        detector=detector,
    )


def _single_target(options: Reconstruct, name: str) -> tuple[Path, OutputSettings]:
    """Where the files of the one photo go, without suffix. A mesh file as -o asks for that kind."""
    target, settings = options.output, options.files
    if target is None or target.is_dir() or not target.suffix:
        return _folder(target or Path()) / name, settings
    kind = target.suffix.lower()[1:]
    if kind not in MESH_KINDS:
        known = ", ".join(f".{kind}" for kind in MESH_KINDS)
        raise InputError(f"{target} ends in none of {known}; or give a folder")
    if kind not in settings.save:
        others = tuple(k for k in settings.save if k not in MESH_KINDS)
        settings = replace(settings, save=(kind, *others))
    return _folder(target.parent) / target.stem, settings


def _folder(path: Path) -> Path:
    """The folder, which may not exist yet but must be possible to write, known before any work."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {path}: {there} is no folder, or not writable")
    return path


def _keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles in the user's cache folder, unless the user has said where."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(base, "vrn_jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


@contextlib.contextmanager
def _without_info_lines() -> Iterator[None]:
    """Holds back what native code writes to standard error, and drops the "INFO:" lines of it.

    LiteRT announces its CPU kernels in such a line and has no switch for it. Python's own stream is
    not enough: the line goes to the file descriptor.
    """
    with tempfile.TemporaryFile() as held:
        standard_error = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(b"INFO:")))


def _astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


if __name__ == "__main__":
    sys.exit(main())
