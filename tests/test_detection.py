"""Face detection: its parts against closed forms, its landmarks against MediaPipe itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrn_jax.detection import (
    FACEMESH_OF_IBUG,
    FaceDetector,
    Proposal,
    blazeface_anchors,
    decode,
    halvings,
    is_new,
    merge,
    mesh_region,
    region,
    search_views,
    tile_centres,
    warp,
)
from vrn_jax.geometry.transforms import apply_similarity, similarity
from vrn_jax.types import Face

GOLDEN = Path(__file__).parent / "golden" / "astronaut_landmarks.json"

# The point of the mirrored face that each of the 68 iBUG points becomes.
MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
]


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def landmarks(detector, astronaut):
    (face,) = detector(astronaut)
    return face.landmarks


def proposal(x, y, side, score):
    return Proposal(np.array([[x, y], [x - 1, y], [x + 1, y]], float), float(side), score)


def face_at(left, top, right, bottom):
    return Face(np.array([left, top, right, bottom], float), np.zeros((68, 3)), 1.0)


def error(found, expected):
    """Mean distance in the picture over the expected outer-eye distance."""
    eyes = np.linalg.norm(expected[36, :2] - expected[45, :2])
    return np.linalg.norm(found[:, :2] - expected[:, :2], axis=1).mean() / eyes


# -- parts -----------------------------------------------------------------------------------------


def test_anchors_are_the_cell_centres():
    anchors = blazeface_anchors() * 128
    assert anchors.shape == (896, 2)
    np.testing.assert_array_equal(anchors[:4], [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_array_equal(anchors[2 * 16], [4, 12])
    np.testing.assert_array_equal(anchors[512:519], [[8, 8]] * 6 + [[24, 8]])
    np.testing.assert_array_equal(anchors[-1], [120, 120])


def test_ibug_points_are_distinct_facemesh_points():
    assert len(set(FACEMESH_OF_IBUG)) == 68
    assert 0 <= min(FACEMESH_OF_IBUG) <= max(FACEMESH_OF_IBUG) < 468


def test_decode_inverts_the_encoding():
    centre, right_eye, left_eye, side = (50.0, 60.0), (40.0, 52.5), (61.0, 51.0), 33.0
    row = 700
    corner = blazeface_anchors()[row] * 128 - 0.5  # pixel centres count from half a pixel inside
    regressed, logits = np.zeros((896, 16), np.float32), np.full(896, -1000.0, np.float32)
    regressed[row, :8] = [
        *(centre - corner),
        side,
        side,
        *(right_eye - corner),
        *(left_eye - corner),
    ]
    logits[row] = np.log(3.0)
    (found,) = decode(regressed, logits, 0.7)
    np.testing.assert_allclose(found.points, [centre, right_eye, left_eye], atol=1e-4)
    assert (found.side, found.score) == (side, pytest.approx(0.75))
    np.testing.assert_allclose(found.box, [33.5, 43.5, 66.5, 76.5], atol=1e-4)
    assert decode(regressed, logits, 0.8) == []
    regressed[row, 2:4] = -side
    assert decode(regressed, logits, 0.7) == []


def test_merge_blends_what_overlaps_and_keeps_the_rest():
    # Shared areas with the first: 60 of 140 (0.43, one face) and 40 of 160 (0.25, another).
    best, near, far = proposal(0, 0, 10, 0.9), proposal(4, 0, 10, 0.6), proposal(-6, 0, 10, 0.7)
    blended, kept = merge([near, far, best])
    assert blended.score == 0.9
    np.testing.assert_allclose(blended.points, [[1.6, 0], [0.6, 0], [2.6, 0]])
    assert blended.side == pytest.approx(10)
    np.testing.assert_allclose(kept.points, far.points)
    assert merge([]) == []


def test_is_new_looks_at_the_smaller_box():
    faces = [face_at(0, 0, 100, 100)]
    assert is_new(np.array([90.0, 0, 190, 100]), faces)
    assert not is_new(np.array([70.0, 0, 170, 100]), faces)
    assert not is_new(np.array([10.0, 10, 20, 20]), faces)
    assert is_new(np.array([10.0, 10, 20, 20]), [])


def test_moved_proposal_keeps_its_place():
    turn = similarity(2.0, np.pi / 2, np.array([10.0, 20]), np.zeros(2))
    moved = proposal(13, 20, 8, 0.5).moved(turn)
    np.testing.assert_allclose(moved.points, [[0, 6], [0, 4], [0, 8]], atol=1e-12)
    assert (moved.side, moved.score) == (pytest.approx(16), 0.5)


def test_region_shows_the_square_edge_to_edge():
    shown = region(np.array([30.0, 40.0]), 20.0, 0.0, 128)
    edges = np.array([[20.0, 30.0], [40.0, 50.0]])  # the outer edges of pixels 0 and 127
    np.testing.assert_allclose(apply_similarity(shown, edges), [[-0.5, -0.5], [127.5, 127.5]])
    turned = region(np.array([30.0, 40.0]), 20.0, np.pi / 2, 128)
    along = apply_similarity(turned, np.array([[30.0, 40.0], [30.0, 45.0]]))
    np.testing.assert_allclose(np.diff(along, axis=0), [[32, 0]], atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.5, -2.0])
def test_mesh_region_turns_with_the_face(angle):
    face = np.random.default_rng(0).uniform(-1, 1, (468, 3)) * [30, 50, 10]
    face[[33, 263]] = [[-20, -10, 0], [20, -10, 0]]
    face[[0, 1]] = [[-30, -50, 0], [30, 50, 0]]
    photo_from_face = similarity(1.0, angle, np.zeros(2), np.array([70.0, 80.0]))
    shown = mesh_region(apply_similarity(photo_from_face, face))
    corners = apply_similarity(shown @ photo_from_face, np.array([[-75.0, -75], [75, 75]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [191.5, 191.5]], atol=1e-9)


@pytest.mark.parametrize("side", [100.0, 300.0, 700.0])
@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2])
def test_warp_puts_every_pixel_in_its_place(side, angle):
    # A linear image stays linear under averaging and bilinear sampling. Pillow cuts fractions off
    # grey levels: that cancels between the rising and the falling ramp, a displacement adds up.
    rising = np.broadcast_to(np.arange(1020) / 4.0, (1020, 1020))
    photo = (
        np.stack([rising, 255 - rising, np.zeros_like(rising)], axis=-1).round().astype(np.uint8)
    )
    shown = region(np.array([505.0, 510.0]), side, angle, 128)
    red, green, _ = warp(halvings(photo), shown, 128).reshape(-1, 3).T.astype(float)
    rows, columns = np.indices((128, 128)).reshape(2, -1).astype(float)
    places = apply_similarity(np.linalg.inv(shown), np.stack([columns, rows], axis=1))[:, 0]
    found = 4.0 * (red - green + 255.0) / 2.0
    assert np.abs(found - places).max() <= 4.0
    assert np.mean(found - places) == pytest.approx(0.0, abs=0.1)


def test_warp_is_black_beyond_the_photo():
    photo = np.full((50, 200, 3), 255, np.uint8)
    image = warp(halvings(photo), region(np.array([99.5, 24.5]), 200.0, 0.0, 128), 128)
    rows = image[:, 64, 0]
    assert rows[:46].max() == 0
    assert rows[50:78].min() == 255
    assert rows[82:].max() == 0


@given(st.integers(1, 5000), st.floats(1.0, 3000.0))
def test_tiles_cover_everything_and_overlap_by_half(length, tile):
    centres = tile_centres(length, tile)
    assert centres[0] - tile / 2 <= -0.5 + 1e-6
    assert centres[-1] + tile / 2 >= length - 0.5 - 1e-6
    assert np.diff(centres, prepend=centres[0]).max() <= tile / 2 + 1e-6


def test_search_begins_with_the_whole_photo():
    whole, *tiles = search_views(300, 400)
    assert len(whole) == 4
    corners = np.array([[-0.5, -0.5], [399.5, -0.5], [-0.5, 299.5], [399.5, 299.5]])
    for view in whole:
        inside = apply_similarity(view, corners)
        assert inside.min() >= -0.5 - 1e-9
        assert inside.max() <= 127.5 + 1e-9
    assert [len(views) for views in tiles] == [3 * 2, 7 * 5]


# -- the detector ----------------------------------------------------------------------------------


def test_landmarks_agree_with_mediapipe(landmarks):
    expected = np.array(json.loads(GOLDEN.read_text())["landmarks"])
    assert error(landmarks, expected) < 0.01
    eyes = np.linalg.norm(expected[36, :2] - expected[45, :2])
    assert np.linalg.norm((landmarks - expected)[:, :2], axis=1).max() < 0.015 * eyes
    depth = landmarks[:, 2] - expected[:, 2]
    assert depth.std() < 0.015 * eyes


def test_face_holds_box_score_and_depth_towards_the_viewer(detector, astronaut, landmarks):
    (face,) = detector(astronaut)
    np.testing.assert_array_equal(face.box[:2], landmarks[:, :2].min(axis=0))
    np.testing.assert_array_equal(face.box[2:], landmarks[:, :2].max(axis=0))
    assert face.score == pytest.approx(json.loads(GOLDEN.read_text())["score"], abs=0.02)
    nose, outline, eyes = landmarks[30, 2], landmarks[[0, 16], 2], landmarks[[36, 45], 2]
    assert nose > eyes.max() > eyes.min() > outline.max()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photo(detector, astronaut, landmarks, turns):
    expected = landmarks.copy()
    for _ in range(turns):  # a quarter anticlockwise, 512 pixels wide
        expected[:, :2] = np.stack([expected[:, 1], 511 - expected[:, 0]], axis=1)
    (face,) = detector(np.ascontiguousarray(np.rot90(astronaut, turns)))
    assert error(face.landmarks, expected) < 0.01
    np.testing.assert_allclose(face.landmarks[:, 2], expected[:, 2], atol=1.5)


def test_mirrored_photo(detector, astronaut, landmarks):
    (face,) = detector(np.ascontiguousarray(astronaut[:, ::-1]))
    expected = landmarks[MIRRORED] * np.array([-1, 1, 1]) + np.array([511, 0, 0])
    assert error(face.landmarks, expected) < 0.03  # the network itself is not symmetric


@pytest.mark.parametrize(("factor", "tolerance"), [(0.25, 0.04), (0.5, 0.02), (3.0, 0.01)])
def test_scaled_photo(detector, astronaut, landmarks, factor, tolerance):
    size = int(512 * factor)
    scaled = PIL.Image.fromarray(astronaut).resize((size, size), PIL.Image.Resampling.BICUBIC)
    (face,) = detector(np.asarray(scaled))
    expected = (landmarks + np.array([0.5, 0.5, 0])) * factor - np.array([0.5, 0.5, 0])
    assert error(face.landmarks, expected) < tolerance


@pytest.mark.parametrize(
    ("shape", "top", "left"), [((3000, 2400), 2400, 1800), ((512, 2600), 0, 1800)]
)
def test_small_face_in_a_large_photo(detector, astronaut, landmarks, shape, top, left):
    canvas = np.full((*shape, 3), 90, np.uint8)
    canvas[top : top + 512, left : left + 512] = astronaut
    (face,) = detector(canvas)
    assert error(face.landmarks, landmarks + np.array([left, top, 0])) < 0.015


def test_tall_photo(detector, astronaut, landmarks):
    canvas = np.full((2000, 300, 3), 90, np.uint8)
    canvas[1100:1612] = astronaut[:, 100:400]
    (face,) = detector(canvas)
    assert error(face.landmarks, landmarks + np.array([-100, 1100, 0])) < 0.015


def test_photo_smaller_than_the_network_input(detector, astronaut, landmarks):
    small = PIL.Image.fromarray(astronaut[30:230, 120:320]).resize((60, 60), reducing_gap=3)
    (face,) = detector(np.asarray(small))
    expected = (landmarks - [119.5, 29.5, 0]) * 0.3 - [0.5, 0.5, 0]
    assert error(face.landmarks, expected) < 0.04


def test_two_faces_largest_first(detector, astronaut):
    crop = astronaut[30:230, 120:320]
    smaller = np.asarray(PIL.Image.fromarray(crop).resize((140, 140)))
    canvas = np.full((200, 340, 3), 60, np.uint8)
    canvas[30:170, :140], canvas[:, 140:] = smaller, crop
    large, small = detector(canvas)
    assert small.box[2] < 140 < large.box[0]
    moved = (small.landmarks + 0.5) * (200 / 140) + [139.5, -0.5 - 30 * 200 / 140, 0]
    assert error(moved, large.landmarks) < 0.03


@pytest.mark.parametrize("shape", [(64, 64), (500, 333), (1, 700)])
def test_no_face_in_blank_and_noise(detector, shape):
    rng = np.random.default_rng(0)
    assert detector(np.full((*shape, 3), 200, np.uint8)) == []
    assert detector(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


def test_threads_share_a_detector(detector, astronaut, landmarks):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    (alone,) = detector(mirrored)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector, [astronaut, mirrored] * 4))
    for (upright,), (other,) in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_array_equal(upright.landmarks, landmarks)
        np.testing.assert_array_equal(other.landmarks, alone.landmarks)


def test_min_score_drops_proposals(astronaut):
    assert FaceDetector(min_score=0.999)(astronaut) == []
