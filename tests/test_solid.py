"""The solid and its occupancy against closed forms and a voxeliser that works in another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.solid import (
    BACK_CM,
    Solid,
    each,
    front_z,
    make_solid,
    occupancy,
    occupancy_of_planes,
)

SCALE = 6.5  # crop pixels per centimetre
HALF_WIDTH, HALF_HEIGHT = 7.0, 9.0


def height(x, y):
    """A face-like hill with a nose, centimetres."""
    nose = 2.2 * np.exp(-(x**2) / 1.5 - ((y + 1) ** 2) / 4)
    return 9 - 0.09 * x**2 - 0.03 * y**2 + nose


def hill() -> tuple[np.ndarray, np.ndarray]:
    """The hill over an ellipse as triangles of 0.25 cm, wound for pictures with y down."""
    n = 81
    u, v = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    # The square mapped onto the disc, so that the edge is smooth.
    x = HALF_WIDTH * u * np.sqrt(1 - v**2 / 2)
    y = HALF_HEIGHT * v * np.sqrt(1 - u**2 / 2)
    points = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)
    i, j = (k.ravel() for k in np.meshgrid(range(n - 1), range(n - 1), indexing="ij"))
    a, b, c, d = i * n + j, (i + 1) * n + j, i * n + j + 1, (i + 1) * n + j + 1
    return points.astype(np.float32), np.concatenate(
        [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
    )


def posed(yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """crop_from_head of a head turned by these angles, in the middle of the crop."""
    yaw, pitch, roll = np.deg2rad([yaw_deg, pitch_deg, roll_deg])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    linear = SCALE * np.diag([1.0, -1.0, 1.0]) @ tilt @ turn @ nod
    offset = np.array([95.5, 95.5, 30.0]) - linear @ np.array([0, 0, 4.0])
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def solid_of(pose: np.ndarray) -> Solid:
    points, faces = hill()
    return make_solid(jnp.asarray(points), jnp.asarray(faces), jnp.asarray(pose))


def closed_form(pose: np.ndarray, front: float) -> tuple[np.ndarray, np.ndarray]:
    """The occupancy of the hill by its formula, and how far (cm) voxels are from any surface."""
    rows, columns, planes = np.indices(VRN_GRID.shape).astype(np.float64)
    z = (planes - 178) * 0.5 + front
    crop = np.stack([columns, rows, z], axis=-1)
    x, y, depth = np.moveaxis(
        (crop - pose[:, 3]) @ np.linalg.inv(pose[:, :3].astype(float)).T, -1, 0
    )
    top = height(0.0, np.linspace(-3, 3, 6001)).max()
    edge = (1 - np.sqrt((x / HALF_WIDTH) ** 2 + (y / HALF_HEIGHT) ** 2)) * HALF_WIDTH
    inner = np.minimum(height(x, y) - depth, depth - (top - BACK_CM))
    return (edge >= 0) & (inner >= 0), np.minimum(np.abs(edge), np.abs(inner))


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, -15, 20), (90, 0, 0), (-70, 10, -30)])
def test_every_voxel_away_from_the_surface_agrees_with_the_formula(angles):
    pose = posed(*angles)
    solid = solid_of(pose)
    ours = np.asarray(occupancy(solid))
    truth, distance = closed_form(pose, float(front_z(solid)))
    # The slope of the hill is at most 2, so half a voxel sideways is up to 0.17 cm in depth.
    clear = distance > 0.5 / SCALE * 2
    assert (ours == truth)[clear].mean() > 0.9999
    union = (ours | truth).sum()
    assert (ours & truth).sum() / union > 0.98


@pytest.mark.parametrize("yaw", [0, 50, -90])
def test_the_front_most_point_lies_in_plane_178(yaw):
    """The grid's rule; profiles are cut at plane 0, on the side that no camera sees."""
    filled = np.asarray(occupancy(solid_of(posed(yaw)))).any(axis=(0, 1))
    assert filled[178] or filled[177]
    assert not filled[179:].any()


def test_a_frontal_solid_has_a_flat_back_eleven_centimetres_deep():
    volume = np.asarray(occupancy(solid_of(posed(0))))
    first = np.where(volume.any(axis=2), volume.argmax(axis=2), -1)
    assert np.unique(first[first >= 0]).size == 1
    deepest = volume.sum(axis=2).max() * VRN_GRID.plane_depth
    assert deepest == pytest.approx(BACK_CM * SCALE, abs=0.6)


def test_planes_may_be_asked_for_alone():
    solid = solid_of(posed(25))
    whole = occupancy(solid)
    some = jnp.array([30.0, 120.0, 177.0])
    few = occupancy_of_planes(solid, some, stride=3)
    np.testing.assert_array_equal(jnp.moveaxis(few, 0, 2), whole[::3, ::3, [30, 120, 177]])


def test_a_batch_is_taken_apart_solid_by_solid():
    poses = [posed(10), posed(-60)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(solid_of, poses))
    for one, pose in zip(each(batch), poses, strict=True):
        np.testing.assert_array_equal(occupancy(one), occupancy(solid_of(pose)))


def test_moving_the_head_moves_the_volume():
    pose = posed(20)
    moved = pose.copy()
    moved[:2, 3] += [7, -4]
    before, after = (np.asarray(occupancy(solid_of(p))) for p in (pose, moved))
    assert (np.roll(before, (-4, 7), axis=(0, 1)) == after).mean() > 0.99999  # rounding


def test_the_isosurface_of_the_occupancy_is_the_hill_again():
    pose = posed(30)
    solid = solid_of(pose)
    volume = np.asarray(occupancy(solid), np.float32)
    mesh = isosurface(volume, VRN_GRID)
    crop = mesh.vertices + np.array([0, 0, float(front_z(solid))])
    x, y, z = ((crop - pose[:, 3]) @ np.linalg.inv(pose[:, :3].astype(float)).T).T
    on_front = (x / HALF_WIDTH) ** 2 + (y / HALF_HEIGHT) ** 2 < 0.8
    on_front &= z > 4
    assert on_front.sum() > 5000
    assert np.abs(z - height(x, y))[on_front].mean() * SCALE < 0.5  # crop pixels


def test_batches_equal_single_solids():
    poses = jnp.stack([jnp.asarray(posed(10)), jnp.asarray(posed(-60))])
    points, faces = (jnp.asarray(a) for a in hill())

    def volume(pose):
        return occupancy(make_solid(points, faces, pose))

    for pose, one in zip(poses, jax.jit(jax.vmap(volume))(poses), strict=True):
        assert (np.asarray(volume(pose)) == np.asarray(one)).mean() > 0.99999
