"""A run over photos: which, where to, what is done already, and what became of each."""

import glob
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.inference import Reconstructor
from vrn_jax.io.atomic import writing
from vrn_jax.io.image import PHOTO_SUFFIXES
from vrn_jax.outputs import OutputSettings, write_faces
from vrn_jax.pipeline import Outcome, reconstruct_many
from vrn_jax.preview import tile

__all__ = ["Job", "Journal", "Result", "find_photos", "plan", "run", "write_contact_sheet"]

_WAITING_WRITES = 4


@dataclass(frozen=True)
class Job:
    """A photo, and what its files are named: `stem`, then `stem`-2 for the second face, ..."""

    photo: Path
    stem: Path


@dataclass(frozen=True)
class Result:
    """What became of a job. `tiles` are small pictures of its faces."""

    job: Job
    files: list[Path]
    error: str | None = None
    tiles: tuple[UInt8[np.ndarray, "h w 3"], ...] = ()


def find_photos(names: Iterable[str]) -> list[Path]:
    """Files as they are, folders as the pictures in them, and patterns as what they match, sorted.

    Raises:
        InputError: if a folder or pattern holds no picture.
    """
    photos: dict[Path, None] = {}  # in order, each once
    for name in names:
        path, found = Path(name), [Path(name)]
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        elif not path.exists() and glob.has_magic(name):
            found = sorted(Path(match) for match in glob.glob(name, recursive=True))
        if not found:
            raise InputError(f"no pictures in {name}; give photos, folders of them or patterns")
        photos.update(dict.fromkeys(found))
    return list(photos)


def plan(photos: Iterable[Path], folder: Path) -> list[Job]:
    """Names the files of each photo after it; of photos that share a name, after name and suffix.

    Raises:
        InputError: if two photos would still be written to the same place.
    """
    photos = list(photos)
    stems = [photo.stem for photo in photos]
    names = [
        photo.name.replace(".", "_") if stems.count(photo.stem) > 1 else photo.stem
        for photo in photos
    ]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(
                f"{photos[names.index(name)]} and {photos[i]} would both be written to "
                f"{folder / name}.*; give them in runs of their own"
            )
    return [Job(photo, folder / name) for photo, name in zip(photos, names, strict=True)]


class Journal:
    """The finished photos of a folder, one JSON line each, so that a run can be taken up again.

    A photo counts as finished if it and the settings have not changed and all its files are there.
    """

    def __init__(self, folder: Path, settings: object):
        self._path = folder / "vrn-run.jsonl"
        self._settings = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def finished(self, jobs: Iterable[Job]) -> set[Path]:
        """The photos of these jobs that need not be done again."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return set()
        entries = {}
        for line in lines:
            try:
                entry = json.loads(line)
                entries[entry["photo"]] = (entry["state"], entry["files"])
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by whatever stopped the run
        return {
            job.photo
            for job in jobs
            if str(job.photo) in entries
            and entries[str(job.photo)][0] == self._state(job.photo)
            and all(self._path.with_name(name).is_file() for name in entries[str(job.photo)][1])
        }

    def note(self, result: Result) -> None:
        """Adds a finished photo."""
        entry = {
            "photo": str(result.job.photo),
            "state": self._state(result.job.photo),
            "files": [file.name for file in result.files],
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _state(self, photo: Path) -> list:
        try:
            stat = photo.stat()
        except OSError:
            return []
        return [stat.st_size, stat.st_mtime_ns, self._settings]


def run(
    jobs: list[Job],
    reconstructor: Reconstructor,
    settings: OutputSettings,
    *,
    on_result: Callable[[Result], None],
) -> None:
    """Does the jobs in order, writing in the background, and hands every result to `on_result`.

    Raises:
        OSError: if a file cannot be written; what has been written before is complete.
    """
    writing_now: list[Future[Result]] = []
    outcomes = reconstruct_many(reconstructor, [job.photo for job in jobs])
    with ThreadPoolExecutor(1, "vrn-write") as pool:
        for job, outcome in zip(jobs, outcomes, strict=True):
            writing_now.append(pool.submit(_write, job, outcome, settings))
            while len(writing_now) > _WAITING_WRITES:
                on_result(writing_now.pop(0).result())
        for future in writing_now:
            on_result(future.result())


def _write(job: Job, outcome: Outcome, settings: OutputSettings) -> Result:
    if outcome.error is not None:
        return Result(job, [], str(outcome.error))
    files = list(write_faces(outcome.faces, job.stem, settings))
    return Result(job, files, tiles=tuple(tile(face) for face in outcome.faces))


def write_contact_sheet(path: Path, tiles: list[UInt8[np.ndarray, "h w 3"]], columns: int) -> None:
    """All tiles on one JPEG, row by row."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, picture in enumerate(tiles):
        sheet.paste(Image.fromarray(picture), (i % columns * width, i // columns * height))
    with writing(path) as partial:
        sheet.save(partial, format="JPEG", quality=90)
