"""ICT-FaceKit's files: a clone's folder of OBJ files, or the same packed into one .npz.

The folder `FaceXModel` holds `generic_neutral_mesh.obj`, one OBJ of the same vertices for every
identity mode (`identity000.obj`, ...) and expression (`jawOpen.obj`, ...), each a mode at weight
one, and `vertex_indices.json`, which names the expressions and the vertices of the 68 landmarks.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vrn_jax.errors import InputError

__all__ = ["IctModel", "read_ict"]

_NEUTRAL, _INDICES = "generic_neutral_mesh.obj", "vertex_indices.json"
_CLONE = "git clone https://github.com/ICT-VGL/ICT-FaceKit"


@dataclass(frozen=True)
class IctModel:
    """ICT-FaceKit's own arrays: quads with -1 for the fourth corner of a triangle, a material each.

    Centimetres, x to the viewer's right, y up, z to the viewer.
    """

    neutral: Float[np.ndarray, "v 3"]
    identity: Float[np.ndarray, "i v 3"]
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]
    quads: Int[np.ndarray, "q 4"]
    material: Int[np.ndarray, " q"]
    materials: tuple[str, ...]
    landmarks: Int[np.ndarray, " 68"]


def read_ict(
    path: Path, *, progress: Callable[[Sequence[Path]], Iterable[Path]] = iter
) -> IctModel:
    """Reads a clone of ICT-FaceKit, its folder `FaceXModel`, or a packed .npz.

    Args:
        path: the folder or the .npz file.
        progress: called with the OBJ files of the modes, gives them back one by one.

    Raises:
        InputError: if a file is missing, cannot be read, has NaNs or another number of vertices
            than the neutral mesh; the message names it.
    """
    if path.is_file():
        return _read_npz(path)
    if not path.is_dir():
        raise InputError(f"there is no folder or .npz file {path}; get one by `{_CLONE}`")
    folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
    names, landmarks = _read_indices(folder / _INDICES)
    neutral, quads, material, materials = _read_mesh(folder / _NEUTRAL)
    if landmarks.min() < 0 or landmarks.max() >= len(neutral):
        raise InputError(
            f"{folder / _INDICES} places landmarks on vertices up to {landmarks.max()}, but "
            f"{_NEUTRAL} has {len(neutral)}: they are from different versions"
        )
    people = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    expected = [folder / f"identity{k:03d}.obj" for k in range(max(len(people), 1))]
    if missing := [file.name for file in expected if file not in people]:
        raise InputError(f"{folder} has no {missing[0]}; update the clone: `{_CLONE}`")
    modes = np.empty((len(people) + len(names), *neutral.shape), np.float32)
    files = [*people, *(folder / f"{name}.obj" for name in names)]
    for k, file in enumerate(progress(files)):
        points = _read_points(file, _read_bytes(file))
        if len(points) != len(neutral):
            raise InputError(
                f"{file} has {len(points)} vertices, {_NEUTRAL} has {len(neutral)}: they are from "
                f"different versions or cut off; update the clone: `{_CLONE}`"
            )
        modes[k] = points - neutral
    return IctModel(
        neutral=neutral,
        identity=modes[: len(people)],
        expression=modes[len(people) :],
        expression_names=names,
        quads=quads,
        material=material,
        materials=materials,
        landmarks=landmarks,
    )


def _read_npz(path: Path) -> IctModel:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            model = IctModel(
                neutral=arrays["neutral"].astype(np.float32),
                identity=arrays["identity"].astype(np.float32),
                expression=arrays["expression"].astype(np.float32),
                expression_names=tuple(arrays["expression_names"].tolist()),
                quads=arrays["faces"].astype(np.int32),
                material=arrays["face_material"].astype(np.int32),
                materials=tuple(arrays["materials"].tolist()),
                landmarks=arrays["landmarks68"].astype(np.int32),
            )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no packed ICT-FaceKit ({error})") from error
    for name in ("neutral", "identity", "expression"):
        values = getattr(model, name)
        if values.shape[-2:] != model.neutral.shape or not np.isfinite(values).all():
            raise InputError(
                f"{path}: {name} has shape {values.shape} or NaNs, expected finite "
                f"(..., {len(model.neutral)}, 3)"
            )
    return model


def _read_indices(path: Path) -> tuple[tuple[str, ...], Int[np.ndarray, " 68"]]:
    try:
        indices = json.loads(_read_bytes(path))
        names = tuple(str(name) for name in indices["expressions"])
        landmarks = np.array(indices["idx_to_landmark_verts"], np.int32)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} names no expressions and landmarks ({error!r})") from error
    if landmarks.shape != (68,):
        raise InputError(f"{path} has {landmarks.size} landmarks, expected 68")
    return names, landmarks


def _read_mesh(
    path: Path,
) -> tuple[np.ndarray, Int[np.ndarray, "q 4"], Int[np.ndarray, " q"], tuple[str, ...]]:
    """Points, faces, and each face's material."""
    data = _read_bytes(path)
    points = _read_points(path, data)
    faces: list[list[int]] = []
    material: list[int] = []
    materials: list[str] = []
    current = -1
    for line in data.decode(errors="replace").splitlines():
        kind, *words = line.split() or [""]
        if kind == "usemtl" and words:
            if words[0] not in materials:
                materials.append(words[0])
            current = materials.index(words[0])
        elif kind == "f":
            if len(words) not in (3, 4) or current < 0:
                raise InputError(
                    f"{path}: expected triangles and quads with materials, got {line!r}"
                )
            faces.append([int(word.split("/")[0]) - 1 for word in words] + [-1] * (4 - len(words)))
            material.append(current)
    quads = np.array(faces, np.int32).reshape(-1, 4)
    if not faces or quads.max() >= len(points) or quads[:, :3].min() < 0:
        raise InputError(f"{path} has no faces, or faces of vertices that it lacks")
    return points, quads, np.array(material, np.int32), tuple(materials)


def _read_points(path: Path, data: bytes) -> Float[np.ndarray, "v 3"]:
    rows = [line.split()[1:4] for line in data.splitlines() if line.startswith(b"v ")]
    try:
        points = np.array(rows, np.float64).astype(np.float32).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{path} has a vertex that is not three numbers ({error})") from error
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if not len(points) or len(bad):
        what = f"vertex {bad[0] + 1} is {points[bad[0]].tolist()}" if len(bad) else "no vertices"
        raise InputError(f"{path} cannot be used: {what}")
    return points


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}); ICT-FaceKit comes by `{_CLONE}`"
        ) from error
