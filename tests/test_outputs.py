"""Every kind of file of a face, read back."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from vrn_jax.geometry.isosurface import simplify_surface
from vrn_jax.geometry.pose import MEAN_LANDMARKS, head_pose
from vrn_jax.geometry.transforms import apply_similarity
from vrn_jax.outputs import OutputSettings, depth_map, normal_map, write_outputs


def test_depth_and_normals_of_a_ball(ball):
    depth = depth_map(ball, (180, 200))
    normals = normal_map(ball, (180, 200)).astype(float)
    rows, columns = np.mgrid[:180, :200]
    x, y = columns - 100.0, rows - 90.0
    inner = x**2 + y**2 < 30**2
    z = np.sqrt(40**2 - x[inner] ** 2 - y[inner] ** 2)
    np.testing.assert_allclose(depth[inner], z - 30, atol=0.1)
    assert np.isnan(depth[0, 0])
    expected = np.stack([x[inner], -y[inner], z], axis=1) / 40
    np.testing.assert_allclose((normals[inner] - 128) / 127, expected, atol=0.04)
    assert (normals[0, 0] == 0).all()


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, -10, 25), (-85, 20, -60), (10, 5, 170)])
def test_pose_is_recovered(angles):
    turned = Rotation.from_euler("YXZ", angles, degrees=True).apply(MEAN_LANDMARKS) * 87 + 300
    np.testing.assert_allclose(head_pose(turned), angles, atol=1e-6)


def test_pose_signs():
    """A nose to the right of the picture is yaw > 0, up is pitch > 0, a clockwise tilt roll > 0."""
    nose = MEAN_LANDMARKS[30]
    assert nose[2] > 0.3  # to the viewer
    right = MEAN_LANDMARKS @ np.array([[0.9, 0, -0.43], [0, 1, 0], [0.43, 0, 0.9]])
    assert right[30, 0] > nose[0]
    assert head_pose(right).yaw > 20
    clockwise = MEAN_LANDMARKS @ np.array([[0.9, 0.43, 0], [-0.43, 0.9, 0], [0, 0, 1]])
    assert clockwise[8, 0] < 0  # y is down: turning clockwise, the chin goes to the left
    assert head_pose(clockwise).roll > 20


@pytest.mark.parametrize("faces", [20_000, 2_000])
def test_simplified_meshes_stay_closed(astronaut_face, faces):
    mesh = simplify_surface(astronaut_face.mesh, faces)
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert len(mesh.faces) == pytest.approx(faces, rel=0.02)
    assert surface.is_watertight
    assert surface.body_count == 1
    whole = trimesh.Trimesh(astronaut_face.mesh.vertices, astronaut_face.mesh.faces, process=False)
    assert surface.volume == pytest.approx(whole.volume, rel=0.01)


def test_all_kinds_of_files(astronaut_face, reconstructor, tmp_path):
    settings = OutputSettings(
        ("glb", "obj", "ply", "stl", "npz", "raw", "json", "depth", "normals", "preview"),
        frame="crop",
        faces=5_000,
        smooth_surface=2,
    )
    face = astronaut_face
    paths = write_outputs(face, tmp_path / "my.face", settings)
    assert [path.name for path in paths] == [
        *(f"my.face.{kind}" for kind in ("glb", "obj", "ply", "stl", "npz", "raw", "json")),
        *(f"my.face.{picture}.png" for picture in ("depth", "normals", "preview")),
    ]
    assert all(path.is_file() for path in paths)
    assert not list(tmp_path.glob("*.partial"))

    crop_bounds = trimesh.load(paths[3]).bounds * [1, -1, 1]
    corners = apply_similarity(face.crop.crop_from_photo, face.mesh.vertices)
    np.testing.assert_allclose(np.sort(crop_bounds, axis=0)[0], corners.min(axis=0), atol=1.5)

    with np.load(paths[4]) as stored:
        np.testing.assert_array_equal(stored["occupancy"], np.asarray(face.occupancy))
        np.testing.assert_array_equal(stored["crop"], face.crop.image)
    numbers = json.loads(paths[6].read_text())
    np.testing.assert_allclose(numbers["landmarks_ibug68"], face.landmarks)
    assert abs(numbers["pose_degrees"]["yaw"]) < 30
    assert numbers["weights"]["sha256"] == reconstructor.info.sha256

    depth = Image.open(paths[7])
    values = np.asarray(depth, np.float64)
    assert values.shape == (512, 512)
    z = float(depth.text["z_low"]) + (values - 1) * float(depth.text["z_step"])
    nose = face.landmarks[30].round().astype(int)
    front = face.mesh.vertices[:, 2].max()
    assert z[nose[1], nose[0]] == pytest.approx(front, abs=3)
    assert values[0, 0] == 0
