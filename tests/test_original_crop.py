"""Crops as the authors' scripts make them: against ImageMagick, and against the scripts' sums."""

from pathlib import Path

import numpy as np
import pytest

from vrn_jax.errors import InputError
from vrn_jax.geometry.original_crop import crop_as_original
from vrn_jax.geometry.transforms import apply_similarity

GOLDEN = Path(__file__).parent / "golden" / "run_sh_crops.npz"


def test_shell_script_crops_are_those_of_imagemagick(astronaut):
    """Golden: every 5th row and column of what ImageMagick 6.9.11 made of the portrait with the
    script's arguments (-scale, -crop, -background white -gravity center -extent) for boxes inside
    of the photo, over its upper left and its lower right corner, and so small that it enlarges.
    """
    golden = np.load(GOLDEN)
    for box, expected in zip(golden["boxes"], golden["crops"], strict=True):
        found = crop_as_original(astronaut, box, None, "run.sh").image[::5, ::5]
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.01


def ramps(height: int = 300, width: int = 400) -> np.ndarray:
    """A photo whose red is half of x, and whose green is half of y."""
    y, x = np.mgrid[:height, :width] / 2
    return np.stack([x, y, np.full_like(x, 200)], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("rule", ["run.sh", "run.m"])
@pytest.mark.parametrize(
    "box",
    [(150, 100, 250, 200), (150.0, 90.5, 220.25, 190.0), (10, 20, 90, 80), (350, 240, 390, 290)],
)
def test_the_way_to_the_crop_is_the_one_taken(rule, box):
    """What a crop's pixel shows is what its similarity says, within the rounding of the scripts."""
    landmarks = np.array([box[:2], box[2:], box[:2]], float)
    crop = crop_as_original(ramps(), np.array(box, float), landmarks, rule)
    rows, columns = np.mgrid[:192, :192]
    photo_from_crop = np.linalg.inv(crop.crop_from_photo)
    points = apply_similarity(photo_from_crop, np.stack([columns.ravel(), rows.ravel()], 1) * 1.0)
    x, y = points.T.reshape(2, 192, 192)
    inner = (crop.image[..., 2] == 200) & (np.abs(x - 200) < 150) & (np.abs(y - 150) < 100)
    assert inner.sum() > 2000
    np.testing.assert_allclose(crop.image[..., 0][inner], x[inner] / 2, atol=1.5)
    np.testing.assert_allclose(crop.image[..., 1][inner], y[inner] / 2, atol=1.5)


def test_shell_script_puts_the_box_where_its_sums_say():
    """Box 90 x 90 (scale 1) from (100, 60): the crop begins 45 px before it, at (55, 15)."""
    photo = ramps()
    crop = crop_as_original(photo, np.array([100.0, 60, 190, 150]), None, "run.sh")
    np.testing.assert_array_equal(crop.image, photo[15 : 15 + 192, 55 : 55 + 192])


def test_shell_script_centres_what_is_left_on_white():
    """From (20, 60) on: 25 columns are missing on the left, and half of them are put right."""
    photo = ramps()
    crop = crop_as_original(photo, np.array([20.0, 60, 110, 150]), None, "run.sh").image
    left = 96 - 167 // 2
    np.testing.assert_array_equal(crop[:, left : left + 167], photo[15 : 15 + 192, :167])
    assert (crop[:, :left] == 255).all()
    assert (crop[:, left + 167 :] == 255).all()


def test_matlab_script_centres_the_mean_of_the_landmarks():
    """Scale 1 and whole pixels: nothing is resampled, and the sums can be done by hand.

    The mean (139, 99) goes to size / 2 counted from 1, so to (199, 149) counted from 0; the crop
    shows columns 200 - 96 on, of which the mean is number 95.
    """
    landmarks = np.array([[100.0, 60], [190, 150], [127, 87]])
    photo = ramps()
    crop = crop_as_original(photo, np.array([100.0, 60, 190, 150]), landmarks, "run.m").image
    np.testing.assert_array_equal(crop[95, 95], photo[99, 139])
    np.testing.assert_array_equal(crop[2:190, 2:190], photo[6:194, 46:234])


def test_matlab_script_loses_what_it_moves_out_of_the_photo():
    """A face in the corner is moved to the middle; what lies across the photo's edge is black."""
    landmarks = np.array([[0.0, 0], [90, 90], [45, 45]])
    crop = crop_as_original(ramps(), np.array([0.0, 0, 90, 90]), landmarks, "run.m").image
    assert (crop[:49, :, 2] == 0).all()
    assert (crop[:, :49, 2] == 0).all()
    assert (crop[52:, 52:, 2] == 200).all()


@pytest.mark.parametrize("rule", ["run.sh", "run.m"])
def test_boxes_beside_the_photo_are_refused(rule):
    with pytest.raises(InputError):
        crop_as_original(ramps(), np.array([9000.0, 9000, 9090, 9090]), None, "run.sh")
    with pytest.raises(InputError):
        crop_as_original(ramps(), np.array([5.0, 5, 5, 9]), None, rule)
