"""Evaluation: known displacements give known errors, tables keep numbers, nothing is dropped."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from domes import domes
from fitted_files import write_aflw2000_3d
from PIL import Image
from scipy.spatial import Delaunay

from vrn_jax.bench.parity import random_weights
from vrn_jax.bench.tables import evaluation_table
from vrn_jax.cli import main
from vrn_jax.cli.evaluate import _measured
from vrn_jax.config import ModelConfig
from vrn_jax.data.aflw import AflwSamples
from vrn_jax.data.bfm import read_basel
from vrn_jax.data.builders import prepare_aflw2000_3d
from vrn_jax.errors import InputError
from vrn_jax.evaluation.cases import AflwCases, Case, PhotoCases, solid_surface
from vrn_jax.evaluation.measure import METRICS, Row, evaluate, measure
from vrn_jax.evaluation.methods import (
    Prediction,
    facemesh_surface,
    flat_plane,
    mean_head,
    without_guidance,
)
from vrn_jax.evaluation.pictures import curves_svg
from vrn_jax.evaluation.results import (
    append_rows,
    finished_rows,
    paired_differences,
    read_rows,
    summarize,
)
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.solid import occupancy
from vrn_jax.metrics.depth import mesh_front, volume_front
from vrn_jax.models.vrn import VRN
from vrn_jax.programs import network_logits
from vrn_jax.types import Mesh

pytestmark = pytest.mark.usefixtures("quick_to_compile")

PHOTO = np.zeros((200, 200, 3), np.uint8)


@pytest.fixture(scope="module")
def case() -> Case:
    """The built-in head from the front, so placed that its crop is the photo at its own scale."""
    head = builtin_head()
    points = head.neutral.astype(np.float64) * [1, -1, 1]
    flat = points[head.landmarks, :2]
    points *= 90 / np.sqrt(np.ptp(flat, axis=0).prod())
    flat = points[head.landmarks, :2]
    points[:, :2] += 95.5 - (flat.min(axis=0) + flat.max(axis=0)) / 2
    numbers = np.cumsum(head.solid) - 1
    faces = numbers[head.region_faces][:, ::-1]
    surface = Mesh(points[head.solid], faces, "photo")
    return Case("frontal", PHOTO, points[head.landmarks], 0.0, None, surface)


def moved_truth(case: Case, move) -> Prediction:
    assert case.surface is not None
    mesh = dataclasses.replace(case.surface, vertices=move(case.surface.vertices))
    return Prediction(mesh, move(case.landmarks))


def by(x: float, y: float, z: float):
    return lambda points: points + np.array([x, y, z])


def eyes(case: Case) -> float:
    return float(np.linalg.norm(case.landmarks[36] - case.landmarks[45]))


# One guess


def test_the_truth_further_away_is_perfect(case):
    values, failure = measure(case, moved_truth(case, by(0, 0, 17.0)))
    assert failure == ""
    assert set(values) == set(METRICS) - {"iou"}
    perfect = {"coverage": 1.0, "f_score": 1.0, "normal_consistency": 1.0}
    # The landmarks are vertices, the surface is sampled at pixels.
    assert values.pop("landmark_depth") < 0.01
    for name, value in values.items():
        assert value == pytest.approx(perfect.get(name, 0.0), abs=1e-5), name


def test_a_lean_costs_the_depth_that_it_adds(case):
    values, _ = measure(case, moved_truth(case, lambda p: p + p[:, :1] * [0, 0, 0.1]))
    corners = Delaunay(case.landmarks[17:, :2])
    columns, rows = (side.ravel() for side in np.meshgrid(np.arange(192), np.arange(192)))
    lean = 0.1 * columns[corners.find_simplex(np.stack([columns, rows], 1)) >= 0]
    expected = np.abs(lean - np.median(lean)).mean() / eyes(case)
    assert values["depth_error"] == pytest.approx(expected, rel=1e-3)
    # Points with hidden z cannot be told apart from those that lean: all of the 68 count in 3D.
    lean = 0.1 * case.landmarks[:, 0]
    size = np.sqrt(np.ptp(case.landmarks[:, :2], axis=0).prod())
    expected = np.abs(lean - np.median(lean)).mean() / size
    assert values["landmarks_3d"] == pytest.approx(expected, rel=1e-6)
    assert values["landmarks_2d"] == pytest.approx(0, abs=1e-9)


def test_a_step_to_the_side_is_the_nme_and_nothing_once_aligned(case):
    values, failure = measure(case, moved_truth(case, by(3.0, 0, 0)))
    assert failure == ""
    assert values["nme"] == pytest.approx(3 / eyes(case), rel=0.03)
    assert values["nme_aligned"] < 0.003
    size = np.sqrt(np.ptp(case.landmarks[:, :2], axis=0).prod())
    assert values["landmarks_2d"] == pytest.approx(3 / size, rel=1e-6)


def test_what_icp_cannot_match_is_named_and_has_no_nme(case):
    squashed = moved_truth(case, lambda p: p * [0.2, 0.2, 0.2] + [76.0, 76.0, 0])
    values, failure = measure(case, squashed)
    assert "nme" not in values
    assert "alignment" in failure
    nowhere = moved_truth(case, by(500.0, 0, 0))
    values, failure = measure(case, nowhere)
    assert failure == "no surface where the face is"
    assert values["coverage"] == 0
    assert "depth_error" not in values


def test_flat_landmarks_are_measured_in_the_picture_only(case):
    flat = dataclasses.replace(case, landmarks=case.landmarks[:, :2], surface=None)
    values, failure = measure(flat, moved_truth(case, by(0, 2.0, 0)))
    assert set(values) == {"landmarks_2d"}
    assert failure == ""


def test_landmarks_in_space_give_their_depth_without_a_surface(case):
    bare = dataclasses.replace(case, surface=None)
    values, _ = measure(bare, moved_truth(case, by(0, 0, 9.0)))
    assert set(values) == {"landmark_depth", "landmarks_2d", "landmarks_3d"}
    assert values["landmark_depth"] < 0.02  # the landmarks are vertices, the surface is sampled


# Methods


def test_the_mean_head_and_the_plane_are_placed_by_the_true_landmarks(case):
    values, failure = measure(case, mean_head(builtin_head())(case, []))
    assert failure == ""
    # The case is this very head.
    assert values["coverage"] == 1
    assert max(values[name] for name in ("depth_error", "nme", "landmarks_3d")) < 1e-4
    plane, _ = measure(case, flat_plane(case, []))
    assert plane["coverage"] == 1
    assert plane["depth_error"] > 0.05


def test_a_solids_surface_is_the_front_of_its_volume():
    examples = domes(2)
    for mirrored in (False, True):
        solid = examples.solid._replace(
            height=examples.solid.height[1],
            back=examples.solid.back[1],
            crop_from_head=np.asarray(examples.solid.crop_from_head[1])
            * ([[-1], [1], [1]] if mirrored else 1)
            + ([[0, 0, 0, 191], [0] * 4, [0] * 4] if mirrored else 0),
        )
        surface = solid_surface(solid)
        volume = np.asarray(volume_front(occupancy(solid)))
        front = mesh_front(dataclasses.replace(surface, frame="crop"), (192, 192))
        both = np.isfinite(front) & np.isfinite(volume)
        assert both.sum() > 0.9 * np.isfinite(volume).sum()
        assert np.median(np.abs(front[both] - volume[both])) < 0.3


def test_a_network_that_is_shown_no_landmarks_is_one_with_empty_channels():
    config = ModelConfig(task="guided", stacks=1, features=4, depth=200)
    weights = random_weights(config)
    crops = np.random.default_rng(0).integers(0, 256, (1, 192, 192, 3), np.uint8)
    points = np.random.default_rng(1).uniform(50, 140, (1, 68, 2)).astype(np.float32)

    def logits(variables, points):
        model = VRN(config, weights.info.norm)
        return np.asarray(
            network_logits(model, weights.info, variables, crops, jnp.asarray(points))
        )

    blind = logits(without_guidance(weights).variables, points)
    np.testing.assert_allclose(blind, logits(weights.variables, points + 1e4), atol=1e-5)
    assert np.abs(blind - logits(weights.variables, points)).max() > 1e-2


# Data


def test_aflw_to_a_table(tmp_path, bfm):
    prepare_aflw2000_3d(write_aflw2000_3d(tmp_path / "in"), tmp_path / "out").write()
    cases = AflwCases(AflwSamples(tmp_path / "out", read_basel(bfm)))

    def shifted(case, _):
        return moved_truth(case, by(0, 0, 5.0))

    methods = {"ours": shifted, "FaceMesh": facemesh_surface}
    rows = [row for of_case in evaluate(cases, methods, lambda _: [], range(3)) for row in of_case]
    ours = [row for row in rows if row.method == "ours"]
    assert [row.name for row in ours] == ["image00002", "image00004", "image00006"]
    assert all(row.values["nme"] < 1e-5 and row.values["depth_error"] < 1e-5 for row in ours)
    assert all(row.failure == "no face found" for row in rows if row.method == "FaceMesh")
    summary = summarize(rows) | {
        "data": "aflw2000",
        "described": cases.described,
        "weights": {"name": "truth"},
        "command": "",
        "date": "",
        "commit": "",
        "machine": "",
        "python": "",
        "packages": {},
    }
    table = evaluation_table(json.loads(json.dumps(summary)))
    assert "behind the ends of the jaw" in table or "jaw line" in table  # which region it is
    assert "Quoted, not measured here" in table
    assert "| VRN-Guided" in table
    assert "3 x no face found" in table


def test_photos_with_landmark_files(tmp_path):
    points = MEAN_LANDMARKS[:, :2] * 60 + 100
    for name in ("a", "b", "c"):
        Image.fromarray(PHOTO).save(tmp_path / f"{name}.png")
    np.savetxt(tmp_path / "a.txt", points)
    (tmp_path / "c.txt").write_text("1 2 3")
    cases = PhotoCases(tmp_path)
    assert "1 without" in cases.described
    assert cases[0].name == "a.png"
    assert cases[0].yaw == pytest.approx(0, abs=1e-6)
    rows = [*evaluate(cases, {"plane": flat_plane}, lambda _: [], range(2))]
    assert rows[0][0].failure == ""
    assert "c.txt" in rows[1][0].failure
    assert summarize([row for of_case in rows for row in of_case])["photos"] == 2
    with pytest.raises(InputError, match="landmark file"):
        PhotoCases(tmp_path / "none")


@pytest.mark.parametrize("yaw", [-70.0, 25.0])
def test_the_yaw_of_flat_landmarks(tmp_path, yaw):
    from scipy.spatial.transform import Rotation

    turned = Rotation.from_euler("y", yaw, degrees=True).apply(MEAN_LANDMARKS) * 60 + 100
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", turned[:, :2])
    assert PhotoCases(tmp_path)[0].yaw == pytest.approx(yaw, abs=1e-6)


# Results


def rows_of(errors: dict[str, list[float]]) -> list[Row]:
    names = [f"face, {i}" for i in range(len(next(iter(errors.values()))))]
    return [
        Row(name, method, 20.0 * i, {"skin tone": "dark" if i % 2 else "light"},
            {} if np.isnan(values[i]) else {"nme": values[i]},
            "no face found" if np.isnan(values[i]) else "")
        for i, name in enumerate(names)
        for method, values in errors.items()
    ]  # fmt: skip


def test_rows_survive_the_file_and_an_interruption(tmp_path):
    rows = rows_of({"ours": [0.1, np.nan, 1 / 3], "mean head": [0.3, 0.2, 0.1]})
    path = tmp_path / "faces.csv"
    for first in range(0, 6, 2):
        append_rows(path, rows[first : first + 2])
    assert read_rows(path) == rows
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))  # the last photo lacks a method
    assert finished_rows(path, ["ours", "mean head"]) == rows[:4]
    assert read_rows(path) == rows[:4]
    with pytest.raises(InputError, match="other methods"):
        finished_rows(path, ["ours", "flat plane"])
    path.write_text("a,b\n")
    with pytest.raises(InputError, match="no table of this version"):
        read_rows(path)


def test_means_are_of_what_was_measured_and_failures_are_named():
    summary = summarize(rows_of({"ours": [0.1, np.nan, 0.3, 0.5]}))
    assert summary["photos"] == 4
    found = summary["methods"]["ours"]
    mean, low, high, count = found["by_yaw"]["all"]["nme"]
    assert (mean, count) == (pytest.approx(0.3), 3)
    assert low < mean < high
    assert found["by_yaw"]["0-30"]["nme"] == [0.1, None, None, 1]  # 20 degrees failed
    assert found["by_yaw"]["60-90"] == {} or found["by_yaw"]["30-60"]["nme"][3] == 2
    assert found["by_group"]["skin tone"]["light"]["nme"][3] == 2
    assert found["failures"] == {"face, 1": "no face found"}
    assert "ours_minus_mean_head" not in summary
    both = summarize(rows_of({"ours": [0.1, np.nan, 0.3], "mean head": [0.2, 0.1, 0.5]}))
    mean, low, high, count = both["ours_minus_mean_head"]["nme"]
    assert (mean, count) == (pytest.approx(-0.15), 2)
    assert low <= mean <= high < 0
    json.dumps(summary, allow_nan=False)


def test_a_comparison_is_paired():
    first = summarize(rows_of({"ours": [0.1, 0.2, 0.3, np.nan]}))
    second = summarize(rows_of({"ours": [0.2, 0.4, np.nan, 0.1]}))
    found = paired_differences(first, second, "ours")
    assert set(found) == {"nme"}
    assert found["nme"].mean == pytest.approx(0.15)
    assert found["nme"].n == 2
    assert 0.1 <= found["nme"].low <= found["nme"].high <= 0.2 + 1e-12
    with pytest.raises(InputError, match="no method"):
        paired_differences(first, second, "theirs")


def test_curves_count_failures_among_all():
    svg = curves_svg({"a & b": np.array([0.0, 0.1, np.nan, np.nan])}, "error", 0.2)
    assert "a &amp; b (area 0.375)" in svg  # (1 + 0.5 + 0 + 0) / 4
    points = svg.split('points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights[0] == pytest.approx((24 + 320) - 0.25 * 320)
    assert heights[-1] == pytest.approx((24 + 320) - 0.5 * 320)


# The command


def test_an_interrupted_evaluation_goes_on_behind_what_it_has(tmp_path, case):
    class Several:
        described = "one case over and over"

        def __len__(self):
            return 3

        def __getitem__(self, index):
            asked.append(index)
            return dataclasses.replace(case, name=f"face {index}")

    asked = []
    methods = {"flat plane": flat_plane}
    _measured(tmp_path, Several(), methods, lambda _: [], 1)
    rows = _measured(tmp_path, Several(), methods, lambda _: [], 3)
    assert asked == [0, 1, 2]
    assert [row.name for row in rows] == ["face 0", "face 1", "face 2"]
    assert read_rows(tmp_path / "faces.csv") == rows


def test_the_command_measures_made_faces(tmp_path, capsys):
    command = ["evaluate", "--data", "synthetic", "-o", str(tmp_path / "out"), "--limit", "2"]
    assert main(command) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["photos"] == 2
    assert list(summary["methods"]) == ["ours", "mean head", "flat plane", "FaceMesh"]
    ours = summary["faces"][0]
    assert ours["failure"] == ""
    assert ours["iou"] > 0.6
    assert summary["constant_volume"]["faces"] == 2
    assert 0.5 < summary["constant_volume"]["iou"] < 1
    assert ours["depth_error"] < 0.15
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"table.md", "curves-nme.svg", "worst-and-best.png"} <= written
    assert "| skin tone: light" in capsys.readouterr().out
    same = str(tmp_path / "out" / "summary.json")
    assert main(["evaluate", "--compare", same, same]) == 0
    assert "+0.0000" in capsys.readouterr().out
    assert main([*command, "--seed", "5"]) == 1
    assert "other weights or data" in capsys.readouterr().err


def test_a_comparison_wants_summaries(tmp_path, capsys):
    other = tmp_path / "other.json"
    for text in ("[]", "{", '{"methods": {}}'):
        other.write_text(text)
        assert main(["evaluate", "--compare", str(other), str(other)]) == 1
        assert "other.json is no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "photos"], "--path is for"),
        (["--data", "aflw2000", "--path", "x"], "needs the Basel Face Model"),
        (["--limit", "0"], "1 or more"),
    ],
)
def test_wrong_options_are_named(words, message, capsys):
    assert main(["evaluate", *words]) == 1
    assert message in capsys.readouterr().err
