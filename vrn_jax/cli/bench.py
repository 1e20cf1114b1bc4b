"""`vrn bench`: speed and recall as JSON, and the tables made of it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vrn_jax.cli.process import astronaut
from vrn_jax.config import FaceSettings
from vrn_jax.errors import InputError

__all__ = ["Bench", "bench"]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write; without one the numbers are printed."""


@dataclass(frozen=True)
class BenchInference(_Measured):
    """Time every part of reconstructing the portrait that comes with scikit-image, beside peers."""


@dataclass(frozen=True)
class BenchDetection(_Measured):
    """Measure how many faces are found when photos are turned, shrunk, cut, covered or blurred."""

    folder: tyro.conf.Positional[Path]
    """Photos with one face each."""
    limit: int | None = None
    """Use so many of them, evenly spread."""


@dataclass(frozen=True)
class BenchFaces(_Measured):
    """Measure made faces: speed, how much they differ, and what the detector makes of them."""

    head: Path | None = None
    """A head file; without one, the head that comes with this package."""
    textures: Path | None = None
    """Portraits on that head, from `vrn data textures`; without them skin is drawn."""
    portraits: Path | None = None
    """Folder of portraits, one face each, to compare the detector's results with."""
    count: int = 200
    """How many faces to measure variety and likeness on."""
    batch: int | None = None
    """How many one program makes when speed is measured. Default: 1 on a CPU, else 64."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How faces vary."""


@dataclass(frozen=True)
class BenchTrain(_Measured):
    """Measure training: compilation, images/s, the share of making faces, and PyTorch beside it."""

    preset: tyro.conf.Positional[Path]
    """Python file of the run to measure, such as configs/vrn.py."""
    batch: int | None = None
    """Images a step, instead of the preset's."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Of the network's arithmetic, instead of the preset's."""
    steps: int = 5
    """Steps to time; the median counts."""
    torch: bool = True
    """Train the same graph in PyTorch too, if it is installed."""


@dataclass(frozen=True)
class BenchVideo(_Measured):
    """Measure `vrn video` on a made clip of a talking head: speed by part, trembling, lag."""

    head: Path | None = None
    """A head file; without one, the head that comes with this package."""
    textures: Path | None = None
    """Portraits on that head, from `vrn data textures`; without them skin is drawn."""
    frames: int = 100
    """Of the talking clip; half as many of the one where nothing moves."""
    number: int = 0
    """Which made person."""


@dataclass(frozen=True)
class BenchData(_Measured):
    """Measure how fast a prepared data set is read, cropped and voxelised."""

    dataset: tyro.conf.Positional[Path]
    """Folder of the prepared data set."""
    bfm: Path | None = None
    """Folder with Model_Shape.mat and Model_Exp.mat, for data sets of fits."""
    split: str = "train"
    """Which split."""
    batch: int = 32
    """Samples of a batch."""
    step_seconds: float | None = None
    """What a train step of such a batch takes on this machine."""


@dataclass(frozen=True)
class BenchScaling(_Measured):
    """Time steps on simulated devices and processes, and count what pods would exchange."""

    timed: tyro.conf.Positional[Path]
    """The network to time here, such as configs/smoke.py."""
    preset: tyro.conf.Positional[Path]
    """The network to compile for slices, such as configs/vrn.py."""
    topologies: tuple[str, ...] = ("v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16")
    """Slices to compile for; `pip install libtpu`."""
    images_a_device: int = 64
    """On these slices, in an update."""
    accumulate: int = 4
    """In so many batches, one after the other."""


@dataclass(frozen=True)
class BenchDemo(_Measured):
    """Load the web app with many clients, beside the bare reconstructor on the same photo."""

    clients: int = 64
    """Clients at once."""
    seconds: float = 60.0
    """How long a round takes."""
    rounds: int = 3
    """How many rounds; the median counts."""


@dataclass(frozen=True)
class BenchTables:
    """Rewrite the tables of documents from the JSON files of earlier benches."""

    documents: tyro.conf.Positional[tuple[Path, ...]] = (
        Path("README.md"),
        Path("docs/faces.md"),
        Path("docs/video.md"),
        Path("docs/data.md"),
        Path("docs/training.md"),
        Path("docs/demo.md"),
        Path("docs/evaluation.md"),
        Path("docs/pods.md"),
    )
    """Markdown files with marked tables."""
    numbers: Path = Path("docs/bench")
    """Folder of the JSON files."""


@dataclass(frozen=True)
class Bench:
    """Measure speed or recall on this machine."""

    what: (
        Annotated[BenchInference, tyro.conf.subcommand("inference")]
        | Annotated[BenchDetection, tyro.conf.subcommand("detection")]
        | Annotated[BenchFaces, tyro.conf.subcommand("faces")]
        | Annotated[BenchTrain, tyro.conf.subcommand("train")]
        | Annotated[BenchVideo, tyro.conf.subcommand("video")]
        | Annotated[BenchData, tyro.conf.subcommand("data")]
        | Annotated[BenchScaling, tyro.conf.subcommand("scaling")]
        | Annotated[BenchDemo, tyro.conf.subcommand("demo")]
        | Annotated[BenchTables, tyro.conf.subcommand("tables")]
    )


def bench(command: Bench) -> int:
    """Does what `vrn bench` says. Raises VrnError or OSError."""
    from vrn_jax.io.atomic import writing

    options = command.what
    if isinstance(options, BenchTables):
        return _fill_tables(options)
    text = json.dumps(_MEASURES[type(options)](options), indent=1)
    if options.output is None:
        print(text)
    else:
        with writing(options.output) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return 0


def _fill_tables(options: BenchTables) -> int:
    from vrn_jax.bench.tables import with_tables
    from vrn_jax.io.atomic import writing

    for document in options.documents:
        text = with_tables(document.read_text(encoding="utf-8"), options.numbers)
        with writing(document) as partial:
            partial.write_text(text, encoding="utf-8")
    return 0


def _measure_inference(_: BenchInference) -> dict:
    from vrn_jax.bench.inference import measure_inference

    return measure_inference(astronaut())


def _measure_recall(options: BenchDetection) -> dict:
    from vrn_jax.bench.detection import measure_recall

    return measure_recall(options.folder, limit=options.limit)


def _measure_data(options: BenchData) -> dict:
    from vrn_jax.bench.data import measure_data

    return measure_data(
        options.dataset,
        options.bfm,
        split=options.split,
        batch_size=options.batch,
        step_seconds=options.step_seconds,
    )


def _measure_scaling(options: BenchScaling) -> dict:
    from vrn_jax.bench.scaling import measure_scaling

    return measure_scaling(
        options.timed,
        options.preset,
        options.topologies,
        options.images_a_device,
        options.accumulate,
    )


def _measure_demo(options: BenchDemo) -> dict:
    # Here and in the server, which inherits it: what is compared has to run on the same device.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from vrn_jax.bench.demo import measure_demo

    return measure_demo(
        astronaut(), clients=options.clients, seconds=options.seconds, rounds=options.rounds
    )


def _measure_training(options: BenchTrain) -> dict:
    if min(options.steps, 1 if options.batch is None else options.batch) < 1:
        raise InputError(f"--steps and --batch must be 1 or more, got {options}")
    from vrn_jax.bench.train import measure_training
    from vrn_jax.presets import load_preset

    config = load_preset(options.preset)
    changes = {"batch_size": options.batch, "dtype": options.dtype}
    given = {name: value for name, value in changes.items() if value is not None}
    config = replace(config, compute=replace(config.compute, **given))
    return measure_training(config, steps=options.steps, torch_peer=options.torch)


def _measure_faces(options: BenchFaces) -> dict:
    if min(options.count, 1 if options.batch is None else options.batch) < 1:
        raise InputError(f"--count and --batch must be 1 or more, got {options}")
    from tqdm import tqdm

    from vrn_jax.bench.faces import measure_faces
    from vrn_jax.faces.source import face_source, head_of

    return measure_faces(
        face_source(options.head, options.textures, options.faces),
        head_of(options.head),
        count=options.count,
        batch=options.batch,
        portraits=options.portraits,
        progress=lambda numbers: tqdm(numbers, unit="face", disable=None),
    )


def _measure_video(options: BenchVideo) -> dict:
    if options.frames < 30:
        raise InputError(f"a clip of 30 frames or more is needed, got {options.frames}")
    from vrn_jax.bench.video import measure_video

    return measure_video(
        head=options.head,
        textures=options.textures,
        frames=options.frames,
        still_frames=options.frames // 2,
        number=options.number,
    )


_MEASURES: dict[type, Callable[[Any], dict]] = {
    BenchInference: _measure_inference,
    BenchDetection: _measure_recall,
    BenchFaces: _measure_faces,
    BenchTrain: _measure_training,
    BenchVideo: _measure_video,
    BenchData: _measure_data,
    BenchScaling: _measure_scaling,
    BenchDemo: _measure_demo,
}
