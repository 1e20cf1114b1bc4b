"""`vrn reconstruct`: photos to meshes."""

import importlib.util
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vrn_jax.cli.process import (
    astronaut,
    keep_compiled_programs,
    without_info_lines,
    writable_folder,
)
from vrn_jax.errors import InputError
from vrn_jax.outputs import MESH_KINDS, OutputSettings, write_faces

if TYPE_CHECKING:
    from vrn_jax.inference import Reconstructor
    from vrn_jax.runs import Job, Result

__all__ = ["Reconstruct", "reconstruct"]


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
    turntable: bool = False
    """Also write the turning face: a GIF, and an MP4 where the video extra is installed."""
    weights: str = "default"
    """Name of embedded weights, or a .safetensors file."""
    box: tuple[float, float, float, float] | None = None
    """The face's left, top, right and bottom in pixels of the one photo (brows to chin)."""
    landmarks: Path | None = None
    """File of 68 iBUG points in pixels of the one photo (.npy, .json, .pts, text)."""
    threshold: float | None = None
    """Occupancy at the surface, 0 to 1. Default: that of the weights."""
    sigma_px: float | None = None
    """Gaussian smoothing of the volume, sigma in crop pixels; 0 for none. Default: that of the
    weights."""
    mirror: bool = False
    """Average with the mirrored photo's volume; takes twice the time."""
    resume: bool = False
    """Of many photos, skip those that an earlier run finished with the same settings."""


def reconstruct(options: Reconstruct) -> int:
    """Does what `vrn reconstruct` says. Raises VrnError or OSError."""
    if options.box is not None and options.landmarks is not None:
        raise InputError("got both --box and --landmarks; give one, they say the same thing")
    if options.turntable:
        options = replace(options, files=_with_turntable(options.files))
    keep_compiled_programs()
    # Imports wait until the arguments are known to be good: JAX takes seconds.
    from vrn_jax.runs import find_photos, plan

    photos = find_photos(options.photos)
    if len(photos) > 1 or any(Path(name).is_dir() for name in options.photos):
        if options.box is not None or options.landmarks is not None:
            raise InputError(f"--box and --landmarks are for one photo, got {len(photos)}")
        folder = writable_folder(options.output or Path())
        return _reconstruct_many(options, plan(photos, folder), folder)
    return _reconstruct_one(options, photos[0] if photos else None)


def _with_turntable(settings: OutputSettings) -> OutputSettings:
    has_video = importlib.util.find_spec("av") is not None
    kinds = dict.fromkeys([*settings.save, "gif", *(["mp4"] if has_video else [])])
    return replace(settings, save=tuple(kinds))


def _reconstruct_one(options: Reconstruct, photo: Path | None) -> int:
    stem, settings = _single_target(options, photo.stem if photo else "astronaut")
    from vrn_jax.io.image import read_photo
    from vrn_jax.io.landmarks import read_landmarks

    pixels = read_photo(photo) if photo else astronaut()
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
        with without_info_lines():
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
        return writable_folder(target or Path()) / name, settings
    kind = target.suffix.lower()[1:]
    if kind not in MESH_KINDS:
        known = ", ".join(f".{kind}" for kind in MESH_KINDS)
        raise InputError(f"{target} ends in none of {known}; or give a folder")
    if kind not in settings.save:
        others = tuple(k for k in settings.save if k not in MESH_KINDS)
        settings = replace(settings, save=(kind, *others))
    return writable_folder(target.parent) / target.stem, settings
