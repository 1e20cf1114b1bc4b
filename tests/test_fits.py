"""Fits of a face model against closed forms: its files, its frames, its solid, its crop."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from basel_folder import SMALL, head_faces, head_keypoints, head_points, write_basel
from scipy.spatial.transform import Rotation

from vrn_jax.config import PAPER_AUGMENTATION, FaceSettings
from vrn_jax.data.augment import Augmentation, augmented_crop, coloured, draw_augmentation
from vrn_jax.data.bfm import face_region, read_basel
from vrn_jax.data.fits import (
    Fits,
    Keypoints,
    crop_from_photo_space,
    examples_of_fits,
    fit_model,
    photo_from_head,
    rotation,
)
from vrn_jax.errors import InputError
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.model import face_model
from vrn_jax.geometry.crop import warp
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.solid import Packed, occupancy, occupancy_of_planes
from vrn_jax.models.guidance import mirror_order

HEIGHT = 450
POSE = np.array([0.1, -0.5, 0.2, 230.0, 220.0, -60.0, 14e-4])
"""pitch, yaw, roll, t and scale (pixels a micrometre: 14 a centimetre)."""


@pytest.fixture(scope="module")
def model(bfm):
    return read_basel(bfm)


@pytest.fixture(scope="module")
def on_device(model):
    return fit_model(model)


def parameters(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, 228).astype(np.float32)


def fits_of(model, augmentation, pose=POSE, values=None, photo=None) -> Fits:
    """One fit as a batch of one, its picture cut out of `photo`."""
    values = np.zeros(228, np.float32) if values is None else values
    place = photo_from_head(pose, HEIGHT)
    landmarks = Keypoints.of(model)(values) @ place[:, :3].T + place[:, 3]
    crop = augmented_crop(landmarks, augmentation)
    shape = VRN_GRID.shape[:2]
    image = np.zeros((*shape, 3), np.uint8) if photo is None else warp(photo, crop, shape)
    matrix = crop_from_photo_space(crop, place).astype(np.float32)
    return jax.tree.map(
        lambda leaf: leaf[None], Fits(image, values, matrix, np.array(augmentation.mirrored))
    )


made = jax.jit(examples_of_fits)
volume_of = jax.jit(occupancy)


def only(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), tree)


# Files


def test_the_model_is_read_in_centimetres_counting_from_zero(model):
    points = head_points(*SMALL)
    np.testing.assert_allclose(model.mean, points + 25e-4, atol=1e-5)
    np.testing.assert_array_equal(model.keypoints, head_keypoints(points))
    # Wound for y down: the made-up file is wound for y up, as a model may be either way.
    np.testing.assert_array_equal(model.faces, head_faces(*SMALL)[:, ::-1])
    assert model.shape.shape == (len(points), 3, 199)
    assert model.expression.shape == (len(points), 3, 29)


def test_vertices_are_the_sum_of_modes(model, bfm):
    values = parameters()
    shape, expression = (
        scipy.io.loadmat(bfm / name) for name in ("Model_Shape.mat", "Model_Exp.mat")
    )
    flat = shape["mu_shape"] + expression["mu_exp"]
    flat = flat + shape["w"] @ values[:199, None] + expression["w_exp"] @ values[199:, None]
    ours = model.vertices(values[:199], values[199:])
    np.testing.assert_allclose(ours, flat.reshape(-1, 3) / 1e4, atol=1e-4)
    np.testing.assert_allclose(
        Keypoints.of(model)(values), ours[model.keypoints], rtol=1e-4, atol=1e-4
    )


def test_the_winding_of_the_file_does_not_matter(tmp_path, model):
    turned = read_basel(write_basel(tmp_path, tri=(head_faces(*SMALL)[:, ::-1] + 1).T))
    np.testing.assert_array_equal(turned.faces, model.faces)


def test_the_region_has_no_ears_and_no_neck(model):
    x, y, z = model.mean[model.region].T
    ears = np.abs(x) > 7.9
    assert not ears.any()
    assert y.min() > -9.0
    assert y[z > 3].min() < -7  # but it has a chin
    assert y.max() == pytest.approx(11, abs=0.1)
    assert z.max() == pytest.approx(model.mean[:, 2].max())


def test_the_region_rule_on_another_head_is_what_was_painted_there():
    """MakeHuman's head has a face region of its own, up to the hair line, drawn by hand."""
    head = face_model(builtin_head())
    points = np.asarray(head.neutral)
    painted = np.zeros(len(points), bool)
    painted[np.unique(head.region)] = True
    ours = face_region(points, points[np.asarray(head.landmarks)])
    below_hair = (points[:, 1] < 6) & (points[:, 2] > 4)
    both, either = (ours & painted)[below_hair].sum(), (ours | painted)[below_hair].sum()
    assert both / either > 0.9
    assert not ours[~painted & (points[:, 1] < 5)].any()  # neither ear nor neck is let in


def test_a_file_of_vertices_overrides_the_rule(bfm, tmp_path, model):
    numbers = np.flatnonzero(model.mean[:, 2] > 2)
    np.savetxt(tmp_path / "face.txt", numbers, fmt="%d")
    other = read_basel(bfm, tmp_path / "face.txt")
    np.testing.assert_array_equal(np.flatnonzero(other.region), numbers)
    assert "face.txt" in other.region_rule
    (tmp_path / "bad.txt").write_text("1 2 3 4 999999")
    with pytest.raises(InputError, match="must name vertices from 0 to"):
        read_basel(bfm, tmp_path / "bad.txt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": None}, r"Model_Shape\.mat lacks w"),
        ({"w": np.zeros((9, 199))}, r"is \(9, 199\), but mu_shape of"),
        ({"keypoints": np.arange(1, 68)[None]}, "needs 68 keypoints, got 67"),
        ({"keypoints": np.zeros((1, 68))}, "numbers of vertices from 1 to"),
        ({"tri": np.full((3, 4), 1e6)}, "numbers of vertices from 1 to"),
        ({"tri": np.ones((4, 3))}, r"tri of .* must be \(3, triangles\)"),
        ({"mu_shape": head_points(*SMALL).reshape(-1, 1)}, "must be micrometres"),
        ({"mu_exp": np.full((len(head_points(*SMALL)) * 3, 1), np.nan)}, "not finite"),
    ],
)
def test_model_files_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_basel(write_basel(tmp_path, **changes))


def test_files_that_are_no_mat_files_of_version_5(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*Model_Shape\.mat"):
        read_basel(tmp_path)
    (tmp_path / "Model_Shape.mat").write_bytes(b"hello")
    with pytest.raises(InputError, match="no MAT-file of version 5"):
        read_basel(tmp_path)
    hdf5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + b"\0" * 512
    (tmp_path / "Model_Shape.mat").write_bytes(hdf5)
    with pytest.raises(InputError, match="of version 7"):
        read_basel(tmp_path)


# Frames


def test_the_rotation_is_that_of_the_formula():
    """3DDFA's matrices turn the other way round than the usual ones."""
    pitch, yaw, roll = 0.3, -0.7, 1.1
    expected = (
        Rotation.from_euler("x", -pitch)
        * Rotation.from_euler("y", -yaw)
        * Rotation.from_euler("z", -roll)
    )
    np.testing.assert_allclose(rotation(pitch, yaw, roll), expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation(0, np.pi / 2, 0) @ [0, 0, 1], [-1, 0, 0], atol=1e-12)


def test_pixels_count_from_zero_and_y_is_turned_over():
    """By hand: V = (10000, 20000, 30000) um, f = .001, t = (100, 50, 7), a photo 200 high.

    P = (110, 70, 37); MATLAB's pixel is (110, 200 + 1 - 70) = (110, 131), ours one less.
    """
    matrix = photo_from_head(np.array([0, 0, 0, 100, 50, 7, 1e-3]), 200)
    np.testing.assert_allclose(matrix @ [1, 2, 3, 1], [109, 130, 37])
    quarter = photo_from_head(np.array([0, np.pi / 2, 0, 100, 50, 7, 1e-3]), 200)
    # yaw turns (1, 2, 3) to (-3, 2, 1)
    np.testing.assert_allclose(quarter @ [1, 2, 3, 1], [100 - 30 - 1, 130, 17])


@pytest.mark.parametrize("mirrored", [False, True])
def test_picture_and_mesh_are_moved_by_the_same_matrix(model, on_device, mirrored):
    """A dot painted at every landmark of the photo is found where the landmark is in the crop."""
    augmentation = Augmentation(0.6, (11.0, -7.0), 1.1, mirrored)
    values = parameters()
    place = photo_from_head(POSE, HEIGHT)
    landmarks = Keypoints.of(model)(values) @ place[:, :3].T + place[:, 3]
    y, x = np.mgrid[:HEIGHT, :HEIGHT]
    for number in (8, 30, 36, 45):
        px, py = landmarks[number, :2]
        dot = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18)
        photo = np.repeat(dot[..., None], 3, 2).astype(np.uint8)
        example = only(made(on_device, fits_of(model, augmentation, POSE, values, photo)))
        light = np.asarray(example.image[..., 0], float)
        rows, columns = np.mgrid[:192, :192]
        seen = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        name = mirror_order()[number] if mirrored else number
        np.testing.assert_allclose(seen, example.landmarks[name, :2], atol=0.15)


# Solids


def crossings_voxelised(points, faces, back_z, shape):
    """Frontal truth in plain numpy: columns of pixels between the front surface and the back."""
    front = np.full(shape[:2], -np.inf)
    for face in faces:
        a, b, c = points[face]
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)[:2]), 0).astype(int)
        high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c)[:2]), 191).astype(int)
        area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
        if abs(area) < 1e-9:
            continue
        for x, y in itertools.product(range(low[0], high[0] + 1), range(low[1], high[1] + 1)):
            u = ((x - a[0]) * (c - a)[1] - (y - a[1]) * (c - a)[0]) / area
            v = ((b - a)[0] * (y - a[1]) - (b - a)[1] * (x - a[0])) / area
            if u >= 0 and v >= 0 and u + v <= 1:
                front[y, x] = max(front[y, x], a[2] + u * (b - a)[2] + v * (c - a)[2])
    z = VRN_GRID.plane_z + front.max()
    return (z <= front[..., None]) & (z >= back_z)


def test_a_frontal_fit_is_filled_to_eleven_centimetres_behind_its_front(model, on_device):
    pose = np.array([0, 0, 0, 225.0, 225.0, 3.0, 14e-4])
    values = parameters()
    fits = fits_of(model, Augmentation(), pose, values)
    example = only(made(on_device, fits))
    ours = np.asarray(volume_of(example.solid))
    matrix = np.asarray(fits.crop_from_head[0], np.float64)
    points = model.vertices(values[:199], values[199:]) @ matrix[:, :3].T + matrix[:, 3]
    faces = model.region_faces
    back = points[np.unique(faces), 2].max() - 11.0 * matrix[2, 2]
    truth = crossings_voxelised(points, faces, back, VRN_GRID.shape)
    assert (ours & truth).sum() / (ours | truth).sum() > 0.98
    assert truth[:, :, 178].any()
    assert not truth[:, :, 179:].any()
    np.testing.assert_allclose(
        example.landmarks[:, 2],
        points[model.keypoints, 2] - points[np.unique(faces), 2].max(),
        atol=0.5,
    )


def test_augmenting_the_mesh_is_augmenting_the_volume(model, on_device):
    """A quarter turn, a whole shift and the mirror move voxels onto voxels."""
    plain = only(made(on_device, fits_of(model, Augmentation())))
    before = np.asarray(volume_of(plain.solid))
    turned = Augmentation(np.pi / 2, (4.0, -9.0), 1.0, mirrored=True)
    moved = only(made(on_device, fits_of(model, turned)))
    expected = np.rot90(before, -1, axes=(0, 1))  # x towards y is clockwise in a picture
    expected = np.roll(expected, (-9, 4), axis=(0, 1))[:, ::-1]
    after = np.asarray(volume_of(moved.solid))
    assert (expected & after).sum() / (expected | after).sum() > 0.999
    x, y, z = np.asarray(plain.landmarks).T
    points = np.stack([191 - (191 - y + 4), x - 9, z], axis=-1)[mirror_order()]
    np.testing.assert_allclose(moved.landmarks, points, atol=2e-3)
    assert moved.attributes.yaw == pytest.approx(-plain.attributes.yaw, abs=0.01)


def test_scaling_the_mesh_scales_the_volume(model, on_device):
    pose = POSE * [0, 0, 1, 1, 1, 1, 1]  # from the front nothing is cut at plane 0
    solids = [
        only(made(on_device, fits_of(model, Augmentation(zoom=zoom), pose))).solid
        for zoom in (0.85, 1.15)
    ]
    small, large = (float(volume_of(solid).sum()) for solid in solids)
    assert large / small == pytest.approx((1.15 / 0.85) ** 3, rel=0.01)


def test_the_pose_is_told_as_for_made_faces(model, on_device):
    """3DDFA's positive yaw turns the nose to the left of the picture."""
    pose = np.array([0.0, -1.1, 0.0, 225, 225, 0, 14e-4])
    example = only(made(on_device, fits_of(model, Augmentation(), pose)))
    assert example.attributes.yaw == pytest.approx(np.rad2deg(1.1), abs=0.01)
    assert example.attributes.pitch == pytest.approx(0, abs=0.01)
    nose, eyes = example.landmarks[30], example.landmarks[[36, 45]].mean(axis=0)
    assert nose[0] > eyes[0] + 10
    # The far cheek's jaw line turns away, the near one does not.
    assert example.visible[36]
    assert example.visible[2]
    assert not example.visible[15]


def test_stored_bits_are_an_occupancy_too(model, on_device):
    solid = only(made(on_device, fits_of(model, Augmentation()))).solid
    whole = np.asarray(volume_of(solid))
    packed = Packed(jnp.packbits(whole, axis=-1))
    np.testing.assert_array_equal(occupancy(packed), whole)
    some = jnp.array([5.0, 120.0, 177.0])
    few = occupancy_of_planes(packed, some, stride=2)
    np.testing.assert_array_equal(jnp.moveaxis(few, 0, 2), whole[::2, ::2, [5, 120, 177]])


# Augmentation


def test_the_papers_augmentation_stays_in_its_ranges():
    settings = FaceSettings(**PAPER_AUGMENTATION)
    drawn = [draw_augmentation(np.random.default_rng(i), settings) for i in range(2000)]
    turns = np.rad2deg([a.turn_rad for a in drawn])
    assert 44 < np.abs(turns).max() <= 45
    assert 14.5 < np.abs([a.shift_px for a in drawn]).max() <= 15
    zooms, colours = [a.zoom for a in drawn], np.array([a.colour for a in drawn])
    assert 0.85 <= min(zooms) < 0.86
    assert 1.14 < max(zooms) <= 1.15
    assert 0.6 <= colours.min() < 0.61
    assert 1.39 < colours.max() <= 1.4
    assert np.mean([a.mirrored for a in drawn]) == pytest.approx(0.2, abs=0.03)


def test_colours_are_scaled_and_cut_off():
    image = np.array([[[10, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(coloured(image, (0.6, 1.4, 1.4)), [[[6, 140, 255]]])
