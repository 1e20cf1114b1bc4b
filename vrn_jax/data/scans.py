"""Scans of heads with photos, as Florence and BU-4DFE have them, made ready for training.

A scan is turned to the front once, when it is prepared, and kept as the height field of its face
(`geometry.solid`), the landmarks in the head frame and the way from there to the photo.

Every scan has a JSON file: ``{"mesh": "a.obj", "photo": "a.jpg", "units_per_cm": 10.0,
"landmarks": 68 x [x, y, z], "photo_from_mesh": 3 x [_, _, _, _]}``. File names are relative to it.
The landmarks are iBUG's, in the mesh's coordinates; the mesh is right-handed. The matrix maps a
vertex to photo pixels: x right, y down, counted from 0, and z to the viewer in the same unit.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
import trimesh
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.spatial.transform import Rotation

from vrn_jax.data.bfm import face_region, wound_for_pictures
from vrn_jax.data.labels import labelled
from vrn_jax.data.prepare import DataSetCard, Encoded, Preparation
from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Example
from vrn_jax.faces.source import one_by_one_on_cpu
from vrn_jax.geometry.mesh import outer_eye_distance
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.solid import CELLS, field_pixels, solid_of_height
from vrn_jax.geometry.transforms import apply_affine

__all__ = [
    "SCANS",
    "SCANS_VERSION",
    "ScanRecord",
    "Scans",
    "decode_scan",
    "examples_of_scans",
    "prepare_scans",
]

SCANS, SCANS_VERSION = "vrn_scans", "1.0.0"

_FACE_RADIUS_CM = 9.5
"""About the tip of the nose: what evaluations on Florence cut out."""

_ABOUT = """Scans of heads with photos, as prepared by vrn_jax.

image: the photo's own file. height: z in centimetres of the face, turned to the front, on a grid of
240 x 240 cells of a millimetre, row 0 at the top, -inf where there is none; the origin is the mean
of the landmarks. landmarks: 68 iBUG points in the same frame (x right, y up, z to the viewer).
photo_from_head: 3 x 4, centimetres to photo pixels."""

_LICENCE = """vrn_jax adds no terms of its own. The scans and photos belong to others; their terms \
apply to this folder."""


class ScanRecord(NamedTuple):
    """A prepared scan; `image` are the bytes of the photo's file."""

    name: str
    image: bytes
    height: Float[np.ndarray, "n n"]
    landmarks: Float[np.ndarray, "68 3"]
    photo_from_head: Float[np.ndarray, "3 4"]


class Scans(NamedTuple):
    """A batch of crops of scans, as they travel to the device; see `fits.Fits`."""

    image: UInt8[np.ndarray, "*b h w 3"]
    height: Float[np.ndarray, "*b n n"]
    landmarks: Float[np.ndarray, "*b 68 3"]
    crop_from_head: Float[np.ndarray, "*b 3 4"]
    mirrored: Bool[np.ndarray, "*b"]


def prepare_scans(source: Path, folder: Path, **options: Any) -> Preparation:
    """`vrn_scans` of a folder with a JSON file for every scan; as `builders.prepare_300w_lp`.

    Raises:
        InputError: if there are no such files, or the folder cannot take the data set.
    """
    files = sorted(source.rglob("*.json")) if source.is_dir() else []
    if not files:
        raise InputError(
            f"{source} holds no scans: expected a JSON file for each, see docs/data.md"
        )
    card = DataSetCard(
        SCANS, SCANS_VERSION, _features(), _ABOUT, "https://arxiv.org/abs/1703.07834", "", _LICENCE
    )

    def encode(file: Path) -> Encoded:
        scan = read_scan(file, file.relative_to(source).with_suffix("").as_posix())
        return Encoded(_features().serialize_example(scan._asdict()), {})

    plan = {"data": SCANS, "files": len(files)}
    return Preparation(folder, card, {"train": files}, encode, plan=plan, **options)


def read_scan(file: Path, name: str) -> ScanRecord:
    """Reads a scan and turns it to the front.

    Raises:
        InputError: if a file cannot be read or is not as the module says.
    """
    described = _described(file)
    landmarks, photo_from_mesh = described["landmarks"], described["photo_from_mesh"]
    mesh = _mesh(file.parent / described["mesh"])
    head_from_mesh = _head_from_mesh(landmarks, described["units_per_cm"])
    points = apply_affine(head_from_mesh, np.asarray(mesh.vertices))
    landmarks = apply_affine(head_from_mesh, landmarks)
    apart = outer_eye_distance(landmarks)
    if not 6 < apart < 13:
        raise InputError(
            f"the outer eye corners of {file} are {apart:.3g} cm apart, which no face's are: check "
            "units_per_cm and the order of the landmarks"
        )
    region = face_region(points, landmarks)
    region &= np.linalg.norm(points - landmarks[30], axis=1) < _FACE_RADIUS_CM
    faces = wound_for_pictures(points, np.asarray(mesh.faces), region)
    faces = faces[region[faces].all(axis=1)]
    if not len(faces):
        raise InputError(f"no face in {file}: are landmarks and mesh in one frame and unit?")
    cells = np.array(field_pixels(jnp.asarray(points, jnp.float32)))
    seen = rasterize(cells, faces, (CELLS, CELLS))
    height = np.where(seen.face >= 0, interpolate(seen, faces, points[:, 2:])[..., 0], -np.inf)
    inverse = np.linalg.inv(np.concatenate([head_from_mesh, [[0.0, 0.0, 0.0, 1.0]]]))
    photo = file.parent / described["photo"]
    return ScanRecord(
        name,
        _picture(photo),
        height.astype(np.float32),
        landmarks.astype(np.float32),
        (photo_from_mesh @ inverse).astype(np.float32),
    )


def decode_scan(record: bytes) -> ScanRecord:
    """The scan of a record; its picture stays encoded."""
    decoders = {"image": tfds.decode.SkipDecoding()}
    fields: Any = _features().deserialize_example_np(record, decoders=decoders)
    name = fields["name"]
    fields["name"] = name.decode() if isinstance(name, bytes) else str(name)
    return ScanRecord(**fields)


def examples_of_scans(scans: Scans) -> Example:
    """The batch that a training step needs."""

    def make(scan: Scans) -> Example:
        solid = solid_of_height(jnp.asarray(scan.height), jnp.asarray(scan.crop_from_head))
        facing = jnp.ones(68)  # what a landmark's surface faces is not kept
        return labelled(
            jnp.asarray(scan.image),
            solid,
            jnp.asarray(scan.landmarks),
            facing,
            jnp.asarray(scan.mirrored),
        )

    return one_by_one_on_cpu(make, scans)


@cache
def _features() -> tfds.features.FeaturesDict:
    features, tensor = tfds.features, tfds.features.Tensor
    return features.FeaturesDict(
        {
            "name": features.Text(),
            "image": features.Image(shape=(None, None, 3)),
            "height": tensor(shape=(CELLS, CELLS), dtype=np.float32, encoding="zlib"),
            "landmarks": tensor(shape=(68, 3), dtype=np.float32),
            "photo_from_head": tensor(shape=(3, 4), dtype=np.float32),
        }
    )


_SHAPES = {"landmarks": (68, 3), "photo_from_mesh": (3, 4)}


def _described(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        described: dict[str, Any] = {name: str(values[name]) for name in ("mesh", "photo")}
        described["units_per_cm"] = float(values["units_per_cm"])
        for name in _SHAPES:
            described[name] = np.asarray(values[name], np.float64)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file} must be JSON with mesh, photo, units_per_cm, landmarks and photo_from_mesh: "
            f"{error!r}"
        ) from error
    for name, shape in _SHAPES.items():
        if described[name].shape != shape or not np.isfinite(described[name]).all():
            raise InputError(f"{name} of {file} must be {shape} finite numbers")
    return described


def _mesh(path: Path) -> trimesh.Trimesh:
    try:
        mesh: Any = trimesh.load(path, process=False, force="mesh")
    except Exception as error:  # trimesh's readers raise what they like
        raise InputError(f"cannot read the mesh {path}: {error}") from error
    if not len(getattr(mesh, "faces", ())):
        raise InputError(f"{path} has no triangles; a scan must be a mesh, no cloud of points")
    return mesh


def _picture(path: Path) -> bytes:
    try:
        with Image.open(path) as picture:
            picture.verify()
            if picture.format not in ("JPEG", "PNG"):
                raise InputError(f"{path} must be a JPEG or PNG, got {picture.format}")
        return path.read_bytes()
    except (OSError, SyntaxError) as error:
        raise InputError(f"cannot read the photo {path}: {error}") from error


def _head_from_mesh(
    landmarks: Float[np.ndarray, "68 3"], units_per_cm: float
) -> Float[np.ndarray, "3 4"]:
    """Turned like the mean landmarks (Kabsch), in centimetres, about the mean of the landmarks."""
    centre = landmarks.mean(axis=0)
    upright = MEAN_LANDMARKS * [1.0, -1.0, 1.0]
    turn = Rotation.align_vectors(upright, landmarks - centre)[0].as_matrix() / units_per_cm
    return np.concatenate([turn, -(turn @ centre)[:, None]], axis=1)
