"""Surfaces of solids whose volume, area and topology are known."""

import numpy as np
import pytest
import trimesh

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.isosurface import isosurface, smooth_surface
from vrn_jax.types import Mesh

GRID = VolumeGrid(64, 72, 120, origin_plane=100.0)


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def positions(grid: VolumeGrid) -> list[np.ndarray]:
    """x, y, z of every voxel centre, crop pixels, written down without the grid's own matrix."""
    rows, columns, planes = np.mgrid[: grid.rows, : grid.columns, : grid.planes]
    return [columns, rows, (planes - grid.origin_plane) / 2]


def occupancy_of(distance_inside: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * distance_inside))


def ball(radius: float, centre=(40, 30, -20)) -> np.ndarray:
    squares = [(p - c) ** 2 for p, c in zip(positions(GRID), centre, strict=True)]
    return radius - np.sqrt(sum(squares))


def test_ball():
    mesh = isosurface(occupancy_of(ball(20)), GRID)
    surface = as_trimesh(mesh)
    assert surface.is_watertight
    assert surface.euler_number == 2
    assert surface.volume == pytest.approx(4 / 3 * np.pi * 20**3, rel=5e-3)  # > 0: winds outwards
    assert surface.area == pytest.approx(4 * np.pi * 20**2, rel=5e-3)
    radii = np.linalg.norm(mesh.vertices - [40, 30, -20], axis=1)
    np.testing.assert_allclose(radii, 20, atol=0.05)


def test_torus_keeps_its_hole():
    x, y, z = positions(GRID)
    solid = 6 - np.hypot(np.hypot(x - 36, y - 32) - 18, z + 25)
    surface = as_trimesh(isosurface(occupancy_of(solid), GRID))
    assert surface.is_watertight
    assert surface.euler_number == 0
    assert surface.volume == pytest.approx(2 * np.pi**2 * 18 * 6**2, rel=1e-2)


def test_cavities_are_filled():
    hollow = np.minimum(ball(20), -ball(10))
    surface = as_trimesh(isosurface(occupancy_of(hollow), GRID))
    assert surface.body_count == 1
    assert surface.euler_number == 2
    assert surface.volume == pytest.approx(4 / 3 * np.pi * 20**3, rel=5e-3)


def test_solids_at_the_border_are_closed():
    full = isosurface(np.ones(GRID.shape), GRID)
    surface = as_trimesh(full)
    assert surface.is_watertight
    # Padding with zeros puts the surface half a voxel outside of the outermost centres.
    np.testing.assert_allclose(full.vertices.min(axis=0), [-0.5, -0.5, -50.25])
    np.testing.assert_allclose(full.vertices.max(axis=0), [71.5, 63.5, 9.75])


def test_a_part_of_the_volume_with_its_corner_gives_the_same_surface():
    occupancy = occupancy_of(ball(15))
    whole = isosurface(occupancy, GRID)
    part = isosurface(occupancy[8:60, 16:64, 20:110], GRID, corner=np.array([8, 16, 20]))
    np.testing.assert_allclose(whole.vertices, part.vertices, atol=1e-4)
    np.testing.assert_array_equal(whole.faces, part.faces)


@pytest.mark.parametrize("seed", range(3))
def test_one_connected_rough_solid_is_one_closed_shell(seed):
    """Random 6-connected blobs, binary and with values of exactly the threshold among them."""
    import scipy.ndimage

    rng = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(40, 40, 40)), 1.5)
    labels, _ = scipy.ndimage.label(noise > 0)
    biggest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    values = np.where(biggest, rng.choice([0.5, 0.75, 1.0], biggest.shape), 0.0)
    surface = as_trimesh(isosurface(values, VolumeGrid(40, 40, 40)))
    assert surface.is_watertight
    assert surface.volume > 0


def test_smoothing_keeps_volume_and_removes_noise():
    rng = np.random.default_rng(0)
    mesh = isosurface(occupancy_of(ball(20)), GRID)
    noisy = Mesh(mesh.vertices + rng.normal(0, 0.2, mesh.vertices.shape), mesh.faces, mesh.frame)
    smooth = smooth_surface(noisy, 5)
    assert as_trimesh(smooth).volume == pytest.approx(as_trimesh(mesh).volume, rel=0.01)
    spread = [np.linalg.norm(m.vertices - [40, 30, -20], axis=1).std() for m in (noisy, smooth)]
    assert spread[1] < 0.5 * spread[0]


def test_nothing_occupied_is_an_error_that_says_so():
    with pytest.raises(InputError, match="nothing to mesh"):
        isosurface(np.zeros((4, 4, 4)), VolumeGrid(4, 4, 4))
