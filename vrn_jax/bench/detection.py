"""How many faces the detector finds when a photo is turned, shrunk, cut, covered or blurred.

The truth is what the detector finds in the photo as it is: the largest face with landmarks. Photos
where it finds none count as such and are not used further.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from tqdm import tqdm

from vrn_jax.detection import FaceDetector
from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import landmark_box, warp
from vrn_jax.geometry.transforms import apply_similarity, similarity
from vrn_jax.io.image import PHOTO_SUFFIXES, read_photo
from vrn_jax.models.guidance import mirrored_landmarks
from vrn_jax.types import Face

__all__ = ["measure_recall"]

ANGLES_DEG = range(0, 360, 15)
SIZES_PX = (200, 100, 60, 40, 30, 20)  # root of the landmark box's area
CANVAS = (1500, 2000)  # rows, columns of the photo in which small faces are looked for
CUTS = (0.25, 0.4)  # of the landmark box, outside of the photo
FOUND_OVERLAP = 0.4  # intersection over union with the true landmark box
GREY = 127
COVERED = {"eyes": range(36, 48), "mouth": range(48, 68), "left half": (*range(8), 27, 33)}


@dataclass(frozen=True)
class Scene:
    """A changed photo and where the face now is."""

    case: str
    photo: UInt8[np.ndarray, "h w 3"]
    landmarks: Float[np.ndarray, "68 2"]


@dataclass(frozen=True)
class Outcome:
    """What the detector made of a scene; `error` is None without landmarks."""

    found: bool
    error: float | None
    others: int
    seconds: float


def measure_recall(folder: str | os.PathLike[str], *, limit: int | None = None) -> dict:
    """Recall and landmark error on photos of (mostly) one face, changed in many ways.

    A face is found when a box overlaps its true box by 0.4 (intersection over union). The landmark
    error is the mean distance from the landmarks in the unchanged photo, over their outer eye
    distance. `others` counts found boxes elsewhere; in photos of one face they are wrong.

    Args:
        folder: pictures in it are read, in the order of their names; folders in it are not.
        limit: at most so many photos, evenly spread over the folder. None takes all.

    Returns:
        ``photos``: how many were read; ``without_face``: in how many of them nothing was found;
        ``cases``: per kind of change ``count``, ``recall``, ``with_landmarks`` (share of all),
        ``median_error``, ``p95_error``, ``others`` (a photo) and ``median_seconds``.

    Raises:
        InputError: if there is no picture in the folder, or a face in none.
    """
    paths = pictures(Path(folder), limit)
    detector = FaceDetector()
    outcomes: dict[str, list[Outcome]] = {}
    without_face = 0
    for number, path in enumerate(tqdm(paths, unit="photo")):
        photo = read_photo(path)
        faces = [face for face in detector(photo) if face.landmarks is not None]
        without_face += not faces
        if faces and faces[0].landmarks is not None:
            rng = np.random.default_rng(number)
            for scene in scenes(photo, faces[0].landmarks[:, :2], rng):
                outcomes.setdefault(scene.case, []).append(detect(detector, scene))
    if not outcomes:
        raise InputError(f"no face with landmarks was found in any photo of {folder}")
    cases = {case: summary(results) for case, results in outcomes.items()}
    return {"photos": len(paths), "without_face": without_face, "cases": cases}


def pictures(folder: Path, limit: int | None) -> list[Path]:
    """The picture files of a folder, by name; not more than `limit`, evenly spread."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one that holds photos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise InputError(
            f"no picture in {folder}, files ending in {', '.join(sorted(PHOTO_SUFFIXES))}"
        )
    if limit is None or limit >= len(paths):
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, limit).round().astype(int)]


def detect(detector: Callable[[np.ndarray], list[Face]], scene: Scene) -> Outcome:
    """Runs the detector on a scene and compares."""
    start = time.perf_counter()
    faces = detector(scene.photo)
    seconds = time.perf_counter() - start
    truth = landmark_box(scene.landmarks)
    hits = [face for face in faces if overlap(face.box, truth) >= FOUND_OVERLAP]
    error = landmark_error(hits[0], scene.landmarks) if hits else None
    return Outcome(bool(hits), error, len(faces) - len(hits), seconds)


def overlap(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod((high - low).clip(0.0))
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def landmark_error(face: Face, truth: Float[np.ndarray, "68 2"]) -> float | None:
    """Mean distance in the picture over the true outer eye distance."""
    if face.landmarks is None:
        return None
    distances = np.linalg.norm(face.landmarks[:, :2] - truth, axis=1)
    return float(distances.mean() / np.linalg.norm(truth[36] - truth[45]))


def summary(outcomes: list[Outcome]) -> dict[str, float | int | None]:
    """The numbers of one case; errors are None where there were no landmarks at all."""
    errors = [one.error for one in outcomes if one.error is not None]
    median, high = np.quantile(errors, [0.5, 0.95]).tolist() if errors else (None, None)
    return {
        "count": len(outcomes),
        "recall": float(np.mean([one.found for one in outcomes])),
        "with_landmarks": len(errors) / len(outcomes),
        "median_error": median,
        "p95_error": high,
        "others": float(np.mean([one.others for one in outcomes])),
        "median_seconds": float(np.median([one.seconds for one in outcomes])),
    }


# -- scenes ----------------------------------------------------------------------------------------


def scenes(
    photo: UInt8[np.ndarray, "h w 3"],
    landmarks: Float[np.ndarray, "68 2"],
    rng: np.random.Generator,
) -> Iterator[Scene]:
    """All changes of one photo; those that draw a place, an angle or noise draw it from `rng`."""
    yield Scene("unchanged", photo, landmarks)
    reflected = np.asarray(mirrored_landmarks(jnp.asarray(landmarks[None]), photo.shape[1]))[0]
    yield Scene("mirrored", np.ascontiguousarray(photo[:, ::-1]), reflected)
    sigma = 0.04 * face_side(landmarks)
    blurred = scipy.ndimage.gaussian_filter(photo, (sigma, sigma, 0))
    yield Scene("blurred, sigma 4 % of the face", blurred, landmarks)
    for angle in ANGLES_DEG:
        yield turned(photo, landmarks, angle)
    for size in SIZES_PX:
        yield shrunk(photo, landmarks, size, rng, turned=False)
        yield shrunk(photo, landmarks, size, rng, turned=True)
    for share in CUTS:
        yield from cuts(photo, landmarks, share)
    for part, points in COVERED.items():
        yield covered(photo, landmarks, part, list(points), rng)


def turned(
    photo: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "68 2"], angle_deg: int
) -> Scene:
    """The photo turned about its middle, whole, on black."""
    height, width = photo.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    middle = np.array([width - 1, height - 1]) / 2
    scene_from_photo = similarity(1.0, np.radians(angle_deg), middle, np.full(2, (side - 1) / 2))
    picture = warp(photo, scene_from_photo, (side, side))
    return Scene(f"turned {angle_deg}", picture, apply_similarity(scene_from_photo, landmarks))


def shrunk(
    photo: UInt8[np.ndarray, "h w 3"],
    landmarks: Float[np.ndarray, "68 2"],
    size: int,
    rng: np.random.Generator,
    *,
    turned: bool,
) -> Scene:
    """The photo so scaled that the face has this size, anywhere on a large black canvas."""
    rows, columns = CANVAS
    place = rng.uniform(2 * size, [columns - 2 * size, rows - 2 * size])
    angle = rng.uniform(0, 2 * np.pi) if turned else 0.0
    box = landmark_box(landmarks)
    centre = (box[:2] + box[2:]) / 2
    scene_from_photo = similarity(size / face_side(landmarks), angle, centre, place)
    case = f"size {size}{', any angle' if turned else ''}"
    picture = warp(photo, scene_from_photo, CANVAS)
    return Scene(case, picture, apply_similarity(scene_from_photo, landmarks))


def cuts(
    photo: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "68 2"], share: float
) -> Iterator[Scene]:
    """The photo cut on each side so that this share of the landmark box falls away."""
    left, top, right, bottom = landmark_box(landmarks)
    x, y = share * (right - left), share * (bottom - top)
    parts = {
        "left": np.s_[:, round(left + x) :],
        "right": np.s_[:, : round(right - x)],
        "top": np.s_[round(top + y) :],
        "bottom": np.s_[: round(bottom - y)],
    }
    for side, part in parts.items():
        corner = (
            round(left + x) if side == "left" else 0,
            round(top + y) if side == "top" else 0,
        )
        picture = np.ascontiguousarray(photo[part])
        yield Scene(f"cut by {share:.0%}, {side}", picture, landmarks - corner)


def covered(
    photo: UInt8[np.ndarray, "h w 3"],
    landmarks: Float[np.ndarray, "68 2"],
    part: str,
    points: list[int],
    rng: np.random.Generator,
) -> Scene:
    """A rectangle of noise around mean grey over some of the landmarks."""
    margin = 0.1 * face_side(landmarks)
    left, top, right, bottom = landmark_box(landmarks[points]) + np.array([-1, -1, 1, 1]) * margin
    rows, columns = (
        np.s_[max(round(top), 0) : round(bottom)],
        np.s_[max(round(left), 0) : round(right)],
    )
    picture = photo.copy()
    noise = rng.normal(GREY, 40, picture[rows, columns].shape)
    picture[rows, columns] = noise.clip(0, 255)
    return Scene(f"covered: {part}", picture, landmarks)


def face_side(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """Root of the landmark box's area."""
    return float(np.sqrt(np.prod(np.ptp(landmarks, axis=0))))
