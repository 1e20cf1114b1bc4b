"""Made faces: what a sample says of itself is true, and it is the same sample everywhere."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from vrn_jax.cli import main
from vrn_jax.config import PAPER_AUGMENTATION, FaceSettings
from vrn_jax.errors import InputError
from vrn_jax.faces import camera
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.model import face_model
from vrn_jax.faces.noise import Draws
from vrn_jax.faces.pose import Pose, camera_from_head
from vrn_jax.faces.preview import depth_map
from vrn_jax.faces.sample import Portraits
from vrn_jax.faces.source import FaceSource, face_source
from vrn_jax.faces.surroundings import draw_occluder
from vrn_jax.geometry.crop import landmark_box
from vrn_jax.geometry.solid import occupancy
from vrn_jax.metrics.depth import height_at
from vrn_jax.models.guidance import mirrored_landmarks

PLAIN = FaceSettings(
    uniform_yaw_share=0.0, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, shift_px=0.0, zoom=(1.0, 1.0),
    flip_chance=0.0, hair_chance=0.0, hat_chance=0.0, glasses_chance=0.0, occluder_chance=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def source() -> FaceSource:
    """Every test passes lists of two numbers, so that one compiled program serves them all."""
    return face_source(seed=3)


def with_settings(source: FaceSource, settings: FaceSettings, **changes) -> FaceSource:
    return replace(source, settings=replace(settings, **changes))


def test_a_sample_is_the_same_in_every_batch(source):
    both, swapped = source.batch([5, 9]), source.batch([9, 5])
    for one, other in zip(jax.tree.leaves(both), jax.tree.leaves(swapped), strict=True):
        np.testing.assert_array_equal(one, np.asarray(other)[::-1])


def test_numbers_seeds_and_splits_give_other_samples(source):
    pictures = [
        source.batch([5, 9]).image,
        replace(source, seed=4).batch([5, 9]).image,
        replace(source, held_out=True).batch([5, 9]).image,
    ]
    flat = np.concatenate([np.asarray(p, float).reshape(2, -1) for p in pictures])
    distances = np.abs(flat[:, None] - flat[None]).mean(axis=-1)
    assert distances[~np.eye(6, dtype=bool)].min() > 10


def test_the_crop_is_that_of_the_original(source):
    """The box around the landmarks: centred, its area 90 x 90 px."""
    for landmarks in np.asarray(with_settings(source, PLAIN, yaw_deg=40.0).batch([1, 2]).landmarks):
        left, top, right, bottom = landmark_box(landmarks)
        assert (right - left) * (bottom - top) == pytest.approx(90**2, rel=1e-3)
        assert (left + right) / 2 == pytest.approx(95.5, abs=0.01)
        assert (top + bottom) / 2 == pytest.approx(95.5, abs=0.01)


def test_landmarks_lie_on_the_front_of_the_solid(source):
    batch = with_settings(source, PLAIN, yaw_deg=15.0, expression_chance=0.0).batch([1, 2])
    for i in range(2):
        landmarks = batch.landmarks[i]
        height = depth_map(jax.tree.map(lambda leaf, i=i: leaf[i], batch.solid))
        inner = np.arange(17, 68)
        off = np.abs(np.asarray(height_at(height, landmarks)) - np.asarray(landmarks[:, 2]))[inner]
        assert np.nanmedian(off) < 0.6
        assert np.nanpercentile(off, 90) < 3.0  # lids and lips have steps of depth beside them
        assert float(landmarks[:, 2].max()) <= 0.5  # nothing is in front of the front


def test_frontal_faces_show_all_landmarks_and_profiles_half_of_them(source):
    frontal = with_settings(source, PLAIN).batch([1, 2])
    assert np.asarray(frontal.visible)[:, 17:].mean() > 0.95
    profile = with_settings(source, PLAIN, uniform_yaw_share=0.0, yaw_deg=500.0).batch([1, 2])
    yaw = np.asarray(profile.attributes.yaw)
    assert (np.abs(yaw) == 90).all()
    # The viewer's right side of the face is hidden when the nose points to the right.
    for one, visible in zip(yaw, np.asarray(profile.visible), strict=True):
        far, near = (visible[[42, 43, 44]], visible[[37, 38, 39]])
        far, near = (far, near) if one > 0 else (near, far)
        assert near.sum() >= far.sum()
        assert not far.all()


def test_yaw_and_roll_are_told_by_the_landmarks(source):
    batch = with_settings(source, PLAIN, yaw_deg=30.0, roll_deg=25.0).batch([4, 6])
    for landmarks, yaw, roll in zip(
        np.asarray(batch.landmarks), *map(np.asarray, batch.attributes[:3:2]), strict=True
    ):
        eyes = landmarks[[36, 45]] * [1, -1, 1]
        across = eyes[1] - eyes[0]
        assert np.rad2deg(np.arctan2(-across[1], np.hypot(*across[[0, 2]]))) == pytest.approx(
            roll, abs=6
        )
        assert np.rad2deg(np.arctan2(-across[2], across[0])) == pytest.approx(yaw, abs=8)


def test_a_flipped_sample_is_the_mirror_image(source):
    straight = with_settings(source, FaceSettings(), flip_chance=0.0).batch([3, 8])
    flipped = with_settings(source, FaceSettings(), flip_chance=1.0).batch([3, 8])
    np.testing.assert_array_equal(flipped.image, straight.image[:, :, ::-1])
    np.testing.assert_allclose(
        flipped.landmarks[..., :2], mirrored_landmarks(straight.landmarks[..., :2], 192), atol=1e-3
    )
    first = [jax.tree.map(lambda leaf: leaf[0], batch.solid) for batch in (straight, flipped)]
    one, other = (np.asarray(occupancy(solid)) for solid in first)
    assert (one[:, ::-1] == other).mean() > 0.9999
    np.testing.assert_array_equal(flipped.attributes.yaw, -straight.attributes.yaw)


def test_chances_of_one_and_zero_are_certain(source):
    sure = with_settings(source, FaceSettings(), glasses_chance=1.0, occluder_chance=1.0)
    assert np.asarray(sure.batch([1, 2]).attributes.glasses).all()
    never = with_settings(source, FaceSettings(), glasses_chance=0.0, occluder_chance=0.0)
    batch = never.batch([1, 2])
    assert not np.asarray(batch.attributes.glasses).any()
    assert (np.asarray(batch.attributes.covered) == 0).all()
    # What is worn is painted over the eyes: the same heads with and without differ there.
    plain, bespectacled = (
        with_settings(source, PLAIN, glasses_chance=chance).batch([1, 2]) for chance in (0.0, 1.0)
    )
    np.testing.assert_array_equal(plain.landmarks, bespectacled.landmarks)
    changed = np.abs(plain.image.astype(float) - bespectacled.image.astype(float)).mean(axis=-1)
    for landmarks, where in zip(np.asarray(plain.landmarks), np.asarray(changed), strict=True):
        rows = np.indices(where.shape)[0]
        eyes, mouth = landmarks[36:48, 1].mean(), landmarks[48:, 1].mean()
        assert where[np.abs(rows - eyes) < 12].max() > 40
        assert where[np.abs(rows - mouth) < 5].mean() < where[np.abs(rows - eyes) < 5].mean()


def test_the_papers_augmentation_stays_in_its_ranges(source):
    settings = FaceSettings(**PAPER_AUGMENTATION, uniform_yaw_share=0.0, yaw_deg=0.0, pitch_deg=0.0)
    for landmarks in np.asarray(with_settings(source, settings).batch([11, 12]).landmarks):
        across = landmarks[45, :2] - landmarks[36, :2]
        assert abs(np.rad2deg(np.arctan2(across[1], across[0]))) < 47
        box = landmark_box(landmarks)
        assert np.abs((box[:2] + box[2:]) / 2 - 95.5).max() < 15 + 8


def test_portraits_give_their_colours(source):
    model = source.model
    modes = len(model.identity)
    green = np.tile(np.array([30, 160, 60], np.uint8), (2, len(model.neutral), 1))
    portraits = Portraits(
        jnp.asarray(green), jnp.zeros((2, modes)), jnp.zeros(modes), jnp.eye(modes)
    )
    settings = replace(PLAIN, portrait_share=1.0, colour_scale=(1.0, 1.0))
    batch = FaceSource(model, portraits, settings, seed=3).batch([1, 2])
    assert (np.asarray(batch.attributes.portrait) >= 0).all()
    for image, landmarks in zip(
        np.asarray(batch.image, float), np.asarray(batch.landmarks), strict=True
    ):
        x, y = landmarks[[30, 33], :2].mean(axis=0).astype(int)  # the tip of the nose
        patch = image[y - 4 : y + 4, x - 4 : x + 4].mean(axis=(0, 1))
        if np.ptp(patch) > 8:  # one in seventeen pictures is grey
            assert patch.argmax() == 1


def test_the_rotation_is_roll_after_yaw_after_pitch():
    angles = np.deg2rad([30.0, -20.0, 15.0])
    ours = camera_from_head(Pose(*jnp.asarray(angles, jnp.float32)))
    yaw, pitch, roll = np.rad2deg(angles)
    # Pitch is positive upwards and roll to the viewer's right: both against the right-hand rule.
    theirs = Rotation.from_euler("ZYX", [-roll, yaw, -pitch], degrees=True).as_matrix()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@jax.numpy_rank_promotion("allow")
def test_draws_have_their_distributions():
    draws = Draws(jax.random.key(0), 20_000)
    numbers = np.asarray(draws.normal((8_000,)))
    assert abs(numbers.mean()) < 0.05
    assert numbers.std() == pytest.approx(1, abs=0.03)
    assert np.asarray(draws.uniform(2.0, 3.0, (500,))).min() >= 2
    points = jnp.asarray(np.random.default_rng(0).uniform(-40, 40, (4_000, 3)), jnp.float32)
    fields = [np.asarray(draws.smooth(points, 3.0)) for _ in range(20)]
    assert np.mean([field.std() for field in fields]) == pytest.approx(0.55, abs=0.45)
    with pytest.raises(ValueError, match="random numbers"):
        draws.uniform(shape=(20_000,))


@jax.numpy_rank_promotion("allow")
def test_hands_and_things_cover_a_part_and_leave_the_rest_alone():
    settings = FaceSettings(occluder_chance=1.0)

    @jax.jit
    def cover(key):
        return draw_occluder(Draws(key), jnp.ones(3), settings)[1]

    covers = [np.asarray(cover(key)) for key in jax.random.split(jax.random.key(5), 24)]
    assert all(((c < 0.01) | (c > 0.99)).mean() > 0.8 for c in covers)  # an edge, and no veil
    assert all(c.min() < 0.01 for c in covers)
    assert np.median([(c > 0.5).mean() for c in covers]) > 0.02


@jax.numpy_rank_promotion("allow")
def test_compression_loses_little_in_fine_steps_and_keeps_block_means():
    picture = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (192, 192, 3)), jnp.float32)
    fine = camera._compressed(picture, jnp.float32(1e-3))
    np.testing.assert_allclose(fine, picture, atol=0.6)  # the colour matrix has three digits
    coarse = camera._compressed(picture, jnp.float32(40.0))
    means = [np.asarray(p).reshape(24, 8, 24, 8, 3).mean(axis=(1, 3)) for p in (picture, coarse)]
    assert np.abs(np.asarray(coarse) - np.asarray(picture)).mean() > 20
    assert np.abs(means[0] - means[1]).mean() < 3


def test_a_head_of_too_many_triangles_is_refused():
    head = builtin_head()
    with pytest.raises(InputError, match="at most"):
        face_model(replace(head, faces=np.tile(head.faces, (3, 1))))


def test_preview_draws_a_contact_sheet(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["data", "preview", "-o", str(out), "--count", "3"]) == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (192, 8 * 192, 3)
    assert sheet[:, : 3 * 192].std() > 30
    assert (sheet[:, 3 * 192 :] == 255).all()
    assert main(["data", "preview", "-o", str(tmp_path / "sheet.tiff")]) == 1
    assert "ends in .jpg or .png" in capsys.readouterr().err
