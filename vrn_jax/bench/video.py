"""How fast a video is worked on and what limits that, and how much its meshes tremble.

The clips are made: one person, rendered with the truth about every frame.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float

from vrn_jax.bench.provenance import provenance
from vrn_jax.config import FaceSettings, Layout, VideoSettings
from vrn_jax.detection import FaceTracker
from vrn_jax.faces.clip import Acting, ClipFrame, make_clip, still, talking
from vrn_jax.faces.source import head_of, portraits_of
from vrn_jax.faces.textures import load_textures
from vrn_jax.geometry.mesh import moved
from vrn_jax.inference import Reconstructor, load
from vrn_jax.io.video import Frame, open_writer
from vrn_jax.outputs import depth_map
from vrn_jax.video import ShapeMaker, Stopwatch, reconstruct_video

__all__ = ["jitter", "measure_video", "outline_shift"]

RATE = 25
_PACKAGES = ("jax", "numpy", "scipy", "scikit-image", "av", "ai-edge-litert")


def measure_video(
    *,
    head: Path | None = None,
    textures: Path | None = None,
    frames: int = 100,
    still_frames: int = 50,
    number: int = 0,
) -> dict:
    """Frames a second and milliseconds a frame by part, on a talking head; trembling on both clips.

    Parts that run in the thread that reads are "decode" and "follow"; all others are in the thread
    that writes, one after the other; "network" is how long that hands over and waits.
    """
    reconstructor = load()
    moving, resting = (
        list(_clip(head, textures, acting, count, number))
        for acting, count in ((talking, frames), (still, still_frames))
    )
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "talking.mp4")
        with open_writer(clip, rate=Fraction(RATE)) as writer:
            for i, frame in enumerate(moving):
                writer.write(Frame(frame.picture, i, 1))
        speed = {v: _speed(reconstructor, clip, v, frames) for v in get_args(Layout)}
    trembling = {
        f"{name}, {'smoothed' if smooth else 'as it is'}": _trembling(reconstructor, clip_, smooth)
        for (name, clip_), smooth in product(
            (("still", resting), ("talking", moving)), (False, True)
        )
    }
    return {
        **provenance("vrn bench video", _PACKAGES),
        "clip": {
            "size": list(moving[0].picture.shape[1::-1]),
            "frames": frames,
            "rate": RATE,
            "head": "built-in" if head is None else "from a file",
            "portraits": textures is not None,
        },
        "speed": speed,
        "trembling": trembling,
    }


def jitter(tracks: Float[np.ndarray, "t p c"]) -> float:
    """Standard deviation of the second differences in time, divided by sqrt(6).

    For points that stand still but for white noise this is the noise's standard deviation, in the
    points' unit; motion at a steady speed adds nothing. NaN are left out.
    """
    second = tracks[2:] - 2 * tracks[1:-1] + tracks[:-2]
    return float(np.sqrt(np.nanmean(second**2) / 6))


def outline_shift(found: Float[np.ndarray, "t 2"], true: Float[np.ndarray, "t 2"]) -> float:
    """By how many frames one path follows the other: the shift at which they agree best.

    Parabola through the best whole shift and its neighbours; positive is late.
    """
    shifts = np.arange(-3, 7)
    cut = slice(7, -7)
    errors = []
    for shift in shifts:
        difference = found[cut] - np.roll(true, shift, axis=0)[cut]
        errors.append(((difference - difference.mean(axis=0)) ** 2).mean())
    best = int(np.clip(np.argmin(errors), 1, len(shifts) - 2))
    before, here, after = errors[best - 1 : best + 2]
    return float(shifts[best] + 0.5 * (before - after) / (before - 2 * here + after))


def _clip(
    head: Path | None,
    textures: Path | None,
    acting: Callable[[float], Acting],
    frames: int,
    number: int,
) -> Iterator[ClipFrame]:
    loaded = head_of(head)
    portraits = None
    if textures is not None:
        portraits = portraits_of(load_textures(textures, loaded), held_out=True)
    settings = FaceSettings(portrait_share=1.0, hat_chance=0.0, glasses_chance=0.0)
    return make_clip(
        loaded,
        acting,
        frames=frames,
        rate=RATE,
        number=number,
        portraits=portraits,
        settings=settings,
    )


def _speed(reconstructor: Reconstructor, clip: Path, view: Layout, frames: int) -> dict:
    target = clip.with_name("out.mp4")
    reconstruct_video(reconstructor, clip, target, VideoSettings(view=view))  # compiles
    stopwatch = Stopwatch()
    start = time.perf_counter()
    reconstruct_video(reconstructor, clip, target, VideoSettings(view=view), stopwatch=stopwatch)
    seconds = time.perf_counter() - start
    parts = {name: round(1000 * s / frames, 1) for name, s in stopwatch.seconds.items()}
    return {"frames_per_second": round(frames / seconds, 2), "milliseconds": parts}


def _trembling(reconstructor: Reconstructor, clip: list[ClipFrame], smooth: bool) -> dict:
    """Of landmarks' surface points: the mesh's z under a grid, its outline's middle, the crop."""
    make = ShapeMaker(reconstructor, FaceTracker(), 1 / RATE, smooth=smooth)
    depths, middles, crops = [], [], []
    source = (Frame(frame.picture, i, 1) for i, frame in enumerate(clip))
    for _, shapes in make(source):
        if not shapes:
            depths.append(np.full(_GRID.shape[:1], np.nan))
            middles.append(np.full(2, np.nan))
            crops.append(np.full(2, np.nan))
            continue
        shape = shapes[0]
        home = np.linalg.inv(shape.crop.crop_from_photo)
        on_frame = moved(shape.mesh, home, "photo")
        z = depth_map(on_frame, clip[0].picture.shape[:2])
        seen = np.isfinite(z)
        rows, columns = np.nonzero(seen)
        middles.append(np.array([columns.mean(), rows.mean()]))
        crops.append(home[:2] @ [95.5, 95.5, 1.0])
        points = _GRID * home[0, 0] + crops[-1]
        x, y = points.round().astype(int).clip(0, np.array(seen.shape[::-1]) - 1).T
        depths.append(z[y, x])
    truth = [np.argwhere(frame.covered).mean(axis=0)[::-1] for frame in clip]
    found = np.stack(middles)
    return {
        "faces": int(np.isfinite(found[:, 0]).sum()),
        "surface_px": round(jitter(np.stack(depths)[..., None]), 4),
        "outline_px": round(jitter(found[:, None]), 4),
        "crop_px": round(jitter(np.stack(crops)[:, None]), 4),
        "late_frames": round(outline_shift(found, np.stack(truth)), 2)
        if np.ptp(np.stack(truth), axis=0).max() > 1
        else None,
    }


_GRID = np.stack(np.meshgrid(np.arange(-24.0, 25, 8), np.arange(-32.0, 33, 8)), -1).reshape(-1, 2)
"""Places in crop pixels around the middle, on the face."""
