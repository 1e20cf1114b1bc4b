"""`vrn evaluate`: how far off a network's faces are, beside baselines, in one run."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vrn_jax.cli.convert import read_weights
from vrn_jax.cli.process import keep_compiled_programs, without_info_lines, writable_folder
from vrn_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vrn_jax.evaluation.cases import Cases
    from vrn_jax.evaluation.measure import Row
    from vrn_jax.evaluation.methods import Method
    from vrn_jax.interop.weights import Weights
    from vrn_jax.types import Face

    Find = Callable[[np.ndarray], list[Face]]

__all__ = ["Evaluate", "evaluate"]

_SHOWN = 4
_PACKAGES = ("jax", "numpy", "scipy", "trimesh", "ai-edge-litert")


@dataclass(frozen=True)
class Evaluate:
    """Measure a network on AFLW2000-3D, on photos with landmarks, or on held-out made faces.

    Beside it, in the same run: the mean head, a flat plane, and FaceMesh's own 468 points.
    """

    data: Literal["aflw2000", "photos", "synthetic"] = "synthetic"
    """What to measure on."""
    path: Path | None = None
    """aflw2000: the folder of `vrn data prepare aflw2000-3d`. photos: a folder of photos, each with
    NAME.pts, .txt, .json or .npy beside it."""
    weights: Annotated[str, tyro.conf.arg(aliases=["-w"])] = "default"
    """Embedded weights by name, or a .safetensors, .pth, .pt or .t7 file."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("evaluation")
    """Folder for faces.csv, summary.json, table.md, curves and the sheet of faces. The same command
    goes on where it was interrupted."""
    limit: int | None = None
    """Measure the first so many. Default: all, of made faces 200."""
    head: Path | None = None
    """The head that made faces are made of, and the mean head; else the built-in one."""
    textures: Path | None = None
    """synthetic: portraits on that head, of which the held-out ones are worn."""
    seed: int = 0
    """synthetic: of the stream of made faces."""
    bfm: Path | None = None
    """aflw2000: folder with Model_Shape.mat and Model_Exp.mat."""
    bfm_region: Path | None = None
    """aflw2000: numbers of the vertices to measure on, from 0, one a line, instead of our rule."""
    compare: tuple[Path, Path] | None = None
    """Measure nothing; print what the second of two summary.json differs from the first by."""
    method: str = "ours"
    """Which method of the two is compared."""


def evaluate(options: Evaluate) -> int:
    """Does what `vrn evaluate` says. Raises VrnError or OSError."""
    if options.compare is not None:
        return _compare(options.compare, options.method)
    if (options.path is None) != (options.data == "synthetic"):
        raise InputError("--path is for aflw2000 and photos, which need it, and not for synthetic")
    if options.data == "aflw2000" and options.bfm is None:
        raise InputError("AFLW2000-3D needs the Basel Face Model: give its folder with --bfm")
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit must be 1 or more, got {options.limit}")
    folder = writable_folder(options.output)
    keep_compiled_programs()
    from vrn_jax.evaluation.cases import MadeCases

    weights = read_weights(Path(options.weights))
    cases = _cases(options)
    count = len(cases) if options.limit is None else min(options.limit, len(cases))
    methods, find = _methods(options, weights)
    folder.mkdir(parents=True, exist_ok=True)
    described: dict = {
        "data": options.data,
        "described": cases.described,
        "head": "built-in" if options.head is None else options.head.name,
        "textures": None if options.textures is None else options.textures.name,
        "weights": {"name": weights.info.name, "sha256": weights.info.sha256},
    }
    _claim(
        folder, described | {"path": None if options.path is None else str(options.path.resolve())}
    )
    rows = _measured(folder, cases, methods, find, count)
    if isinstance(cases, MadeCases):
        iou, faces = cases.constant_iou()
        described["constant_volume"] = {"iou": iou, "faces": faces}
    _write(folder, described, rows, _command(options))
    _draw(folder, cases, methods["ours"], find, rows)
    return 0


def _cases(options: Evaluate) -> "Cases":
    if options.data == "synthetic":
        from vrn_jax.evaluation.cases import MadeCases
        from vrn_jax.faces.source import face_source

        source = face_source(options.head, options.textures, seed=options.seed, held_out=True)
        return MadeCases(source, 200 if options.limit is None else options.limit)
    assert options.path is not None
    if options.data == "photos":
        from vrn_jax.evaluation.cases import PhotoCases

        return PhotoCases(options.path)
    from vrn_jax.data.aflw import AflwSamples
    from vrn_jax.data.bfm import read_basel
    from vrn_jax.evaluation.cases import AflwCases

    assert options.bfm is not None
    return AflwCases(AflwSamples(options.path, read_basel(options.bfm, options.bfm_region)))


def _methods(options: Evaluate, weights: "Weights") -> "tuple[dict[str, Method], Find]":
    """What is measured, by name, and the detector that they share."""
    from vrn_jax.detection import FaceDetector
    from vrn_jax.evaluation.methods import (
        facemesh_surface,
        flat_plane,
        mean_head,
        network,
        without_guidance,
    )
    from vrn_jax.faces.source import head_of
    from vrn_jax.inference import Reconstructor

    with without_info_lines():
        detector = FaceDetector()
    methods: dict[str, Method] = {"ours": network(Reconstructor(weights, detector=detector))}
    if weights.info.model.task == "guided":
        blind = Reconstructor(without_guidance(weights), detector=detector)
        methods["ours, no guidance"] = network(blind)
    head = head_of(options.head)
    methods |= {"mean head": mean_head(head), "flat plane": flat_plane}
    return methods | {"FaceMesh": facemesh_surface}, detector


def _claim(folder: Path, described: dict) -> None:
    """Refuses to go on with results of other weights or data."""
    from vrn_jax.io.atomic import writing

    path = folder / "run.json"
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != described:
            raise InputError(
                f"{folder} holds an evaluation of other weights or data; give another folder with "
                "-o, or remove it"
            )
        return
    with writing(path) as partial:
        partial.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _measured(
    folder: Path, cases: "Cases", methods: "dict[str, Method]", find: "Find", count: int
) -> "list[Row]":
    """The rows of the first `count` cases; those that the folder has are not measured again."""
    from tqdm import tqdm

    from vrn_jax.evaluation.measure import evaluate as measured
    from vrn_jax.evaluation.results import append_rows, finished_rows

    table = folder / "faces.csv"
    rows = finished_rows(table, list(methods))[: count * len(methods)]
    done = len(rows) // len(methods)
    remaining = measured(cases, methods, find, range(done, count))
    for of_case in tqdm(remaining, total=count, initial=done, unit="photo", disable=None):
        append_rows(table, of_case)
        rows += of_case
    return rows


def _write(folder: Path, described: dict, rows: "list[Row]", command: str) -> None:
    """The summary, the tables, which are printed too, and the curves."""
    from vrn_jax.bench.provenance import provenance
    from vrn_jax.bench.tables import evaluation_table
    from vrn_jax.evaluation.pictures import curves_svg
    from vrn_jax.evaluation.results import summarize, values_of
    from vrn_jax.io.atomic import writing

    summary = {**provenance(command, _PACKAGES), **described, **summarize(rows)}
    text = evaluation_table(summary) + "\n"
    print(text)
    files = {"summary.json": json.dumps(summary, indent=1) + "\n", "table.md": text}
    by_method = {name: [r for r in rows if r.method == name] for name in summary["methods"]}
    for metric, (title, limit) in _CURVES.items():
        errors = {name: values_of(of_method, metric) for name, of_method in by_method.items()}
        measured = {name: values for name, values in errors.items() if (values >= 0).any()}
        if measured:
            files[f"curves-{metric}.svg"] = curves_svg(measured, title, limit)
    for name, content in files.items():
        with writing(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")


_CURVES = {
    "depth_error": ("front-surface depth error, eye distances", 0.12),
    "nme": ("NME, eye distances", 0.2),
    "landmarks_2d": ("error of the 68 points in the picture, box sizes", 0.12),
}


def _draw(folder: Path, cases: "Cases", method: "Method", find: "Find", rows: "list[Row]") -> None:
    """worst-and-best.png: our largest errors and our smallest."""
    from vrn_jax.evaluation.pictures import case_tile
    from vrn_jax.io.image import write_png
    from vrn_jax.rendering import sheet

    ours = [row for row in rows if row.method == "ours"]
    metric = next((m for m in _CURVES if any(m in row.values for row in ours)), None)
    if metric is None:
        return
    ranked = sorted(
        (i for i, row in enumerate(ours) if metric in row.values),
        key=lambda i: -ours[i].values[metric],
    )
    tiles = []
    for i in dict.fromkeys([*ranked[:_SHOWN], *ranked[-_SHOWN:]]):
        case = cases[i]
        label = f"{ours[i].name}: {metric} {ours[i].values[metric]:.4f}"
        tiles.append(case_tile(case, method(case, find(case.photo)), label))
    write_png(folder / "worst-and-best.png", sheet(tiles, 1))


def _compare(paths: Sequence[Path], method: str) -> int:
    from vrn_jax.evaluation.results import paired_differences
    from vrn_jax.evaluation.tables import comparison_table

    first, second = (_summary(path) for path in paths)
    differences = paired_differences(first, second, method)
    print(f"{method}: {paths[1]} - {paths[0]}\n")
    print(comparison_table(differences))
    for path, summary in zip(paths, (first, second), strict=True):
        print(f"{path}: {len(summary['methods'][method]['failures'])} failures")
    return 0


def _summary(path: Path) -> dict:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON file: {error}") from error
    if not isinstance(summary, dict) or not {"methods", "faces"} <= summary.keys():
        raise InputError(f"{path} is no summary.json of `vrn evaluate`, with its faces")
    return summary


def _command(options: Evaluate) -> str:
    words = ["vrn evaluate", f"--data {options.data}", f"-w {Path(options.weights).name}"]
    for name in ("path", "head", "textures", "bfm", "bfm_region"):
        value: Path | None = getattr(options, name)
        if value is not None:
            words.append(f"--{name.replace('_', '-')} {value.name}")
    if options.limit is not None:
        words.append(f"--limit {options.limit}")
    if options.seed:
        words.append(f"--seed {options.seed}")
    return " ".join(words)
