"""A folder of portraits to a texture set: every portrait found, fitted and turned into colours.

Portraits are done by several processes, and each is written to a file of its own as soon as it is
done: what was interrupted goes on where it was.
"""

import multiprocessing
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.detection import FaceDetector
from vrn_jax.errors import InputError, NoFaceError, VrnError
from vrn_jax.faces.correspond import SurfacePoints, facemesh_points
from vrn_jax.faces.fit import HeadFitter
from vrn_jax.faces.head import Head
from vrn_jax.faces.identities import fit_identities
from vrn_jax.faces.texture_head import Texturer
from vrn_jax.faces.textures import TextureSet, fingerprint, is_held_out
from vrn_jax.io.atomic import writing
from vrn_jax.io.image import read_photo

__all__ = ["Portrait", "PortraitReader", "read_portraits"]

MAX_RESIDUAL = 0.04
"""Outer eye distances between FaceMesh's points and the fit, root mean square; portraits of people
stay below 0.03."""
LEAST_SEEN = 0.3
"""Share of the face that a portrait must show."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """One portrait on a head; the fields are a row of `TextureSet`."""

    colours: UInt8[np.ndarray, "v 3"]
    identity: Float[np.ndarray, " i"]
    expression: Float[np.ndarray, " e"]
    photo_from_head: Float[np.ndarray, "3 4"]
    residual: float
    seen: float


class PortraitReader:
    """Photo files to portraits on one head."""

    def __init__(self, head: Head, points: SurfacePoints):
        self._detector = FaceDetector()
        self._fitter = HeadFitter(head, points)
        self._texturer = Texturer(head)

    def __call__(self, path: Path) -> Portrait:
        """The largest face of a photo.

        Raises:
            InputError: if the file is no photo, shows no face, or one that the head does not fit.
        """
        photo = read_photo(path)
        face = next((face for face in self._detector(photo) if face.facemesh is not None), None)
        if face is None or face.facemesh is None:
            raise NoFaceError(f"no face found in {path}")
        fit = self._fitter(face.facemesh)
        if not fit.residual <= MAX_RESIDUAL:
            raise InputError(
                f"the head does not fit the face in {path}: off by {fit.residual:.3f} of the outer "
                f"eye distance, allowed are {MAX_RESIDUAL}"
            )
        colours, seen = self._texturer(photo, fit)
        if seen < LEAST_SEEN:
            raise InputError(f"{path} shows {seen:.0%} of the face, needed are {LEAST_SEEN:.0%}")
        return Portrait(
            colours, fit.identity, fit.expression, fit.photo_from_head, fit.residual, seen
        )


def read_portraits(
    head: Head,
    photos: Sequence[Path],
    finished: Path,
    *,
    processes: int,
    on_photo: Callable[[Path, VrnError | None], None],
) -> TextureSet:
    """The texture set of photos, of which those that cannot be used are left out.

    `finished` is a folder where each portrait is kept once done; those in it are not done again
    unless their photo or the head has changed. `on_photo` is called for each photo, with the reason
    where it is left out.

    Raises:
        InputError: if FaceMesh does not see the head as a face, or no photo can be used.
    """
    finished.mkdir(parents=True, exist_ok=True)
    mark = fingerprint(head)
    parts = {photo: finished / f"{mark[:12]}-{photo.name}.npz" for photo in photos}
    portraits: dict[Path, Portrait] = {}
    for photo, part in parts.items():
        if (portrait := load_finished(part, photo)) is not None:
            portraits[photo] = portrait
            on_photo(photo, None)
    points = facemesh_points(head)
    todo = [photo for photo in photos if photo not in portraits]
    if todo:
        portraits |= _read_in_processes(head, points, todo, parts, processes, on_photo)
    used = [photo for photo in photos if photo in portraits]
    if not used:
        raise InputError(f"none of {len(photos)} photos can be used")
    uncertainty = HeadFitter(head, points).uncertainty()
    return _together(mark, {photo.stem: portraits[photo] for photo in used}, uncertainty)


def _read_in_processes(
    head: Head,
    points: SurfacePoints,
    todo: Sequence[Path],
    parts: dict[Path, Path],
    processes: int,
    on_photo: Callable[[Path, VrnError | None], None],
) -> dict[Path, Portrait]:
    """The photos that can be used; each is also saved under its name in `parts`."""
    portraits: dict[Path, Portrait] = {}
    # Matrices here are small: threads within a process only get in the way of the others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(
        min(processes, len(todo)),
        multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(head, points),
    )
    try:
        jobs = {pool.submit(_read, photo): photo for photo in todo}
        for job in as_completed(jobs):
            photo, result = jobs[job], job.result()
            if isinstance(result, Portrait):
                portraits[photo] = result
                save_finished(parts[photo], result)
            on_photo(photo, None if isinstance(result, Portrait) else result)
    finally:  # an interrupted run ends with the portraits at hand, not with all
        pool.shutdown(cancel_futures=True)
    return portraits


_reader: PortraitReader | None = None  # of a child process


def _start_process(head: Head, points: SurfacePoints) -> None:
    global _reader
    _reader = PortraitReader(head, points)


def _read(path: Path) -> Portrait | VrnError:
    assert _reader is not None  # `_start_process` ran before
    try:
        return _reader(path)
    except VrnError as error:
        return error


def save_finished(path: Path, portrait: Portrait) -> None:
    """Keeps one portrait."""
    arrays: dict[str, Any] = {f.name: getattr(portrait, f.name) for f in fields(Portrait)}
    with writing(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)


def load_finished(path: Path, photo: Path) -> Portrait | None:
    """The portrait kept of a photo, or None where there is none or the photo is newer."""
    try:
        if path.stat().st_mtime < photo.stat().st_mtime:
            return None
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            values: dict[str, Any] = {f.name: arrays[f.name] for f in fields(Portrait)}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    for name in ("residual", "seen"):
        values[name] = float(values[name])
    return Portrait(**values)


def _together(
    head: str, portraits: dict[str, Portrait], uncertainty: Float[np.ndarray, "i i"]
) -> TextureSet:
    rows = list(portraits.values())
    held_out = np.array([is_held_out(name) for name in portraits])
    identity = np.stack([row.identity for row in rows])
    return TextureSet(
        head=head,
        names=tuple(portraits),
        colours=np.stack([row.colours for row in rows]),
        identity=identity,
        expression=np.stack([row.expression for row in rows]),
        photo_from_head=np.stack([row.photo_from_head for row in rows]).astype(np.float32),
        residual=np.array([row.residual for row in rows], np.float32),
        seen=np.array([row.seen for row in rows], np.float32),
        held_out=held_out,
        identities=fit_identities(identity[~held_out], uncertainty),
    )
