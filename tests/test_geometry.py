"""Grid, transforms and crop against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrn_jax.errors import InputError
from vrn_jax.geometry.crop import crop_face, crop_from_box, landmark_box, warp
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.transforms import apply_affine, apply_similarity, similarity

coordinates = st.floats(-2000, 6000)


def test_grid_axes_and_z_origin():
    grid = VolumeGrid()
    voxels = np.array([[0.0, 0, 178], [10, 30, 178], [10, 30, 180], [10, 30, 0]])
    expected = [[0, 0, 0], [30, 10, 0], [30, 10, 1], [30, 10, -89]]
    np.testing.assert_allclose(apply_affine(grid.crop_from_voxel, voxels), expected)
    np.testing.assert_allclose(grid.plane_z[[0, 178, 199]], [-89, 0, 10.5])
    np.testing.assert_allclose(grid.voxel_from_crop @ grid.crop_from_voxel, np.eye(4), atol=1e-12)


def test_grid_of_the_interim_weights():
    # Their training code put plane k at (k + 0.5) / 2 - 50 px from the landmarks' mean.
    grid = VolumeGrid(origin="landmarks", origin_plane=99.5)
    np.testing.assert_allclose(grid.plane_z, (np.arange(200) + 0.5) / 2 - 50)


@given(coordinates, coordinates, st.floats(20, 3000), st.floats(20, 3000), st.data())
def test_crop_leads_back_to_the_photo(left, top, width, height, data):
    matrix = crop_from_box(np.array([left, top, left + width, top + height]))
    x = data.draw(st.floats(left, left + width))
    y = data.draw(st.floats(top, top + height))
    z = data.draw(st.floats(-500, 500))
    points = np.array([[x, y, z]])
    back = apply_similarity(np.linalg.inv(matrix), apply_similarity(matrix, points))
    np.testing.assert_allclose(back, points, atol=1e-3)


def test_crop_is_the_originals():
    landmarks = np.array([[100.0, 200], [300, 220], [180, 450]])
    matrix = crop_from_box(landmark_box(landmarks))
    scale = 90 / np.sqrt(200 * 250)  # the authors' formula
    np.testing.assert_allclose(matrix[0, 0], scale)
    np.testing.assert_allclose(matrix @ [200, 325, 1], [95.5, 95.5, 1])  # the crop's middle


def test_warp_of_a_ramp_is_exact():
    rows, columns = np.mgrid[:60, :80]
    photo = np.stack([2 * columns, 3 * rows, columns + rows], axis=-1).astype(np.uint8)
    matrix = similarity(2.0, np.pi / 2, np.array([30.0, 20.0]), np.array([20.0, 20.0]))
    warped = warp(photo, matrix, (40, 40)).astype(float)
    # Turned by 90 degrees from x to y and enlarged twice: target (20 - 2 dy, 20 + 2 dx).
    target = np.mgrid[:40, :40]
    x, y = 30 + (target[0] - 20) / 2, 20 - (target[1] - 20) / 2
    np.testing.assert_allclose(warped, np.stack([2 * x, 3 * y, x + y], axis=-1), atol=1.0)


@pytest.mark.parametrize("scale", [0.1, 0.26, 0.41, 0.53, 0.7, 0.9])
def test_warp_shrinks_without_aliasing(scale):
    """Stripes at the limit of resolution become grey; point sampling would show 0 and 255."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = warp(stripes, similarity(scale, 0.0, np.zeros(2), np.full(2, 4.0)), (400, 400))
    inner = shrunk[6 : int(scale * 380), 6 : int(scale * 380)]
    # Just below full size, the coarse pixels still resolve some of the stripes.
    np.testing.assert_allclose(inner.mean(), 127.5, atol=1)
    assert inner.std() < (15 if scale < 0.6 else 50)


def test_warp_shrinks_without_shift():
    rng = np.random.default_rng(0)
    blob = np.zeros((400, 400, 3), np.uint8)
    row, column = rng.integers(100, 300, 2)
    blob[row - 8 : row + 9, column - 8 : column + 9] = 200
    small = warp(blob, np.diag([0.25, 0.25, 1.0]), (100, 100))[..., 0].astype(float)
    centre = [(small * axis).sum() / small.sum() for axis in np.mgrid[:100, :100]]
    np.testing.assert_allclose(centre, [row / 4, column / 4], atol=0.05)


def test_outside_of_the_photo_is_black():
    white = np.full((50, 50, 3), 255, np.uint8)
    crop = crop_face(white, np.array([0.0, 0, 50, 50]))
    assert crop.image.shape == (192, 192, 3)
    assert crop.image[0, 0].max() == 0
    assert crop.image[96, 96].min() == 255


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 10),
        (5, 0, 1, 10),
        (0, 0, np.nan, 1),
        (0, 0, np.inf, 1),
        (0, 0, 1e300, 1e300),
        (0, 0, 1e-300, 1e-300),
        (-1e12, -1e12, 1e12, 1e12),
    ],
)
def test_impossible_boxes_are_refused(box):
    with pytest.raises(InputError, match="face box"):
        crop_from_box(np.array(box, float))
