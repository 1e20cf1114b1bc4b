"""From a photo to meshes: what a Python user calls."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from reference_vrn import ReferenceVRN
from test_models import random_variables

import vrn_jax
from vrn_jax.config import ModelConfig
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.mesh import in_metres, moved, outer_eye_distance
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.texture import texture_from_photo
from vrn_jax.geometry.transforms import apply_similarity, similarity
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.interop.weights import Weights, load_weights
from vrn_jax.preview import render

FACE = MEAN_LANDMARKS * 100 + 250


def closed(mesh: vrn_jax.Mesh) -> trimesh.Trimesh:
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert surface.is_watertight
    assert surface.body_count == 1
    assert surface.volume > 0
    return surface


def test_a_photo_becomes_one_closed_face(astronaut_face, astronaut):
    mesh = astronaut_face.mesh
    surface = closed(mesh)
    assert mesh.frame == "photo"
    # The face's place is known: her pupils are near (200, 120), the chin is above y = 190.
    low, high = surface.bounds
    assert (low[:2] > [150, 30]).all()
    assert (high[:2] < [300, 200]).all()
    assert astronaut_face.occupancy.shape == (192, 192, 200)
    assert astronaut_face.photo.shape == astronaut.shape


def test_landmarks_lie_on_the_surface_and_the_nose_is_its_front(astronaut_face):
    mesh = astronaut_face.mesh
    seen = interpolate(rasterize(mesh.vertices, mesh.faces, (512, 512)), mesh.faces, mesh.vertices)
    points = astronaut_face.landmarks[17:].round().astype(int)  # inner ones: brows to mouth
    z = seen[points[:, 1], points[:, 0], 2]
    assert (z != 0).all()
    assert np.argmax(z) in range(27 - 17, 36 - 17)  # the nose
    # Our surface and FaceMesh's own depth are independent and should tell the same story.
    depth = astronaut_face.landmarks[17:, 2]
    assert np.corrcoef(z, depth)[0, 1] > 0.9


def test_size_in_metres(astronaut_face):
    eyes = outer_eye_distance(astronaut_face.landmarks) * astronaut_face.metres_per_pixel
    assert eyes == pytest.approx(0.09)
    size = np.ptp(in_metres(astronaut_face.mesh, astronaut_face.metres_per_pixel).vertices, axis=0)
    assert (size > [0.12, 0.15, 0.06]).all()
    assert (size < [0.19, 0.25, 0.16]).all()


def test_landmarks_by_hand_give_the_same_face(reconstructor, astronaut, astronaut_face):
    (again,) = reconstructor(astronaut, landmarks=astronaut_face.landmarks)
    np.testing.assert_allclose(again.mesh.vertices, astronaut_face.mesh.vertices, atol=1e-3)
    (flat,) = reconstructor(astronaut, landmarks=astronaut_face.landmarks[:, :2])
    assert flat.metres_per_pixel == pytest.approx(astronaut_face.metres_per_pixel, rel=0.1)


def test_a_box_by_hand_gives_the_same_face(reconstructor, astronaut, astronaut_face):
    (again,) = reconstructor(astronaut, box=tuple(astronaut_face.box))
    np.testing.assert_allclose(again.mesh.vertices, astronaut_face.mesh.vertices, atol=1e-3)
    assert again.landmarks is None


def test_an_enlarged_photo_gives_an_enlarged_mesh(reconstructor, astronaut, astronaut_face):
    twice = astronaut.repeat(2, axis=0).repeat(2, axis=1)
    # Pixel centres of the enlarged photo: 2 x + 0.5.
    (large,) = reconstructor(twice, landmarks=astronaut_face.landmarks[:, :2] * 2 + 0.5)
    ours = closed(large.mesh)
    theirs = closed(astronaut_face.mesh)
    np.testing.assert_allclose(ours.bounds[:, :2], theirs.bounds[:, :2] * 2 + 0.5, atol=2)
    assert ours.volume == pytest.approx(8 * theirs.volume, rel=0.02)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photo_gives_a_turned_mesh(reconstructor, astronaut, astronaut_face, turns):
    turned = np.rot90(astronaut, -turns)  # from x towards y
    (face,) = reconstructor(turned)
    # Turn the result back about the middle of the 512 x 512 photo, and compare the surfaces seen.
    angle = -turns * np.pi / 2
    middle = np.full(2, 255.5)
    back = moved(face.mesh, similarity(1.0, angle, middle, middle), "photo")
    depths = [
        interpolate(rasterize(mesh.vertices, mesh.faces, (512, 512)), mesh.faces, mesh.vertices)
        for mesh in (back, astronaut_face.mesh)
    ]
    seen = (depths[0][..., 2] != 0) & (depths[1][..., 2] != 0)
    assert seen.sum() > 0.97 * (depths[1][..., 2] != 0).sum()
    assert np.abs(depths[0][seen, 2] - depths[1][seen, 2]).mean() < 0.5


def test_volumes_are_the_networks_own(reconstructor, astronaut_face):
    crops = np.stack([astronaut_face.crop.image, astronaut_face.crop.image[:, ::-1]])
    volumes = reconstructor.volumes(crops)
    assert volumes.shape == (2, 192, 192, 200)
    weights = load_weights()
    x = crops.astype(np.float32) / 127.5 - 1
    logits = np.asarray(ReferenceVRN(layer_tensors(weights.variables), 1)(x))[0]
    # With aligned corners the corners, and only they, are left as they are by the enlargement.
    for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        np.testing.assert_allclose(volumes[0][corner], 1 / (1 + np.exp(-logits[corner])), atol=1e-3)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, 192, 192, 3), np.float32),
        np.zeros((192, 192, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
    ],
)
def test_wrong_crops_are_refused(reconstructor, crops):
    with pytest.raises(vrn_jax.InputError, match=r"b 192 192 3.*got"):
        reconstructor.volumes(crops)


def test_jax_arrays_are_photos(reconstructor, astronaut, astronaut_face):
    (face,) = reconstructor(jnp.asarray(astronaut), landmarks=astronaut_face.landmarks)
    np.testing.assert_allclose(face.mesh.vertices, astronaut_face.mesh.vertices, atol=1e-3)


def test_saving_by_suffix(astronaut_face, tmp_path):
    for name in ("me.glb", "me.PLY", "me.preview.png", "me.depth.png", "me.json"):
        vrn_jax.save(astronaut_face, tmp_path / name)
        made = {path.name.lower() for path in tmp_path.iterdir()}
        assert name.lower() in made
    with pytest.raises(vrn_jax.InputError, match=r"none of \.glb"):
        vrn_jax.save(astronaut_face, tmp_path / "me.png")
    assert f"{len(astronaut_face.mesh.vertices)} vertices" in repr(astronaut_face)
    assert len(repr(astronaut_face)) < 200


def test_a_group_photo_gives_every_face(reconstructor, astronaut):
    pair = np.concatenate([astronaut[:256, 80:380], astronaut[:256, 380:79:-1]], axis=1)
    faces = reconstructor(pair)
    assert len(faces) == 2
    for face in faces:
        closed(face.mesh)
    assert abs(faces[0].box[0] - faces[1].box[0]) > 200


def test_mirroring_makes_symmetric_photos_symmetric_volumes(astronaut):
    symmetric = vrn_jax.load(mirror=True, sigma_px=0.0)
    box = np.array(
        [150.0, 100, 250, 200]
    )  # about the middle of a photo that is its own mirror image
    photo = astronaut[:300, :401].copy()
    photo[:, 201:] = photo[:, 199::-1]
    (result,) = symmetric(photo, box=box)
    occupancy = np.asarray(result.occupancy, np.float32)
    np.testing.assert_allclose(occupancy, occupancy[:, ::-1], atol=0.02)


def test_batches_for_accelerators_give_the_same_faces(reconstructor, astronaut, monkeypatch):
    face = reconstructor.find_faces(astronaut)[0]
    box = dataclasses.replace(face, landmarks=None)
    alone = reconstructor.finish(reconstructor.start([(astronaut, box)]), [0])[0]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    started = reconstructor.start([(astronaut, face), (astronaut[:, ::-1], box), (astronaut, box)])
    assert {len(cleaned.occupancy) for cleaned, _ in started.cleaned} == {4}  # padded
    _, _, together = reconstructor.finish(started, range(3))
    np.testing.assert_allclose(together.mesh.vertices, alone.mesh.vertices, atol=0.05)


def test_guided_networks_take_landmarks(astronaut, astronaut_face):
    config = ModelConfig("guided", stacks=1, features=8)
    info = WeightsInfo("guided", "CC0-1.0", "made up", config, VolumeGrid(), threshold=0.01)
    guided = vrn_jax.Reconstructor(Weights(info, random_variables(config)))
    points = astronaut_face.landmarks
    crops = astronaut_face.crop.image[None]
    on_crop = apply_similarity(astronaut_face.crop.crop_from_photo, points[:, :2])[None]
    moved_points = (on_crop + np.array([30.0, 0.0])).astype(np.float32)
    first = guided.volumes(crops, on_crop.astype(np.float32))
    assert np.abs(first - guided.volumes(crops, moved_points)).max() > 1e-3
    with pytest.raises(vrn_jax.InputError, match="needs landmarks"):
        guided(astronaut, box=astronaut_face.box)
    with pytest.raises(vrn_jax.InputError, match="needs the landmarks"):
        guided.volumes(crops)


def test_threads_share_a_reconstructor(reconstructor, astronaut, astronaut_face):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: reconstructor(astronaut)[0], range(4)))
    for result in results:
        np.testing.assert_array_equal(result.mesh.vertices, astronaut_face.mesh.vertices)


def test_without_jit_it_is_the_same(reconstructor, astronaut, astronaut_face):
    with jax.disable_jit():
        (face,) = reconstructor(astronaut, landmarks=astronaut_face.landmarks)
    ours, jitted = (np.asarray(one.occupancy, np.float32) for one in (face, astronaut_face))
    # A voxel that rounds to the other side of the threshold may be a cavity in one, not the other.
    assert (np.abs(ours - jitted) > 1e-3).sum() < 20
    assert closed(face.mesh).volume == pytest.approx(closed(astronaut_face.mesh).volume, rel=1e-4)


def test_textured_from_the_front_it_is_the_photo(astronaut_face):
    textured = texture_from_photo(astronaut_face.mesh, astronaut_face.photo)
    low, high = (astronaut_face.mesh.vertices.min(axis=0), astronaut_face.mesh.vertices.max(axis=0))
    picture = render(textured, size=128, view_width=128.0).astype(float)
    left, top = ((low + high) / 2 - 63.5)[:2]
    rows, columns = np.mgrid[40:88, 44:84]  # the middle of the face
    photo = astronaut_face.photo[
        (rows + top).round().astype(int), (columns + left).round().astype(int)
    ]
    assert np.abs(picture[rows, columns] - photo).mean() < 8


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"photo": np.zeros((64, 64, 3), np.uint8)}, vrn_jax.NoFaceError, "no face found"),
        ({"photo": "/no/such/file.jpg"}, vrn_jax.InputError, "no photo"),
        ({"landmarks": np.zeros((5, 2))}, vrn_jax.InputError, r"\[68 2\]"),
        ({"landmarks": np.full((68, 2), np.nan)}, vrn_jax.InputError, "NaN"),
        ({"landmarks": FACE, "box": (1, 2, 3, 4)}, vrn_jax.InputError, "give one"),
        ({"landmarks": FACE[:, [1, 0, 2]] * [1, 0.01, 0]}, vrn_jax.InputError, "iBUG's order"),
        ({"landmarks": [[1, 2], [3]]}, vrn_jax.InputError, "something else"),
        ({"box": (1, 2, 3)}, vrn_jax.InputError, "left, top, right, bottom"),
        ({"box": (10, 10, 10, 20)}, vrn_jax.InputError, "face box"),
        ({"box": (-900, -900, -800, -800)}, vrn_jax.InputError, "outside"),
    ],
)
def test_wrong_inputs_are_named(reconstructor, astronaut, arguments, error, message):
    with pytest.raises(error, match=message):
        reconstructor(**({"photo": astronaut} | arguments))


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 2.0}, {"sigma_px": -1.0}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(vrn_jax.InputError, match="got"):
        vrn_jax.load(**settings)
