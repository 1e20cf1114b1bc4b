"""Benches: that their scenes are what they say, and that the numbers follow."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from vrn_jax.bench import detection
from vrn_jax.bench.tables import with_tables
from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import landmark_box
from vrn_jax.types import Face

LANDMARKS = np.random.default_rng(0).uniform([180, 120], [300, 260], (68, 2))


@pytest.fixture(scope="module")
def scenes():
    """All scenes of a photo whose red and green tell x / 2 and y / 2."""
    y, x = np.indices((400, 480)) / 2
    ramps = np.stack([x, y, np.full_like(x, 200)], axis=-1).round().astype(np.uint8)
    found = list(detection.scenes(ramps, LANDMARKS, np.random.default_rng(1)))
    return {scene.case: scene for scene in found}


def test_every_case_has_its_own_name_and_place(scenes):
    assert len(scenes) == 3 + 24 + 2 * 6 + 2 * 4 + 3
    for scene in scenes.values():
        assert scene.photo.flags.c_contiguous
        assert scene.landmarks.shape == (68, 2)


def test_landmarks_stay_on_their_points(scenes):
    for case, scene in scenes.items():
        if "covered" in case or "mirrored" in case:
            continue
        x, y = scene.landmarks.round().astype(int).T
        inside = (
            (x >= 1) & (y >= 1) & (x < scene.photo.shape[1] - 1) & (y < scene.photo.shape[0] - 1)
        )
        assert inside.mean() > (0.4 if "cut" in case else 0.99), case
        seen = 2.0 * scene.photo[y[inside], x[inside], :2]
        # A pixel of a small face spans many of the photo.
        pixel = 140 / detection.face_side(scene.landmarks)
        assert np.abs(seen - LANDMARKS[inside]).max() <= 3 + 1.5 * pixel, case


def test_mirrored_points_swap_sides(scenes):
    found = scenes["mirrored"].landmarks
    np.testing.assert_allclose(found[36], [479, 0] + LANDMARKS[45] * [-1, 1], atol=1e-3)
    np.testing.assert_allclose(found[8], [479, 0] + LANDMARKS[8] * [-1, 1], atol=1e-3)


@pytest.mark.parametrize("size", detection.SIZES_PX)
def test_sizes_are_what_they_say(scenes, size):
    assert detection.face_side(scenes[f"size {size}"].landmarks) == pytest.approx(size)
    assert scenes[f"size {size}"].photo.shape == (1500, 2000, 3)


def test_cuts_take_the_share_they_say(scenes):
    for side, edge, sign in (("left", 0, 1), ("top", 1, 1), ("right", 2, -1), ("bottom", 3, -1)):
        scene = scenes[f"cut by 25%, {side}"]
        box = landmark_box(scene.landmarks)
        border = [0, 0, scene.photo.shape[1], scene.photo.shape[0]][edge]
        length = (box[2:] - box[:2])[edge % 2]
        assert sign * (border - box[edge]) == pytest.approx(0.25 * length, abs=1)


def test_outcomes_are_summed_up():
    def detector(photo):
        shifted = LANDMARKS.copy()
        shifted[:, 0] += 0.1 * np.linalg.norm(LANDMARKS[36] - LANDMARKS[45])
        far = Face(np.array([0.0, 0, 9, 9]), None, 0.9)
        points = np.concatenate([shifted, np.zeros((68, 1))], axis=1)
        return [far, Face(landmark_box(shifted), points, 0.9)]

    scene = detection.Scene("any", np.zeros((400, 480, 3), np.uint8), LANDMARKS)
    outcome = detection.detect(detector, scene)
    assert outcome.error == pytest.approx(0.1)
    assert (outcome.found, outcome.others) == (True, 1)
    missed = detection.detect(lambda photo: [], scene)
    numbers = detection.summary([outcome, missed, missed, missed])
    assert (numbers["count"], numbers["recall"], numbers["with_landmarks"]) == (4, 0.25, 0.25)
    assert numbers["median_error"] == pytest.approx(0.1)
    assert detection.summary([missed])["median_error"] is None


def test_measure_recall(astronaut, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "ANGLES_DEG", (0, 135))
    monkeypatch.setattr(detection, "SIZES_PX", (60,))
    monkeypatch.setattr(detection, "CUTS", (0.25,))
    with pytest.raises(InputError, match="no picture"):
        detection.measure_recall(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        detection.measure_recall(tmp_path / "missing")
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match="no face"):
        detection.measure_recall(tmp_path)
    PIL.Image.fromarray(astronaut[:300, 80:380]).save(tmp_path / "face.png")
    numbers = json.loads(json.dumps(detection.measure_recall(tmp_path)))
    assert (numbers["photos"], numbers["without_face"]) == (2, 1)
    cases = numbers["cases"]
    assert cases["unchanged"]["median_error"] == 0
    for case in ("turned 0", "turned 135", "size 60", "size 60, any angle", "mirrored"):
        assert cases[case]["recall"] == 1
        assert cases[case]["median_error"] < 0.04


def test_a_limit_spreads_over_the_folder(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    names = [path.stem for path in detection.pictures(tmp_path, 4)]
    assert names == ["0", "3", "6", "9"]
    assert len(detection.pictures(tmp_path, None)) == len(detection.pictures(tmp_path, 99)) == 10


@pytest.mark.parametrize(
    ("document", "table"),
    [
        ("README.md", "inference"),
        ("docs/demo.md", "demo"),
        ("docs/faces.md", "faces_builtin"),
        ("docs/faces.md", "faces_ict"),
        ("docs/video.md", "video_ict"),
    ],
)
def test_tables_in_documents_are_those_of_the_json(document, table):
    root = Path(__file__).parent.parent
    text = (root / document).read_text(encoding="utf-8")
    assert f"<!-- table: {table} -->" in text
    assert with_tables(text, root / "docs" / "bench") == text


def test_other_numbers_would_be_noticed(tmp_path):
    numbers = json.loads(
        (Path(__file__).parent.parent / "docs" / "bench" / "inference.json").read_text()
    )
    numbers["seconds"] |= {
        "detect": 123.0,
        "network_default": 0.2,
        "network_default_peer_default_layout": 0.5,
    }
    (tmp_path / "inference.json").write_text(json.dumps(numbers))
    table = with_tables("a <!-- table: inference --> b <!-- end --> c", tmp_path)
    assert "| 123.000 |" in table
    assert "| | | PyTorch, default layout | 0.500 | 0.40 |" in table
