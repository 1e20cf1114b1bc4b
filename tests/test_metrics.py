"""Metrics against closed forms, brute force and drawn truths."""

import dataclasses
from itertools import pairwise

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from scipy.special import expit

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.metrics import baselines, depth, icp, landmarks, points, statistics, surface
from vrn_jax.metrics.alignment import Similarity, align, fit_similarity, move
from vrn_jax.metrics.hull import inside_hull
from vrn_jax.metrics.point_set import PointSet, mesh_points, sample_surface
from vrn_jax.metrics.volume import iou
from vrn_jax.types import Mesh

SHAPE = (96, 96)
FACE = MEAN_LANDMARKS * 40 + (48.0, 48.0, 0.0)  # outer eye corners 40 px apart
SEEDS = st.integers(0, 2**32 - 1)


def in_crop(coordinates, normals=None) -> PointSet:
    return PointSet(np.asarray(coordinates, np.float64), "crop", "px", "left", normals)


def cloud(seed: int, count: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)) * (3.0, 4.0, 2.0)


def bumpy_face(count: int, seed: int = 0) -> np.ndarray:
    """Points drawn on a surface without symmetry, about 100 px wide."""
    x, y = np.random.default_rng(seed).uniform(-50, 50, (2, count))
    z = 30 * np.exp(-((x / 30) ** 2 + (y / 40) ** 2)) + 8 * np.sin(x / 9 + y / 23) + y * x / 300
    return np.stack([x, y, z], axis=1)


def drawn_similarity(seed: int, angle_deg: float, scaled: bool = True) -> Similarity:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(angle_deg)).as_matrix()
    return Similarity(rng.uniform(0.9, 1.1) if scaled else 1.0, turn, rng.uniform(-5, 5, 3))


# Volumes


def test_iou_of_shifted_boxes_is_known():
    volume = jnp.zeros((2, 8, 8, 10), bool).at[:, 2:6, 2:6, 2:7].set(True)
    shifted = jnp.roll(volume, 2, axis=2).at[1].set(volume[1])
    np.testing.assert_allclose(iou(volume, shifted), [1 / 3, 1])  # half in common, 40 of 120


def test_iou_of_two_empty_volumes_is_perfect_and_of_one_is_none():
    empty, full = jnp.zeros((3, 3, 3), bool), jnp.ones((3, 3, 3), bool)
    assert iou(empty, empty) == 1
    assert iou(empty, full) == 0


@given(arrays(bool, (2, 4, 4, 5)))
def test_iou_is_symmetric_within_0_and_1(volumes):
    one, other = jnp.asarray(volumes)
    value = iou(one, other)
    assert value == iou(other, one)
    assert 0 <= value <= 1
    assert iou(one, one) == 1


# The hull


@settings(max_examples=40)
@given(SEEDS, st.integers(3, 51))
def test_the_hull_is_that_of_half_planes(seed, count):
    drawn = np.random.default_rng(seed).uniform(-10, 60, (count, 2))
    # The first three span a triangle that is more than a line.
    drawn[:3] = (5, 5), (40, 8), (20, 45)
    rows, columns = np.mgrid[:48, :56]
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    planes = ConvexHull(drawn).equations
    beyond = (pixels @ planes[:, :2].T + planes[:, 2]).max(axis=1).reshape(48, 56)
    clear = np.abs(beyond) > 1e-3  # float32 does not tell the border itself
    # The same points several times over change nothing, and one shape is compiled once.
    repeated = jnp.asarray(np.resize(drawn, (51, 2)))
    found = np.asarray(inside_hull(repeated, (48, 56)))
    np.testing.assert_array_equal(found[clear], (beyond < 0)[clear])


def test_the_border_belongs_to_the_hull():
    corners = jnp.array([[1.0, 1.0], [5.0, 1.0], [5.0, 3.0], [1.0, 3.0]])
    expected = np.zeros((6, 8), bool)
    expected[1:4, 1:6] = True
    np.testing.assert_array_equal(inside_hull(corners, (6, 8)), expected)


# Depth


def ball_front(radius: float, scale: float = 1.0) -> jax.Array:
    """The height map of a ball around the middle of the face, -inf beside it."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    squared = radius**2 - (rows - 48.0) ** 2 - (columns - 48.0) ** 2
    return jnp.asarray(np.where(squared > 0, scale * np.sqrt(np.maximum(squared, 0)), -np.inf))


def test_a_surface_has_no_depth_error_against_itself_moved_in_depth():
    truth = ball_front(45)
    error, coverage = depth.depth_error(truth + 17, truth, jnp.asarray(FACE))
    assert error == pytest.approx(0, abs=1e-6)
    assert coverage == 1


def test_the_depth_error_of_a_ball_scaled_in_depth_is_known():
    truth, landmarks_ = ball_front(45), jnp.asarray(FACE)
    hull = ConvexHull(FACE[17:, :2]).equations
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    z = np.asarray(truth).ravel()[(pixels @ hull[:, :2].T + hull[:, 2]).max(axis=1) <= 1e-9]
    expected = np.abs(0.3 * (z - np.median(z))).mean() / 40
    error, coverage = depth.depth_error(ball_front(45, 1.3), truth, landmarks_)
    assert error == pytest.approx(expected, rel=1e-4)
    assert coverage == 1
    both = jnp.stack([truth, ball_front(45, 1.3)])
    batched = jax.jit(jax.vmap(depth.depth_error, (0, None, None)))(both, truth, landmarks_)
    np.testing.assert_allclose(batched.error, [0, error], rtol=1e-5, atol=1e-7)


def test_what_is_missing_costs_coverage_and_no_error():
    truth = ball_front(45)
    left = jnp.where(jnp.arange(96) < 48, truth, jnp.nan)
    error, coverage = depth.depth_error(left, truth, jnp.asarray(FACE))
    hull = np.asarray(inside_hull(jnp.asarray(FACE[17:, :2]), SHAPE))
    assert error == pytest.approx(0, abs=1e-6)
    assert coverage == pytest.approx(hull[:, :48].sum() / hull.sum())
    nothing = depth.depth_error(jnp.full(SHAPE, -jnp.inf), truth, jnp.asarray(FACE))
    assert np.isnan(nothing.error)
    assert nothing.coverage == 0


def test_hidden_landmarks_do_not_count():
    visible = jnp.arange(68) < 5
    offset = jnp.array([1.0, 2.0, 3.0, 4.0, 10.0]).tolist() + [99.0] * 63
    predicted = jnp.asarray(FACE[:, 2]) + jnp.array(offset)
    error, coverage = depth.landmark_depth_error(predicted, jnp.asarray(FACE), visible)
    assert error == pytest.approx((2 + 1 + 0 + 1 + 7) / 5 / 40, rel=1e-5)  # median 3
    assert coverage == 1
    fewer = depth.landmark_depth_error(predicted.at[4].set(jnp.nan), jnp.asarray(FACE), visible)
    assert fewer.error == pytest.approx((1.5 + 0.5 + 0.5 + 1.5) / 4 / 40, rel=1e-5)
    assert fewer.coverage == pytest.approx(0.8)


def test_heights_are_bilinear_and_end_with_the_surface():
    rows, columns = jnp.mgrid[:6.0, :8.0]
    plane = jnp.where(columns < 5, 2 * columns - 3 * rows, -jnp.inf)
    at = jnp.array([[1.25, 2.5], [4.0, 3.0], [4.4, 3.0], [4.6, 3.0], [7.0, 1.0], [-3.0, 2.0]])
    expected = [2 * 1.25 - 3 * 2.5, -1.0, -1.0, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(depth.height_at(plane, at), expected, rtol=1e-6)


def test_fronts_of_a_volume_lie_between_planes():
    grid = VolumeGrid(2, 3, 8, origin_plane=5.0)
    volume = np.zeros(grid.shape, np.float32)
    volume[0, 0, 2:5] = 1, 1, 0.75  # 0.75 -> 0 crosses one half after a third of a plane
    volume[0, 1, 3:8] = 1
    volume[1, 0, 6] = 0.5  # not above the threshold
    fronts = depth.volume_front(jnp.asarray(volume), grid=grid)
    expected = [[(4 + 1 / 3 - 5) / 2, (7.5 - 5) / 2, -np.inf], [-np.inf] * 3]
    np.testing.assert_allclose(fronts, expected, rtol=1e-6)
    solid = depth.volume_front(jnp.asarray(volume > 0.5)[None], grid=grid)
    np.testing.assert_allclose(solid[0, 0], [-0.25, 1.25, -np.inf])
    with pytest.raises(InputError, match="volume of this grid"):
        depth.volume_front(jnp.asarray(volume))


def test_mesh_and_volume_of_a_ball_have_the_front_of_a_ball(ball):
    grid = VolumeGrid(180, 200, 200, origin_plane=160.0)
    rows, columns, planes = np.mgrid[:180, :200, :200].astype(np.float32)
    x, y, z = columns - 100, rows - 90, (planes - 160) / 2 + 30
    occupancy = expit(40 - np.sqrt(x**2 + y**2 + z**2))
    squared = 40**2 - x[..., 0] ** 2 - y[..., 0] ** 2
    true = np.sqrt(np.maximum(squared, 0)) - 30
    steep = squared < 20**2
    for front in (
        depth.volume_front(jnp.asarray(occupancy), grid=grid),
        depth.mesh_front(ball, (180, 200), "photo"),
    ):
        assert np.abs(np.where(steep, 0, np.asarray(front) - true)).max() < 0.05
        assert np.isneginf(np.asarray(front)[squared < -100]).all()
    with pytest.raises(InputError, match="'photo'"):
        depth.mesh_front(ball, (180, 200))


# Landmarks and points


def test_landmark_errors_by_hand():
    truth = np.zeros((68, 3))
    truth[36], truth[45], truth[8] = (10, 20, 3), (40, 20, 43), (25, 80, 0)
    assert landmarks.outer_interocular(truth) == pytest.approx(50, abs=1e-12)
    assert landmarks.outer_interocular(truth[:, :2]) == pytest.approx(30, abs=1e-12)
    assert landmarks.box_size(truth) == pytest.approx(np.sqrt(40 * 80), abs=1e-12)
    moved = truth.copy()
    moved[:34] += (3, 4, 12)
    assert landmarks.landmark_nme(moved, truth, np.float64(50)) == pytest.approx(
        13 / 2 / 50, abs=1e-12
    )
    flat = landmarks.landmark_nme(
        jnp.asarray(moved[None, :, :2]), jnp.asarray(truth[None, :, :2]), jnp.array([30.0])
    )
    np.testing.assert_allclose(flat, [5 / 2 / 30], atol=1e-6)


def test_nme_by_hand():
    truth = in_crop([[0, 0, 0], [10, 0, 0], [0, 10, 0]])
    predicted = in_crop([[3, 4, 0], [10, 0, 0], [0, 10, 2]])
    assert points.nme(predicted, truth, 70) == pytest.approx((5 + 0 + 2) / 3 / 70, abs=1e-12)


@given(SEEDS)
def test_nme_does_not_see_a_common_similarity(seed):
    truth, predicted = cloud(seed), cloud(seed) + cloud(seed + 1) * 0.1
    common = drawn_similarity(seed, 100)
    before = points.nme(in_crop(predicted), in_crop(truth), 20)
    after = points.nme(in_crop(common(predicted)), in_crop(common(truth)), 20 * common.scale)
    assert after == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        {"frame": "photo"},
        {"unit": "m"},
        {"handedness": "right"},
        {"points": np.zeros((4, 3))},
    ],
)
def test_unlike_points_are_refused(other):
    truth = in_crop(cloud(0, 5))
    with pytest.raises(InputError):
        points.nme(dataclasses.replace(truth, **other), truth, 1)
    if "points" not in other:
        with pytest.raises(InputError, match="different frames or units"):
            points.match_nearest(truth, dataclasses.replace(truth, **other))


@pytest.mark.parametrize("length", [0.0, -1.0, np.nan, np.inf])
def test_a_normaliser_is_a_length(length):
    with pytest.raises(InputError, match="positive"):
        points.nme(in_crop(cloud(0)), in_crop(cloud(0)), length)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN"):
        in_crop([[0, np.nan, 0]])
    with pytest.raises(InputError, match="0 points"):
        in_crop(np.zeros((0, 3)))


def test_chamfer_and_f_score_of_shifted_planes():
    grid = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), [0.0]), axis=-1).reshape(-1, 3)
    up = np.tile([0.0, 0.0, 1.0], (100, 1))
    tilted = np.tile([0.6, 0.0, -0.8], (100, 1))
    matches = points.match_nearest(in_crop(grid + np.array([0, 0, 0.3]), tilted), in_crop(grid, up))
    assert points.chamfer(matches) == pytest.approx(0.3)
    assert points.f_score(matches, 0.31) == 1
    assert points.f_score(matches, 0.29) == 0
    assert points.normal_consistency(matches) == pytest.approx(0.8)


def test_chamfer_and_f_score_by_hand():
    matches = points.match_nearest(
        in_crop([[0, 0, 0], [5, 0, 0], [20, 0, 0]]), in_crop([[1, 0, 0], [7, 0, 0]])
    )
    assert points.chamfer(matches) == pytest.approx(((1 + 2 + 13) / 3 + (1 + 2) / 2) / 2)
    # Two of three predicted are near and both true ones: 2 (2/3) / (2/3 + 1).
    assert points.f_score(matches, 3.0) == pytest.approx(0.8)
    with pytest.raises(InputError, match="needs normals"):
        points.normal_consistency(matches)


def test_samples_cover_a_sphere_evenly(ball):
    drawn = sample_surface(ball, 20_000)
    from_centre = drawn.points - (100, 90, -30)
    assert drawn.normals is not None
    np.testing.assert_allclose(np.linalg.norm(from_centre, axis=1), 40, atol=0.1)
    assert (from_centre * drawn.normals).sum(axis=1).min() > 38
    # The share of a sphere's area within a slab is the share of its height.
    inside = (np.abs(from_centre[:, 2]) < 10).mean()
    assert inside == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 20_000))


# Alignment


@given(SEEDS, st.floats(0, 180))
def test_a_drawn_similarity_is_recovered(seed, angle):
    drawn = drawn_similarity(seed, angle)
    source = cloud(seed)
    found = fit_similarity(source, drawn(source), scaled=True)
    assert found.scale == pytest.approx(drawn.scale)
    np.testing.assert_allclose(found.rotation, drawn.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, drawn.translation, atol=1e-8)


@given(SEEDS)
def test_rotations_are_scipys_and_never_reflections(seed):
    source = cloud(seed)
    target = source * (1, -1, 1) + cloud(seed + 1) * 0.1
    ours = fit_similarity(source, target, scaled=False)
    centred = [side - side.mean(axis=0) for side in (target, source)]
    expected = Rotation.align_vectors(*centred)[0].as_matrix()
    np.testing.assert_allclose(ours.rotation, expected, atol=1e-6)
    assert np.linalg.det(ours.rotation) == pytest.approx(1)
    scaled = fit_similarity(source, target, scaled=True)
    # The best scale: no other gives less.
    errors = [
        ((factor * scaled.scale * centred[1] @ scaled.rotation.T - centred[0]) ** 2).sum()
        for factor in (0.99, 1, 1.01)
    ]
    assert min(errors) == errors[1]


def test_points_on_a_line_tell_no_rotation():
    line = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="on a line"):
        fit_similarity(line, line, scaled=True)


def test_alignment_crosses_frames_but_not_handedness_nor_its_limit():
    scan = PointSet(cloud(0), "scan", "mm", "right")
    drawn = drawn_similarity(1, 60)
    ours = PointSet(drawn(scan.points) / 1000, "metres", "m", "right")
    found = align(ours, scan, limit=1e-6)
    moved = move(ours, found, scan)
    assert (moved.frame, moved.unit) == ("scan", "mm")
    np.testing.assert_allclose(moved.points, scan.points, atol=1e-9)
    with pytest.raises(InputError, match="handed"):
        align(dataclasses.replace(ours, handedness="left"), scan, limit=1e-6)
    with pytest.raises(InputError, match="differ in unit"):
        align(ours, scan, limit=1e-6, scaled=False)
    with pytest.raises(InputError, match="not scored"):
        align(dataclasses.replace(ours, points=cloud(5)), scan, limit=0.5)


# ICP


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("count", "scaled"), [(1_500, True), (6_000, False)])
def test_icp_recovers_a_drawn_motion(seed, count, scaled):
    face = bumpy_face(count, seed)
    drawn = drawn_similarity(seed, 10, scaled)
    order = np.random.default_rng(seed).permutation(count)
    registration = icp.icp(
        in_crop(face), in_crop(drawn(face)[order]), limit=1, scaled=scaled, keep=1.0
    )
    assert registration.residual < 1e-6
    np.testing.assert_array_equal(order[registration.nearest], np.arange(count))
    np.testing.assert_allclose(registration.target_from_source(face), drawn(face), atol=1e-6)


def test_trimmed_icp_does_not_mind_what_is_missing():
    face = bumpy_face(4_000)
    drawn = drawn_similarity(3, 5, scaled=False)
    kept = face[face[:, 0] < 35]  # 85 %
    full, partial = in_crop(face), in_crop(drawn(kept))
    assert icp.icp(full, partial, limit=1, keep=0.8).residual < 1e-6
    with pytest.raises(InputError, match="not scored"):
        icp.icp(full, partial, limit=0.1, keep=1.0)


def test_the_papers_error_with_and_without_the_transform():
    face = bumpy_face(3_000)
    drawn = drawn_similarity(2, 4, scaled=False)
    truth, prediction = in_crop(face), in_crop(drawn(face)[::-1])
    scores = icp.correspondence_nme(prediction, truth, 60)
    expected = np.linalg.norm(drawn(face) - face, axis=1).mean() / 60
    assert scores.unaligned == pytest.approx(expected, rel=1e-6)
    assert scores.aligned == pytest.approx(0, abs=1e-9)


def test_icp_refuses_other_frames_and_other_things():
    face = in_crop(bumpy_face(500))
    with pytest.raises(InputError, match="different frames"):
        icp.correspondence_nme(dataclasses.replace(face, frame="photo"), face, 60)
    with pytest.raises(InputError, match="not scored"):
        icp.correspondence_nme(in_crop(100 * cloud(0, 500)), face, 60)


# Surfaces


def test_distances_to_a_square_are_exact():
    corners = np.array([[0.0, 0, 0], [9, 0, 0], [9, 9, 0], [0, 9, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    probes = np.array([[4.0, 4, 3], [9, 9, -2], [12, 13, 0], [-2, 4, 0], [0, -3, 4]])
    expected = [3, 2, 5, 2, 5]
    np.testing.assert_allclose(surface.distance_to_surface(probes, corners, faces), expected)


def test_distances_to_very_unlike_triangles_are_those_of_brute_force(ball):
    import trimesh

    coarse = Mesh(
        np.array([[0.0, 0, 0], [300, 0, 10], [0, 300, 20]]), np.array([[0, 1, 2]]), "crop"
    )
    vertices = np.concatenate([ball.vertices, coarse.vertices])
    faces = np.concatenate([ball.faces[::20], coarse.faces + len(ball.vertices)])
    probes = np.random.default_rng(0).uniform(-50, 250, (40, 3))
    triangles = vertices[faces]
    expected = [
        np.linalg.norm(
            trimesh.triangles.closest_point(triangles, np.tile(probe, (len(faces), 1))) - probe,
            axis=1,
        ).min()
        for probe in probes
    ]
    found = surface.distance_to_surface(probes, vertices, faces)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_scan_of_a_ball_is_as_far_from_it_as_it_is_larger(ball):
    """Landmarks on the scan bring scale and place; a dented scan then shows its dent."""
    outward = (ball.vertices - (100, 90, -30)) / 40
    drawn = drawn_similarity(0, 50)
    to_scan = Similarity(2.0, drawn.rotation, drawn.translation)
    dented = to_scan(ball.vertices + outward * 1.5)
    scan = PointSet(dented[::50], "scan", "mm", "left")
    chosen = np.arange(0, len(ball.vertices), 3000)
    mesh_landmarks = PointSet(ball.vertices[chosen], "photo", "px", "left")
    scan_landmarks = PointSet(to_scan(ball.vertices[chosen]), "scan", "mm", "left")
    found = surface.scan_to_mesh(scan, ball, scan_landmarks, mesh_landmarks, limit=1e-6)
    np.testing.assert_allclose(found, 3.0, atol=0.02)
    with pytest.raises(InputError, match="different frames"):
        surface.scan_to_mesh(scan, ball, mesh_landmarks, mesh_landmarks, limit=1)


# Baselines


def head_frame_face() -> np.ndarray:
    """The mean landmarks as a head of 9 cm between the eyes: y up."""
    return MEAN_LANDMARKS * (9.0, -9.0, 9.0)


@settings(max_examples=30)
@given(SEEDS, st.floats(0, 80))
def test_the_camera_of_a_posed_head_is_recovered(seed, angle):
    drawn = drawn_similarity(seed, angle)
    y_down = head_frame_face() * (1, -1, 1)
    picture = (7 * y_down @ drawn.rotation.T)[:, :2] + (90, 100)
    posed = baselines.posed_head(
        head_frame_face(), np.array([[0, 1, 2]]), np.arange(68), picture, "crop"
    )
    np.testing.assert_allclose(posed.vertices[:, :2], picture, atol=1e-9)
    np.testing.assert_allclose(posed.vertices[:, 2], 7 * y_down @ drawn.rotation[2], atol=1e-9)


def test_a_posed_head_shows_its_outside_to_the_viewer():
    corners = np.concatenate([head_frame_face(), [[-20, -20, 1], [20, -20, 1], [0, 25, 1]]])
    outward = np.array([[68, 69, 70]])  # counter-clockwise, y up
    picture = FACE[:, :2]
    posed = baselines.posed_head(corners, outward, np.arange(68), picture, "crop")
    front = depth.mesh_front(posed, SHAPE)
    assert np.isfinite(front[48, 48])
    assert front[48, 48] == pytest.approx(40 / 9, rel=1e-5)
    nose = Rotation.from_euler("y", 40, degrees=True).as_matrix()
    turned = (MEAN_LANDMARKS @ nose.T)[:, :2] * 40 + 48
    z = baselines.posed_head(corners, outward, np.arange(68), turned, "crop").vertices[:, 2]
    assert z[0] > z[16]  # the nose goes right, so the left ear comes nearer


def test_flat_landmarks_tell_no_camera():
    with pytest.raises(InputError, match="in a plane"):
        baselines.fit_weak_perspective(cloud(0, 20) * (1, 1, 0), cloud(0, 20)[:, :2])


def test_the_best_constant_volume_is_found_by_trying_all():
    rng = np.random.default_rng(0)
    middle = np.linalg.norm(np.mgrid[:12, :12, :14] - np.reshape([6, 6, 7], (3, 1, 1, 1)), axis=0)
    truths = [jnp.asarray(middle < radius) for radius in rng.uniform(2, 6, 9)]
    mean = jnp.mean(jnp.stack(truths).astype(jnp.float32), axis=0)
    best = baselines.best_constant_volume(mean, truths)
    levels = [np.asarray(mean) > i / 20 for i in range(1, 20)]
    scores = [
        np.mean([(level & t).sum() / (level | t).sum() for t in map(np.asarray, truths)])
        for level in levels
    ]
    assert best.mean_iou == pytest.approx(max(scores), rel=1e-6)
    np.testing.assert_array_equal(best.volume, levels[int(np.argmax(scores))])
    with pytest.raises(InputError, match="at least one"):
        baselines.best_constant_volume(mean, [])


def test_a_flat_plane_errs_by_the_depth_of_the_face():
    truth = ball_front(45)
    flat = depth.depth_error(baselines.flat_front(SHAPE), truth, jnp.asarray(FACE))
    twice = depth.depth_error(2 * truth, truth, jnp.asarray(FACE))
    assert flat.error == pytest.approx(float(twice.error), rel=1e-5)
    assert flat.error > 0.05


# Statistics


def test_an_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        interval = statistics.mean_interval(rng.exponential(size=80), 0.9, seed)
        assert interval.low < interval.mean < interval.high
        covered += interval.low <= 1 <= interval.high
    assert 80 <= covered <= 97


def test_an_interval_of_normal_values_is_the_known_one():
    values = np.random.default_rng(1).normal(3, 2, 2_000)
    interval = statistics.mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.1)
    assert interval == statistics.mean_interval(values)


def test_values_that_were_not_measured_have_no_mean():
    with pytest.raises(InputError, match="1 of 3"):
        statistics.mean_interval(np.array([1.0, np.nan, 2.0]))


def test_bins_of_yaw():
    yaw = np.array([0.0, -30.0, 30.5, -60.0, 61.0, 95.0])
    np.testing.assert_array_equal(statistics.yaw_bin(yaw), [0, 0, 1, 1, 2, 2])
    table = statistics.means_by_bin(np.arange(6.0), np.array([0, 0, 0, 1, 0, 0]))
    assert [row.n for row in table.values()] == [5, 1, 0]
    assert table["0-30"].mean == pytest.approx((0 + 1 + 2 + 4 + 5) / 5)
    assert table["30-60"].mean == 3
    assert np.isnan([table["30-60"].low, table["60-90"].mean]).all()


def test_cumulative_errors_by_hand():
    errors = np.array([0.1, 0.2, np.nan, 0.4])
    curve = statistics.cumulative_error(errors, np.array([0.0, 0.1, 0.3, 1.0]))
    np.testing.assert_allclose(curve, [0, 0.25, 0.5, 0.75])
    # Two steps of one quarter, at 0.1 and 0.2, of a curve that ends at 0.3.
    assert statistics.area_under_curve(errors, 0.3) == pytest.approx((0.2 + 0.1) / 4 / 0.3)


@given(arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_the_area_is_that_under_the_curve(errors):
    thresholds = np.linspace(0, 0.5, 20_001)
    curve = statistics.cumulative_error(errors, thresholds)
    assert all(low <= high for low, high in pairwise(curve))
    area = statistics.area_under_curve(errors, 0.5)
    assert area == pytest.approx(np.trapezoid(curve, thresholds) / 0.5, abs=1e-3)


def test_mesh_points_know_their_frame(ball):
    assert (mesh_points(ball).frame, mesh_points(ball).unit) == ("photo", "px")
    assert mesh_points(dataclasses.replace(ball, frame="metres")).handedness == "right"
