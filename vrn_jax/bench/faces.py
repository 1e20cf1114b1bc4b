"""Made faces: how fast, how varied, and how much like photos for a detector.

Variety is the front-surface depth error of the mean head, posed by the true 2D landmarks: on real
photos it is .05 to .07 of the outer eye distance, and faces that are more alike teach a network
less. Likeness is what our own detector makes of the pictures, beside what it makes of portraits.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from vrn_jax.bench.provenance import provenance
from vrn_jax.detection import FaceDetector
from vrn_jax.faces.correspond import facemesh_points
from vrn_jax.faces.fit import HeadFitter
from vrn_jax.faces.head import Head
from vrn_jax.faces.model import FaceModel
from vrn_jax.faces.preview import depth_map
from vrn_jax.faces.sample import Example, Portraits
from vrn_jax.faces.source import FaceSource, make_faces
from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.solid import occupancy
from vrn_jax.geometry.transforms import similarity
from vrn_jax.io.image import PHOTO_SUFFIXES, read_photo
from vrn_jax.metrics.baselines import posed_head
from vrn_jax.metrics.depth import depth_error, mesh_front
from vrn_jax.metrics.statistics import YAW_BINS, yaw_bin

__all__ = ["measure_faces"]

_CANVAS = 320


def measure_faces(
    source: FaceSource,
    head: Head,
    *,
    count: int = 200,
    batch: int | None = None,
    portraits: Path | None = None,
    progress: Callable[[range], Iterable[int]] = lambda numbers: numbers,
) -> dict:
    """Speed, variety and likeness of `count` faces of a source made from `head`.

    Args:
        source: the faces.
        head: its head; without identity or expression it is the mean head.
        count: faces for variety and likeness.
        batch: samples that one program makes when speed is measured; None: 1 on a CPU, where XLA
            uses all cores for a single sample and one for a loop, else 64.
        portraits: folder of photos with one face each, to compare with; None leaves that out.
        progress: wraps the numbers that are gone through, such as tqdm.

    Returns:
        ``speed``: compile seconds, complete samples (picture, landmarks, 192x192x200 occupancy) a
        second and their bytes; ``mean_head_depth_error`` by bins of yaw; ``detector``: recall and
        root mean square residual of the head fitted to FaceMesh's points, on made faces by bins of
        yaw and on portraits.
    """
    speed = _speed(source, batch or (1 if jax.default_backend() == "cpu" else 64))
    detector, fitter = FaceDetector(), HeadFitter(head, facemesh_points(head))
    rows = [_row(source[i], head, detector, fitter) for i in progress(range(count))]
    yaw, error, found, residual = (np.array(column) for column in zip(*rows, strict=True))
    bins = {name: yaw_bin(yaw) == i for i, name in enumerate(YAW_BINS)}
    bins["all"] = np.ones(count, bool)
    likeness = {
        name: {
            "faces": int(chosen.sum()),
            "recall": _mean(found[chosen]),
            "residual": _mean(residual[chosen & found]),
        }
        for name, chosen in bins.items()
    }
    if portraits is not None:
        likeness["portraits"] = _portraits(portraits, detector, fitter, count, progress)
    return {
        **provenance("vrn bench faces", ("jax", "numpy")),
        "speed": speed,
        "mean_head_depth_error": {name: _mean(error[chosen]) for name, chosen in bins.items()},
        "detector": likeness,
    }


def _speed(source: FaceSource, batch: int, repeats: int = 15) -> dict:
    """Samples a second of one compiled program that makes `batch` complete samples."""

    @jax.jit
    def complete(
        model: FaceModel, portraits: Portraits | None, indices: Int[Array, " b"]
    ) -> tuple[Example, Bool[Array, "b h w d"]]:
        examples = make_faces(model, portraits, indices, seed=source.seed, settings=source.settings)
        if jax.default_backend() == "cpu":
            return examples, jax.lax.map(occupancy, examples.solid)
        return examples, jax.vmap(occupancy)(examples.solid)

    start = time.perf_counter()
    # As arguments: constants of this size would be folded by the compiler for minutes.
    data = (source.model, source.portraits)
    compiled = complete.lower(*data, jnp.arange(batch)).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(compiled(*data, jnp.arange(batch)))
    times = []
    for i in range(1, repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*data, jnp.arange(batch) + i * batch))
        times.append(time.perf_counter() - start)
    memory = compiled.memory_analysis()
    assert memory is not None  # every backend that this runs on tells
    return {
        "compile_seconds": round(compile_seconds, 2),
        "batch": batch,
        "samples_per_second": round(batch / float(np.median(times)), 2),
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "output_bytes_per_sample": int(memory.output_size_in_bytes) // batch,
    }


def _row(
    example: Example, head: Head, detector: FaceDetector, fitter: HeadFitter
) -> tuple[float, float, bool, float]:
    """(yaw, depth error of the mean head, whether the detector finds the face, residual)."""
    landmarks = np.asarray(example.landmarks)
    truth = depth_map(example.solid)
    mean = posed_head(head.neutral, head.faces, head.landmarks, landmarks[:, :2], "crop")
    error = float(
        depth_error(jnp.asarray(mesh_front(mean, truth.shape)), truth, example.landmarks).error
    )
    found, residual = _detected(np.asarray(example.image), detector, fitter)
    return float(example.attributes.yaw), error, found, residual


def _portraits(
    folder: Path,
    detector: FaceDetector,
    fitter: HeadFitter,
    count: int,
    progress: Callable[[range], Iterable[int]],
) -> dict:
    """The same on real portraits, brought to the scale of the made faces."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
    paths = paths[:: max(1, len(paths) // count)][:count]
    outcomes = []
    for i in progress(range(len(paths))):
        photo = read_photo(paths[i])
        outcomes.append(_detected(_shrunk(photo), detector, fitter))
    found, residual = (np.array(column) for column in zip(*outcomes, strict=True))
    return {"faces": len(paths), "recall": _mean(found), "residual": _mean(residual[found])}


def _shrunk(photo: np.ndarray) -> np.ndarray:
    """The portrait as a crop of 192 px; portraits are cropped around the face already."""
    h, w = photo.shape[:2]
    scale = 192 / max(h, w)
    matrix = similarity(scale, 0.0, np.array([(w - 1) / 2, (h - 1) / 2]), np.array([95.5, 95.5]))
    return warp(photo, matrix, (192, 192))


def _detected(crop: np.ndarray, detector: FaceDetector, fitter: HeadFitter) -> tuple[bool, float]:
    """Whether a face is found in the middle of a crop, on a grey canvas, and the fit's residual."""
    canvas = np.full((_CANVAS, _CANVAS, 3), 127, np.uint8)
    margin = (_CANVAS - crop.shape[0]) // 2
    canvas[margin : margin + crop.shape[0], margin : margin + crop.shape[1]] = crop
    for face in detector(canvas):
        centre = (face.box[:2] + face.box[2:]) / 2 - _CANVAS / 2
        if np.abs(centre).max() < 60 and face.facemesh is not None:
            return True, fitter(face.facemesh).residual
    return False, float("nan")


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values.astype(float))]
    return round(float(values.mean()), 4) if len(values) else None
