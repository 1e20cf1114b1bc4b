"""The compiled z-buffer against the one in numpy, which works in another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from vrn_jax.geometry import rasterize as reference
from vrn_jax.geometry.zbuffer import MOST_FACES, highest, interpolate, rasterize, slots_needed

SHAPE = (60, 80)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bumpy spheres before one another, vertices in pixels, wound as pixel frames want it."""
    rng = np.random.default_rng(seed)
    parts = []
    for centre, radius in (((30, 25, 0), 18), ((52, 33, 10), 12), ((70, 50, -5), 25)):
        ball = trimesh.creation.icosphere(subdivisions=3, radius=radius)
        ball.vertices *= 1 + 0.05 * rng.normal(size=(len(ball.vertices), 1))
        ball.apply_translation(centre)
        parts.append(ball)
    mesh = trimesh.util.concatenate(parts)
    return np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)


@pytest.fixture(scope="module")
def drawn():
    points, faces = scene()
    ours = rasterize(jnp.asarray(points), jnp.asarray(faces), SHAPE, slots=30_000)
    return points, faces, ours, reference.rasterize(points, faces, SHAPE)


def test_the_same_faces_are_seen(drawn):
    *_, ours, theirs = drawn
    same = np.asarray(ours.face) == theirs.face
    # On an edge that two faces share, either may win.
    assert same.mean() > 0.995
    assert ((np.asarray(ours.face) >= 0) == (theirs.face >= 0)).mean() > 0.999


def test_depth_is_that_of_the_surface(drawn):
    points, faces, ours, theirs = drawn
    z = reference.interpolate(theirs, faces, points[:, 2:])[..., 0]
    both = (np.asarray(ours.face) >= 0) & (theirs.face >= 0)
    assert np.abs(np.asarray(ours.z) - z)[both].max() < 0.05


def test_the_highest_points_are_those_of_what_is_seen(drawn):
    points, faces, _, theirs = drawn
    z = reference.interpolate(theirs, faces, points[:, 2:])[..., 0]
    ours = np.asarray(highest(jnp.asarray(points), jnp.asarray(faces), SHAPE, slots=30_000))
    seen = theirs.face >= 0
    assert (np.isfinite(ours) == seen).mean() > 0.999
    assert np.abs(ours - z)[seen & np.isfinite(ours)].max() < 0.05


def test_depth_agrees_with_cast_rays(drawn):
    """Rays down the z axis, each against the plane of every triangle that it goes through."""
    points, faces, ours, _ = drawn
    a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
    rows, columns = np.nonzero(np.asarray(ours.face) >= 0)
    for pick in np.random.default_rng(1).choice(len(rows), 60, replace=False):
        here = np.array([columns[pick], rows[pick]])
        hit = np.ones(len(faces), bool)
        for start, end in ((a, b), (b, c), (c, a)):
            along, out = (end - start)[:, :2], here - start[:, :2]
            hit &= along[:, 0] * out[:, 1] - along[:, 1] * out[:, 0] >= 0
        normal = np.cross(b - a, c - a)[hit]
        fall = ((here - a[hit, :2]) * normal[:, :2]).sum(axis=1) / normal[:, 2]
        front = (a[hit, 2] - fall).max()
        assert abs(front - float(ours.z[rows[pick], columns[pick]])) < 0.01


def test_values_are_carried_linearly(drawn):
    points, faces, ours, _ = drawn
    plane = points @ np.array([[0.3], [-0.2], [0.0]], np.float32) + 4
    carried = np.asarray(interpolate(ours, jnp.asarray(faces), jnp.asarray(plane)))[..., 0]
    rows, columns = np.nonzero(np.asarray(ours.face) >= 0)
    expected = 0.3 * columns - 0.2 * rows + 4
    np.testing.assert_allclose(carried[rows, columns], expected, atol=1e-3)


def test_triangles_of_any_size_and_place():
    """One over the whole picture, one in front of it that leaves it, one seen from behind."""
    points = jnp.array(
        [[-500, -500, 0], [900, -500, 0], [-500, 900, 0],
         [60, 10, 5], [200, 30, 5], [60, 50, 5],
         [10, 10, 9], [10, 30, 9], [30, 10, 9]], jnp.float32
    )  # fmt: skip
    faces = jnp.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    seen = np.asarray(rasterize(points, faces, SHAPE, slots=10_000).face)
    assert seen[15, 15] == 0
    assert seen[30, 70] == 1
    assert set(np.unique(seen)) == {0, 1}


def test_needs_are_told_and_a_lack_of_slots_only_leaves_out_the_last(drawn):
    points, faces, full, _ = drawn
    points, faces = jnp.asarray(points), jnp.asarray(faces)
    needed = int(slots_needed(points, faces, SHAPE))
    exact = rasterize(points, faces, SHAPE, slots=needed)
    np.testing.assert_array_equal(exact.face, full.face)
    short = np.asarray(rasterize(points, faces, SHAPE, slots=needed // 2).face)
    first_ball = np.asarray(full.face) < 500
    np.testing.assert_array_equal(short[first_ball], np.asarray(full.face)[first_ball])


def test_batches_equal_single_pictures():
    faces = jnp.asarray(scene()[1])
    points = jnp.stack([jnp.asarray(scene(seed)[0]) for seed in (0, 1)])

    def draw(points):
        return rasterize(points, faces, SHAPE, slots=30_000).face

    batched = jax.jit(jax.vmap(draw))(points)
    for one, of_batch in zip(points, batched, strict=True):
        np.testing.assert_array_equal(draw(one), of_batch)


def test_too_many_triangles_are_refused():
    faces = jnp.zeros((MOST_FACES + 1, 3), jnp.int32)
    with pytest.raises(ValueError, match="triangles can be drawn"):
        rasterize(jnp.zeros((3, 3)), faces, SHAPE, slots=10)
