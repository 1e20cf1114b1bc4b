"""Files in and out."""

import io
import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from vrn_jax.errors import InputError
from vrn_jax.geometry.mesh import in_metres
from vrn_jax.io.atomic import writing
from vrn_jax.io.image import read_photo
from vrn_jax.io.landmarks import read_landmarks
from vrn_jax.io.mesh import write_mesh
from vrn_jax.io.raw import read_raw, write_raw


def test_glb_read_back(textured, tmp_path):
    path = tmp_path / "ball.glb"
    write_mesh(path, in_metres(textured, 0.002), extras={"scale": "2 mm a pixel"})
    scene = trimesh.load(path)
    assert scene.metadata["scale"] == "2 mm a pixel"
    mesh = trimesh.load(path, force="mesh")
    # Facing +z, y up, in metres: the photo's upper (green) side is at positive y.
    np.testing.assert_allclose(mesh.bounds, [[-0.08] * 3, [0.08] * 3], atol=1e-3)
    size = mesh.visual.material.baseColorTexture.size
    seen = np.asarray(mesh.visual.material.baseColorTexture)
    uv = mesh.visual.uv * [1, -1] + [0, 1]
    colours = seen[(uv[:, 1] * size[1]).astype(int), (uv[:, 0] * size[0]).astype(int)]
    front = mesh.vertices[:, 2] > 0.05
    top, left = mesh.vertices[:, 1] > 0.045, mesh.vertices[:, 0] < -0.01
    assert (colours[front & top].argmax(axis=1) == 1).mean() > 0.95  # green
    low = mesh.vertices[:, 1] < 0
    assert (colours[front & low & left].argmax(axis=1) == 0).mean() > 0.95  # red
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.08**3, rel=0.01)  # > 0: right-handed


@pytest.mark.parametrize(("name", "message"), [("ball.glb", "metres"), ("ball.3ds", "ends in")])
def test_impossible_meshes_leave_no_file(textured, tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        write_mesh(tmp_path / name, textured)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl"])
def test_other_formats_read_back(textured, tmp_path, suffix):
    path = tmp_path / f"ball{suffix}"
    write_mesh(path, textured)
    mesh = trimesh.load(path, force="mesh")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.01)
    # In photo pixels with y turned over: the ball's middle (100, 90, -30) is at (100, -90, -30).
    np.testing.assert_allclose(mesh.bounds.mean(axis=0), [100, -90, -30], atol=0.3)
    if suffix == ".stl":
        return
    # The front's lower left is red, its upper part green.
    colours = (
        mesh.visual.to_color().vertex_colors if suffix == ".obj" else mesh.visual.vertex_colors
    )
    front = mesh.vertices[:, 2] > -5
    red = front & (mesh.vertices[:, 0] < 95) & (mesh.vertices[:, 1] < -90)
    green = front & (mesh.vertices[:, 1] > -70)
    assert (colours[red, :3].argmax(axis=1) == 0).mean() > 0.95
    assert (colours[green, :3].argmax(axis=1) == 1).mean() > 0.95


def test_obj_names_its_texture(textured, tmp_path):
    write_mesh(tmp_path / "my face.obj", textured)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my face.jpg",
        "my face.mtl",
        "my face.obj",
    ]
    assert "mtllib my face.mtl" in (tmp_path / "my face.obj").read_text()
    assert "map_Kd my face.jpg" in (tmp_path / "my face.mtl").read_text()


def test_raw_volumes_are_the_originals_bytes(tmp_path):
    volume = np.random.default_rng(0).uniform(0, 1, (192, 192, 200)).astype(np.float32)
    path = tmp_path / "volume.raw"
    write_raw(path, volume)
    data = np.fromfile(path, np.uint8)
    assert data.size == 200 * 192 * 192
    row, column, plane = 17, 101, 55
    assert data[(plane * 192 + row) * 192 + column] == int(volume[row, column, plane] * 255)
    np.testing.assert_array_equal(read_raw(path), np.floor(volume * 255))
    path.write_bytes(b"too short")
    with pytest.raises(InputError, match="7,372,800"):
        read_raw(path)


def test_an_interrupted_file_is_not_there(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("old")

    def interrupted():
        with writing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def gradient(mode: str) -> Image.Image:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "LA", "YCbCr"])
def test_colour_modes(mode):
    expected = np.arange(256).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_allclose(read_photo(gradient(mode)).astype(int), expected, atol=2)


def test_sixteen_bits_are_scaled():
    values = (np.arange(256).reshape(16, 16) * 257).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    ours = read_photo(Image.open(file))[..., 0]
    np.testing.assert_allclose(ours.astype(int), np.arange(256).reshape(16, 16), atol=1)


def test_transparent_parts_are_white():
    picture = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert (read_photo(picture) == 255).all()


def test_exif_rotation(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste((0, 0, 0), (0, 0, 20, 20))  # black on the left
    picture.save(path, exif=exif, quality=95)
    photo = read_photo(path)
    assert photo.shape == (40, 20, 3)
    assert photo[5].mean() < 20  # which is the top after rotation
    assert photo[35].mean() > 235
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_photo(opened), photo)
        assert opened.size == (40, 20)  # the caller's image stays as it is


def test_arrays():
    grey = np.zeros((5, 6), np.uint8)
    assert read_photo(grey).shape == (5, 6, 3)
    assert read_photo(grey[..., None]).shape == (5, 6, 3)
    with pytest.raises(InputError, match="uint8"):
        read_photo(np.zeros((5, 6, 3), np.float32))
    with pytest.raises(InputError, match="pixels"):
        read_photo(np.zeros((0, 6, 3), np.uint8))


def test_unreadable_files_are_named(tmp_path):
    text = tmp_path / "note.jpg"
    text.write_text("not a picture")
    cut = tmp_path / "cut.png"
    gradient("RGB").resize((300, 300)).save(cut)
    cut.write_bytes(cut.read_bytes()[:300])
    for path, message in [
        (text, "not a picture"),
        (cut, "cut off"),
        (tmp_path / "absent.jpg", "no photo"),
        (tmp_path, "cannot read"),
    ]:
        with pytest.raises(InputError, match=message):
            read_photo(path)


@pytest.mark.parametrize("suffix", [".npy", ".json", ".pts", ".txt", ".csv"])
def test_landmark_files(tmp_path, suffix):
    points = np.random.default_rng(0).uniform(0, 500, (68, 2)).round(3)
    path = tmp_path / f"landmarks{suffix}"
    if suffix == ".npy":
        np.save(path, points)
    elif suffix == ".json":
        path.write_text(json.dumps(points.tolist()))
    elif suffix == ".pts":  # counts from 1
        lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points)
        path.write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    else:
        np.savetxt(path, points, delimiter="," if suffix == ".csv" else " ")
    np.testing.assert_allclose(read_landmarks(path), points)


@pytest.mark.parametrize("text", ["1 2\n3 4\n", "a b\n", "1 2\n3\n"])
def test_wrong_landmark_files_are_refused(tmp_path, text):
    path = tmp_path / "landmarks.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"landmarks|68 points"):
        read_landmarks(path)
