"""Scans, TFDS's own 300W-LP, frozen volumes, and AFLW2000-3D to measure on."""

import json
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
import trimesh
from basel_folder import SMALL, head_faces, head_keypoints, head_points
from fitted_files import made_up_fit, made_up_photo, write_aflw2000_3d
from scipy.spatial.transform import Rotation
from test_fits import fits_of

from vrn_jax.bench.data import measure_data
from vrn_jax.bench.tables import data_table
from vrn_jax.cli import main
from vrn_jax.config import FaceSettings
from vrn_jax.data import open_frozen, unpack_occupancy
from vrn_jax.data.aflw import AflwSamples
from vrn_jax.data.augment import Augmentation
from vrn_jax.data.bfm import read_basel
from vrn_jax.data.builders import prepare_aflw2000_3d
from vrn_jax.data.fits import fit_model, photo_from_head
from vrn_jax.data.scans import prepare_scans
from vrn_jax.data.sources import examples_of, open_for_training
from vrn_jax.errors import InputError
from vrn_jax.geometry.solid import occupancy

pytestmark = pytest.mark.usefixtures("quick_to_compile")

SETTINGS = FaceSettings()


@pytest.fixture(scope="module")
def model(bfm):
    return read_basel(bfm)


@pytest.fixture(scope="module")
def on_device(model):
    return fit_model(model)


def first_example(data, on_device=None):
    value = jax.tree.map(lambda leaf: np.asarray(leaf)[None], data.plain(0).value)
    made = jax.jit(lambda batch: examples_of(on_device, batch))(value)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), made)


# Scans


def write_scan(folder: Path, suffix: str, photo_from_head: np.ndarray) -> Path:
    """The made-up head as a scan in millimetres, lying on its side somewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    points = head_points(*SMALL)
    turn = Rotation.from_euler("xyz", [80, 20, -130], degrees=True).as_matrix()
    mesh_from_head = np.concatenate([10 * turn, [[300.0], [-40.0], [900.0]]], axis=1)
    moved = points @ mesh_from_head[:, :3].T + mesh_from_head[:, 3]
    trimesh.Trimesh(moved, head_faces(*SMALL), process=False).export(folder / f"a.{suffix}")
    (folder / "a.jpg").write_bytes(made_up_photo(1))
    head_from_mesh = np.linalg.inv(np.concatenate([mesh_from_head, [[0, 0, 0, 1]]]))
    described = {
        "mesh": f"a.{suffix}",
        "photo": "a.jpg",
        "units_per_cm": 10,
        "landmarks": moved[head_keypoints(points)].tolist(),
        "photo_from_mesh": (photo_from_head @ head_from_mesh).tolist(),
    }
    (folder / "a.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_a_scan_gives_the_solid_of_its_face(tmp_path, model, on_device, suffix):
    """The same head as a scan and as a fit: two ways to one solid."""
    pose = np.array([0.1, -0.4, 0.1, 225, 230, -50, 14e-4])
    place = photo_from_head(pose, 450)
    write_scan(tmp_path / "in", suffix, place)
    prepare_scans(tmp_path / "in", tmp_path / "out").write()
    scan = first_example(open_for_training(tmp_path / "out", "train", SETTINGS, None))
    expected = first_example_of_pose(model, on_device, pose)
    np.testing.assert_allclose(scan.landmarks[:, :2], expected.landmarks[:, :2], atol=0.7)
    ours, theirs = (np.asarray(occupancy(example.solid)) for example in (scan, expected))
    rows, columns = slice(60, 130), slice(60, 130)  # the scan's face ends at 9.5 cm from the nose
    ours, theirs = ours[rows, columns, 120:], theirs[rows, columns, 120:]
    assert theirs.sum() > 50_000
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95


def first_example_of_pose(model, on_device, pose):
    fits = fits_of(model, Augmentation(), pose)
    made = jax.jit(lambda batch: examples_of(on_device, batch))(fits)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks": [[0, 0, 0]]}, r"landmarks of .* must be \(68, 3\)"),
        ({"photo_from_mesh": None}, "photo_from_mesh"),
        ({"mesh": "absent.obj"}, "cannot read the mesh"),
        ({"photo": "absent.jpg"}, "cannot read the photo"),
        ({"units_per_cm": 1}, r"are 86\.7 cm apart, which no face"),
    ],
)
def test_scans_that_cannot_be_used(tmp_path, changes, message):
    folder = write_scan(tmp_path / "in", "ply", np.eye(3, 4))
    described = json.loads((folder / "a.json").read_text()) | changes
    (folder / "a.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=message):
        prepare_scans(folder, tmp_path / "out").write()


# TFDS's own data set


def write_the300w_lp(folder: Path, count: int) -> Path:
    """As TFDS writes it, in TFRecord files; checksums are left at zero."""
    tensor = tfds.features.Tensor
    sizes = {"roi": 4, "illum_params": 10, "color_params": 7, "tex_params": 199}
    sizes |= {"shape_params": 199, "exp_params": 29, "pose_params": 7}
    features = {name: tensor(shape=(size,), dtype=np.float32) for name, size in sizes.items()}
    for name in ("landmarks_origin", "landmarks_2d", "landmarks_3d"):
        features[name] = tensor(shape=(68, 2), dtype=np.float32)
    features["image"] = tfds.features.Image(shape=(450, 450, 3), encoding_format="jpeg")
    features = tfds.features.FeaturesDict(features)
    folder.mkdir()
    path = folder / "the300w_lp-train.tfrecord-00000-of-00001"
    with path.open("wb") as file:
        for seed in range(count):
            fit = made_up_fit(seed)
            values = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
            values |= {
                "shape_params": fit["Shape_Para"].ravel().astype(np.float32),
                "exp_params": fit["Exp_Para"].ravel().astype(np.float32),
                "pose_params": fit["Pose_Para"].ravel(),
                "image": made_up_photo(seed),
            }
            for name in ("landmarks_origin", "landmarks_2d", "landmarks_3d"):
                values[name] = np.full((68, 2), 0.5, np.float32)
            record = features.serialize_example(values)
            file.write(struct.pack("<Q", len(record)) + bytes(4) + record + bytes(4))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=features,
        split_infos=[
            tfds.core.SplitInfo(
                name="train",
                shard_lengths=[count],
                num_bytes=path.stat().st_size,
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=folder,
                    dataset_name="the300w_lp",
                    split="train",
                    filetype_suffix="tfrecord",
                ),
            )
        ],
        version="1.0.0",
        check_data=False,
    )
    return folder


def test_tfds_own_300w_lp_is_read_without_tensorflow(tmp_path, model, prepared):
    data = open_for_training(write_the300w_lp(tmp_path / "tfds", 3), "train", SETTINGS, model)
    assert len(data) == 3
    ours = open_for_training(prepared, "train", SETTINGS, model)
    theirs, expected = data.plain(0).value, ours.plain(0).value  # of the same seed
    jax.tree.map(np.testing.assert_array_equal, theirs, expected)
    with pytest.raises(InputError, match="no split 'test', only train"):
        open_for_training(tmp_path / "tfds", "test", SETTINGS, model)
    path = next((tmp_path / "tfds").glob("*.tfrecord*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is cut off"):
        open_for_training(tmp_path / "tfds", "train", SETTINGS, model)


# Frozen volumes


def test_frozen_volumes_are_those_that_training_makes(tmp_path, prepared, bfm, model, on_device):
    command = ["data", "freeze", str(prepared), "--bfm", str(bfm), "--count", "3"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    frozen = open_frozen(tmp_path / "out")
    assert len(frozen) == 3
    data = open_for_training(prepared, "train", SETTINGS, model)
    expected = first_example(data, on_device)
    np.testing.assert_array_equal(frozen[0].image, expected.image)
    np.testing.assert_allclose(frozen[0].landmarks, expected.landmarks, atol=1e-3)
    volume = np.asarray(occupancy(expected.solid))
    assert (np.asarray(unpack_occupancy(frozen[0].packed)) != volume).mean() < 1e-5
    # And training reads them back.
    again = open_for_training(tmp_path / "out", "train", SETTINGS, None)
    example = first_example(again)
    np.testing.assert_array_equal(
        np.asarray(occupancy(example.solid)), unpack_occupancy(frozen[0].packed)
    )
    assert main([*command, "-o", str(tmp_path / "out")]) == 1


# AFLW2000-3D


def test_aflw_samples_are_in_the_photos_frame(tmp_path, model):
    prepare_aflw2000_3d(write_aflw2000_3d(tmp_path / "in"), tmp_path / "out").write()
    samples = AflwSamples(tmp_path / "out", model)
    assert [sample.name for sample in samples] == ["image00002", "image00004", "image00006"]
    fit, sample = made_up_fit(101), samples[1]
    assert sample.photo.shape == (450, 450, 3)
    np.testing.assert_allclose(sample.pose_deg, np.rad2deg(fit["Pose_Para"][0, :3]), rtol=1e-6)
    head = model.vertices(*(fit[n].ravel().astype(np.float32) for n in ("Shape_Para", "Exp_Para")))
    place = photo_from_head(fit["Pose_Para"][0], 450)
    points = head @ place[:, :3].T + place[:, 3]
    np.testing.assert_allclose(sample.landmarks, points[model.keypoints], atol=1e-3)
    np.testing.assert_allclose(sample.vertices, points[model.region], atol=1e-3)
    corners = np.flatnonzero(model.region)[sample.faces]
    np.testing.assert_array_equal(corners, model.region_faces)
    with pytest.raises(IndexError):
        samples[3]


@pytest.mark.slow
def test_the_bench_measures_and_its_table_says_so(prepared, bfm):
    numbers = measure_data(prepared, bfm, split="train", batch_size=2, step_seconds=0.5)
    assert numbers["device"]["volumes_per_second"] > 0
    assert 0 < numbers["hidden_share_core"] <= 1
    table = data_table(numbers | {"step_seconds": 2.0})
    assert "A model of 2,747 vertices" in table
    assert "Behind a train step of 2.0 s" in table
