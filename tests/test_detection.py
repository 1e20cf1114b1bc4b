"""Face detection: its parts against closed forms, its landmarks against MediaPipe itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vrn_jax.batches
import vrn_jax.inference
from vrn_jax.detection import FACEMESH_OF_IBUG, FaceDetector
from vrn_jax.detection.blazeface import Proposal, anchors, decode, merge
from vrn_jax.detection.boxes import overlaps
from vrn_jax.detection.detector import face_box, has_moved, is_new, search_scales
from vrn_jax.detection.facemesh import mesh_region
from vrn_jax.detection.views import halvings, region, tile_starts, tiles, warp
from vrn_jax.geometry import crop
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
    return Proposal(
        np.array([[x, y], [x - 1, y], [x + 1, y], [x, y + 1]], float), float(side), score
    )


def face_at(left, top, right, bottom):
    return Face(np.array([left, top, right, bottom], float), np.zeros((68, 3)), 1.0)


def error(found, expected):
    """Mean distance in the picture over the expected outer-eye distance."""
    eyes = np.linalg.norm(expected[36, :2] - expected[45, :2])
    return np.linalg.norm(found[:, :2] - expected[:, :2], axis=1).mean() / eyes


# -- parts -----------------------------------------------------------------------------------------


def test_anchors_are_the_cell_centres():
    placed = anchors(128)
    assert placed.shape == (896, 2)
    np.testing.assert_array_equal(placed[:4], [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_array_equal(placed[2 * 16], [4, 12])
    np.testing.assert_array_equal(placed[512:519], [[8, 8]] * 6 + [[24, 8]])
    np.testing.assert_array_equal(placed[-1], [120, 120])
    assert anchors(256).shape == (4 * 896, 2)
    np.testing.assert_array_equal(anchors(256)[-1], [248, 248])


def test_ibug_points_are_distinct_facemesh_points():
    assert len(set(FACEMESH_OF_IBUG)) == 68
    assert 0 <= min(FACEMESH_OF_IBUG) <= max(FACEMESH_OF_IBUG) < 468


def test_decode_inverts_the_encoding():
    centre, right_eye, left_eye, side = (50.0, 60.0), (40.0, 52.5), (61.0, 51.0), 33.0
    row = 700
    mouth = (49.0, 75.0)
    corner = anchors(128)[row] - 0.5  # pixel centres count from half a pixel inside
    regressed, logits = np.zeros((896, 16), np.float32), np.full(896, -1000.0, np.float32)
    regressed[row, :12] = [
        *(centre - corner),
        *(side, side),
        *(right_eye - corner),
        *(left_eye - corner),
        *(0.0, 0.0),
        *(mouth - corner),
    ]
    logits[row] = np.log(3.0)
    (found,) = decode(regressed, logits, 128, 0.7)
    np.testing.assert_allclose(found.points, [centre, right_eye, left_eye, mouth], atol=1e-4)
    assert (found.side, found.score) == (side, pytest.approx(0.75))
    np.testing.assert_allclose(found.box, [33.5, 43.5, 66.5, 76.5], atol=1e-4)
    assert decode(regressed, logits, 128, 0.8) == []
    regressed[row, 2:4] = -side
    assert decode(regressed, logits, 128, 0.7) == []


def test_merge_blends_what_overlaps_and_keeps_the_rest():
    # Shared areas with the first: 60 of 140 (0.43, one face) and 40 of 160 (0.25, another).
    best, near, far = proposal(0, 0, 10, 0.9), proposal(4, 0, 10, 0.6), proposal(-6, 0, 10, 0.7)
    blended, kept = merge([near, far, best])
    assert blended.score == 0.9
    np.testing.assert_allclose(blended.points, [[1.6, 0], [0.6, 0], [2.6, 0], [1.6, 1]])
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
    np.testing.assert_allclose(moved.points, [[0, 6], [0, 4], [0, 8], [-2, 6]], atol=1e-12)
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


@given(st.integers(1, 5000), st.sampled_from([128, 256, 512]))
def test_tiles_cover_everything_and_overlap(length, size):
    starts = tile_starts(length, size)
    assert starts[0] == 0
    assert starts[-1] + size >= length
    assert np.diff(starts, prepend=0).max() <= size - 64
    assert len(starts) <= 1 + np.ceil(max(length - size, 0) / (size - 64))


@pytest.mark.parametrize("scale", [0.1, 0.45, 1.0, 1.7])
def test_tiles_show_every_pixel_in_its_place(scale):
    rising = np.broadcast_to(np.arange(600) / 4.0, (400, 600))
    photo = np.stack([rising, 255 - rising, np.full_like(rising, 99)], axis=-1).round()
    seen = np.zeros(600, bool)
    for tile in tiles(halvings(photo.astype(np.uint8)), scale):
        rows, columns = np.nonzero(tile.image[..., 2] == 99)
        red, green, _ = tile.image[rows, columns].T.astype(float)
        places = apply_similarity(tile.photo_from_tile, np.stack([columns, rows], 1).astype(float))
        assert np.abs(2.0 * (red - green + 255.0) - places[:, 0]).max() <= 0.5 / scale + 4.0
        assert (places > -0.5).all()
        assert (places < [599.5, 399.5]).all()
        seen[places[:, 0].round().astype(int)] = True
    gaps = np.diff(np.flatnonzero(seen), prepend=-1, append=600)
    assert gaps.max() <= np.ceil(1 / scale) + 1


@pytest.mark.parametrize("longer_side", [1, 60, 500, 1100, 4000, 20000])
def test_search_scales_leave_no_size_out(longer_side):
    scales, finer = search_scales(longer_side)
    assert 40 * scales[0] >= 18  # the smallest face wanted
    assert longer_side * scales[-1] <= 96  # the largest that fits
    np.testing.assert_allclose(np.divide(scales[:-1], scales[1:]), 4)
    assert scales == sorted(scales, reverse=True)
    assert max([*scales, *finer]) <= 2
    assert not finer or finer[0] > scales[0]


def test_roll_is_the_way_from_eyes_to_mouth():
    upright = proposal(0, 0, 4, 1.0)
    assert upright.roll_rad == 0
    for roll in (-2.0, 0.7, 3.0):
        turn = similarity(3.0, roll, np.zeros(2), np.array([5.0, 6.0]))
        assert upright.moved(turn).roll_rad == pytest.approx(roll)


def test_moved_away_or_in_size():
    here = proposal(0, 0, 10, 1.0)
    assert not has_moved(here, proposal(1, 0, 11, 1.0))
    assert has_moved(here, proposal(2, 0, 10, 1.0))
    assert has_moved(here, proposal(0, 0, 13, 1.0))


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


@pytest.mark.parametrize("shape", [(64, 64), (500, 333), (1, 700), (1500, 2000)])
def test_no_face_in_blank_and_noise(detector, shape):
    rng = np.random.default_rng(0)
    assert detector(np.full((*shape, 3), 200, np.uint8)) == []
    assert detector(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


def shown(astronaut, landmarks, size, angle_deg, shape):
    """The portrait so scaled and turned that the face has this size, and the face's landmarks."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    scale = size / np.sqrt(np.prod(high - low))
    place = np.array([0.6 * shape[1], 0.45 * shape[0]])
    moved = similarity(scale, np.radians(angle_deg), (low + high) / 2, place)
    return crop.warp(astronaut, moved, shape), apply_similarity(moved, landmarks[:, :2])


@pytest.mark.parametrize("angle_deg", [-23, 37, 101, 158, 203, 260, 311])
@pytest.mark.parametrize(("size", "tolerance"), [(40, 0.06), (150, 0.03)])
def test_any_angle(detector, astronaut, landmarks, angle_deg, size, tolerance):
    photo, expected = shown(astronaut, landmarks, size, angle_deg, (700, 900))
    (face,) = detector(photo)
    assert error(face.landmarks, expected) < tolerance
    assert face.quarter_turns == round(angle_deg / 90) % 4


@pytest.mark.parametrize(("size", "angle_deg"), [(40, 140), (20, 0)])
def test_face_of_few_pixels_in_twelve_megapixels(detector, astronaut, landmarks, size, angle_deg):
    shape = (3000, 4000)
    photo, expected = shown(astronaut, landmarks, size, angle_deg, shape)
    (face,) = detector(photo)
    assert error(face.landmarks, expected) < 2.4 / size


@pytest.mark.parametrize("size", [600, 800])
def test_face_that_exceeds_the_photo(detector, astronaut, landmarks, size):
    photo, expected = shown(astronaut, landmarks, size, 0, (700, 600))
    (face,) = detector(photo)
    assert error(face.landmarks, expected) < 0.1


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (np.s_[:], np.s_[203:]),  # a quarter of the face, a sixth of it at the top
        (np.s_[:], np.s_[:249]),
        (np.s_[100:], np.s_[:]),
        (np.s_[:154], np.s_[:]),
    ],
)
def test_face_cut_by_the_border(detector, astronaut, landmarks, rows, columns):
    photo = np.ascontiguousarray(astronaut[rows, columns])
    (face,) = detector(photo)
    expected = landmarks - [columns.start or 0, rows.start or 0, 0]
    assert error(face.landmarks, expected) < 0.15


@pytest.mark.parametrize("points", [range(36, 48), range(48, 68)], ids=["eyes", "mouth"])
def test_covered_face(detector, astronaut, landmarks, points):
    left, top, right, bottom = crop.landmark_box(landmarks[list(points)]).round().astype(int)
    photo = astronaut.copy()
    photo[top - 5 : bottom + 5, left - 5 : right + 5] = 127
    (face,) = detector(photo)
    assert error(face.landmarks, landmarks) < 0.1


def test_faces_of_very_different_sizes(detector, astronaut, landmarks):
    large_photo, large = shown(astronaut, landmarks, 380, 0, (1100, 1600))
    small_photo, small = shown(astronaut, landmarks, 40, 0, (180, 200))
    photo = large_photo.copy()
    photo[:180, :200] = small_photo
    first, second = detector(photo)
    assert error(first.landmarks, large) < 0.03
    assert error(second.landmarks, small) < 0.06


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_without_facemesh_there_is_a_box(astronaut, landmarks, monkeypatch, turns):
    detector = FaceDetector()
    monkeypatch.setattr(detector, "_facemesh", lambda *_: None)
    (face,) = detector(np.ascontiguousarray(np.rot90(astronaut, -turns)))  # from x towards y
    assert face.landmarks is None
    assert face.quarter_turns == turns
    turn = similarity(1.0, turns * np.pi / 2, np.full(2, 255.5), np.full(2, 255.5))
    expected = crop.landmark_box(apply_similarity(turn, landmarks))
    assert overlaps(face.box, expected[None])[0] > 0.85


def test_box_of_a_tilted_face_is_that_of_its_outline(landmarks):
    upright = proposal(0, 0, 100, 1.0)
    np.testing.assert_allclose(face_box(upright), [-44.4, -38, 44.4, 49.4])
    tilted = upright.moved(similarity(1.0, np.pi / 4, np.zeros(2), np.zeros(2)))
    points = apply_similarity(similarity(1.0, np.pi / 4, np.zeros(2), np.zeros(2)), landmarks)
    width, height = np.ptp(points[:, :2], axis=0) / np.ptp(landmarks[:, :2], axis=0)
    box = face_box(tilted)
    np.testing.assert_allclose((box[2:] - box[:2]) / [88.8, 87.4], [width, height], rtol=0.08)


def test_a_face_without_landmarks_is_cropped_upright(astronaut, landmarks, monkeypatch):
    crops = []

    def stop(*arguments):
        crops.append(crop.crop_face(*arguments))
        raise InterruptedError

    monkeypatch.setattr(vrn_jax.batches, "crop_face", stop)
    upright = crop.landmark_box(landmarks)
    turned = np.array([511 - upright[3], upright[0], 511 - upright[1], upright[2]])
    face = Face(turned, None, 0.9, quarter_turns=1)
    reconstructor = vrn_jax.load(detector=lambda _: [face])
    with pytest.raises(InterruptedError):
        reconstructor(np.ascontiguousarray(np.rot90(astronaut, -1)))
    expected = crop.crop_face(astronaut, upright).image.astype(float)
    assert np.abs(crops[0].image - expected).max() <= 2


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
