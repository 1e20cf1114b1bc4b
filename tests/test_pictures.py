"""Pictures for people against closed forms: silhouette, light, depth, colours; files read back."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from solids import BALL_CENTRE, BALL_RADIUS

from vrn_jax.cli import main
from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.mesh import in_metres
from vrn_jax.geometry.rasterize import rasterize
from vrn_jax.io.animation import write_animation
from vrn_jax.io.mesh import read_mesh, write_mesh
from vrn_jax.rendering import (
    depth_map,
    isosurfaces_picture,
    overlay,
    render,
    slices_picture,
    turntable,
)
from vrn_jax.rendering.shading import LAMPS, occlusion, shade, to_linear, to_srgb
from vrn_jax.types import Mesh

BLACK = (0, 0, 0)


def quad(normal_tilt_deg: float = 0.0) -> Mesh:
    """A square in the photo frame, 2 wide as seen, turned about the vertical axis."""
    angle = np.radians(normal_tilt_deg)
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    corners[:, 2] = -np.tan(angle) * corners[:, 0]
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), "photo")


def test_silhouette_of_a_ball_is_a_disc(ball):
    size, width = 200, 150.0
    picture = render(ball, size=size, view_width=width, look="normals", background=BLACK)
    rows, columns = np.indices((size, size))
    distance = np.hypot(columns - (size - 1) / 2, rows - (size - 1) / 2)
    radius = BALL_RADIUS * size / width
    seen = picture.any(axis=-1)
    assert seen[distance < radius - 1.5].all()
    assert not seen[distance > radius + 1.5].any()


def test_coverage_of_the_outline_is_the_share_of_the_pixel(ball):
    """Anti-aliasing: the summed coverage is the disc's area."""
    white = Mesh(ball.vertices, ball.faces, "photo", colours=np.full_like(ball.vertices, 255, "u1"))
    picture = render(white, size=100, view_width=100.0, look="colour", background=BLACK)
    assert to_linear(picture).mean() * 1e4 == pytest.approx(np.pi * BALL_RADIUS**2, rel=0.01)
    assert len(np.unique(picture)) > 3  # there are pixels in between


def test_normals_of_a_ball_have_the_colours_they_should(ball):
    picture = render(ball, size=201, view_width=201.0, look="normals", background=BLACK)
    for x, y in [(0, 0), (20, 0), (0, 20), (-15, 12)]:
        z = np.sqrt(BALL_RADIUS**2 - x**2 - y**2)
        expected = 128 + 127 * np.array([x, -y, z]) / BALL_RADIUS
        np.testing.assert_allclose(picture[100 + y, 100 + x], expected, atol=8)


def test_light_on_a_known_normal():
    """Lambert's law for every lamp, one at a time switched off by standing behind."""
    facing = np.array([[0.0, 0.0, 1.0]])
    directions = [np.array(lamp.direction) / np.linalg.norm(lamp.direction) for lamp in LAMPS]
    black = shade(facing, np.zeros((1, 3)), np.ones(1))  # the gloss alone
    lit = shade(facing, np.ones((1, 3)), np.ones(1)) - black
    room = np.array([0.185, 0.1875, 0.205])  # half from above, half from below
    expected = room + sum(
        max(d[2], 0) * np.array(lamp.colour) for d, lamp in zip(directions, LAMPS, strict=True)
    )
    np.testing.assert_allclose(lit[0], expected, rtol=1e-5)
    away = shade(-facing, np.ones((1, 3)), np.ones(1))
    np.testing.assert_allclose(
        away[0], room + max(-directions[2][2], 0) * np.array(LAMPS[2].colour), atol=1e-4
    )


def test_a_picture_shows_that_light():
    picture = render(quad(), size=64, view_width=1.0, look="clay", background=BLACK)
    expected = to_srgb(
        shade(
            np.array([[0.0, 0.0, 1.0]]),
            to_linear(np.array([[219, 199, 182]])),
            np.ones(1),
        )
    )
    np.testing.assert_allclose(picture[32, 32], expected[0], atol=2)


def test_corners_are_darker_than_open_places():
    columns = np.indices((120, 120))[1]
    valley = np.abs(columns - 60).astype(np.float32)  # two planes that meet at 90 degrees
    everywhere = np.ones((120, 120), bool)
    openness = occlusion(valley, everywhere)
    assert openness[60, 60] < 0.8
    np.testing.assert_allclose(openness[60, 25], 1, atol=0.02)
    ridge = occlusion(-valley, everywhere)
    np.testing.assert_allclose(ridge[60, 60], 1, atol=1e-6)


@pytest.mark.parametrize("tilt_deg", [0.0, 30.0, -50.0])
def test_depth_map_is_the_plane(tilt_deg):
    z = depth_map(quad(tilt_deg), size=101, view_width=3.0)
    x = (np.arange(101) - 50) * 3.0 / 101
    inside = np.abs(x) < 0.98
    expected = np.broadcast_to(-np.tan(np.radians(tilt_deg)) * x[inside], (60, inside.sum()))
    np.testing.assert_allclose(z[20:80][:, inside], expected, atol=1e-5)
    assert np.isnan(z[:, np.abs(x) > 1.02]).all()


def test_depth_from_the_side_and_from_above(ball):
    for angles in ({"yaw_deg": 77.0}, {"pitch_deg": 40.0}, {"yaw_deg": 180.0, "pitch_deg": -20.0}):
        z = depth_map(ball, size=120, view_width=120.0, **angles)
        assert np.nanmax(z) == pytest.approx(BALL_RADIUS, abs=0.6)
        assert z[60, 60] == pytest.approx(BALL_RADIUS, abs=0.6)


def test_textured_square_has_its_texels_colours():
    texture = (
        np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]], np.uint8)
        .repeat(50, axis=0)
        .repeat(50, axis=1)
    )
    uv = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    mesh = quad()
    mesh = Mesh(mesh.vertices, mesh.faces, "photo", uv=uv, texture=texture)
    picture = render(mesh, size=80, view_width=2.0)
    for row, column, colour in [
        (20, 20, (255, 0, 0)),
        (20, 60, (0, 255, 0)),
        (60, 20, (0, 0, 255)),
        (60, 60, (255, 255, 0)),
    ]:
        np.testing.assert_array_equal(picture[row, column], colour)


def test_a_plain_background_is_that_colour_and_the_backdrop_is_brightest_behind_the_head(ball):
    picture = render(ball, size=90, background=(12, 200, 99))
    np.testing.assert_array_equal(picture[0, 0], (12, 200, 99))
    soft = render(ball, size=90).astype(int)
    assert soft[0, 45].sum() > soft[0, 0].sum()
    assert soft[0, 0].min() > 180


def test_faces_that_nothing_but_size_tells_apart(ball):
    """Triangles of every size, from specks to such as fill the picture, find their pixels."""
    rng = np.random.default_rng(3)
    sizes = np.repeat([0.4, 3, 20, 150], 60)
    places = rng.uniform(0, 200, (240, 1, 2)) + rng.normal(size=(240, 3, 2)) * sizes[:, None, None]
    z = rng.uniform(0, 50, (240, 3, 1))
    vertices = np.concatenate([places, z], axis=2).reshape(-1, 3)
    faces = np.arange(720).reshape(-1, 3)
    found = rasterize(vertices, faces, (200, 210)).face
    nearest, expected = np.full((200, 210), -np.inf), np.full((200, 210), -1)
    y, x = np.indices((200, 210))
    for index, (a, b, c) in enumerate(vertices[faces]):
        area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
        if area <= 0:
            continue
        on_b = ((x - a[0]) * (c - a)[1] - (y - a[1]) * (c - a)[0]) / area
        on_c = ((y - a[1]) * (b - a)[0] - (x - a[0]) * (b - a)[1]) / area
        depth = a[2] + on_b * (b - a)[2] + on_c * (c - a)[2]
        front = (on_b >= 0) & (on_c >= 0) & (on_b + on_c <= 1) & (depth > nearest)
        nearest[front], expected[front] = depth[front], index
    assert (found != expected).sum() <= 4  # rounding on edges


def test_overlay_puts_the_mesh_where_it_is_and_leaves_the_rest(ball):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (190, 210, 3), dtype=np.uint8)
    drawn = overlay(photo, ball, opacity=1.0)
    rows, columns = np.indices(photo.shape[:2])
    distance = np.hypot(columns - BALL_CENTRE[0], rows - BALL_CENTRE[1])
    outside = distance > BALL_RADIUS + 2
    np.testing.assert_array_equal(drawn[outside], photo[outside])
    inside = distance < BALL_RADIUS - 2
    assert (np.abs(drawn[inside].astype(int) - photo[inside]).max(axis=1) > 8).mean() > 0.9
    middle = drawn[int(BALL_CENTRE[1]), int(BALL_CENTRE[0])].astype(int)
    assert middle[0] > middle[2]  # clay
    assert overlay(photo, ball, opacity=0.0) is not photo
    np.testing.assert_array_equal(overlay(photo, ball, opacity=0.0), photo)


def test_overlay_outside_of_the_picture_changes_nothing(ball):
    photo = np.zeros((20, 20, 3), np.uint8)
    np.testing.assert_array_equal(overlay(photo, ball), photo)


def test_slices_show_planes_from_front_to_back():
    volume = np.zeros(VRN_GRID.shape, np.float32)
    volume[60:100, 70:110, 40:81] = 1
    sheet = slices_picture(volume, columns=6, step=8)
    assert sheet.shape == (192 + 18, 6 * 192, 3)  # planes 80, 72, ... 40
    np.testing.assert_array_equal(sheet[18 + 80, 90], (40, 18, 60))
    np.testing.assert_array_equal(sheet[18 + 20, 20], (250, 250, 251))
    with pytest.raises(InputError, match="empty"):
        slices_picture(np.zeros(VRN_GRID.shape, np.float32))


def test_isosurfaces_shrink_as_the_threshold_rises():
    h, w, d = np.indices((96, 96, 100))
    distance = np.sqrt((h - 48) ** 2 + (w - 48) ** 2 + (d - 50) ** 2 / 4)
    volume = np.zeros(VRN_GRID.shape, np.float32)
    volume[48:144, 48:144, 50:150] = (1 - distance / 40).clip(0, 0.85)
    sheet = isosurfaces_picture(volume, VRN_GRID, thresholds=(0.2, 0.6, 0.9), size=128)
    tiles = np.split(sheet[18:146].astype(int), 3, axis=1)
    areas = [(tile.min(axis=-1) < 240).mean() for tile in tiles]
    scale = 128 / (0.8 * 192)
    radii = np.array([32, 16]) * scale
    np.testing.assert_allclose(areas[:2], np.pi * radii**2 / 128**2, rtol=0.1)
    assert areas[2] == 0


def test_turntable_ends_where_it_begins(ball):
    mesh = Mesh(
        ball.vertices, ball.faces, "photo", colours=(ball.vertices[:, [0, 2, 0]] % 255).astype("u1")
    )
    pictures = [p.astype(int) for p in turntable(mesh, frames=24, size=48)]
    steps = [
        np.abs(a - b).mean() for a, b in zip(pictures, pictures[1:] + pictures[:1], strict=True)
    ]
    assert max(steps) < 3 * np.median(steps)
    swings = list(turntable(mesh, frames=12, size=32, swing_deg=30))
    np.testing.assert_array_equal(swings[0], swings[6])  # both in the middle


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_textured_file_is_drawn_as_the_mesh_was(textured, tmp_path, suffix):
    in_file = in_metres(textured, 0.001)
    write_mesh(tmp_path / f"ball{suffix}", in_file)
    mesh = read_mesh(tmp_path / f"ball{suffix}")
    assert mesh.frame == "metres"
    expected, found = (render(m, yaw_deg=25, size=96).astype(int) for m in (in_file, mesh))
    assert np.abs(expected - found).mean() < 1.0  # JPEG, for OBJ


def test_colours_and_bare_shapes_are_read(textured, tmp_path):
    for suffix in (".ply", ".stl"):
        write_mesh(tmp_path / f"ball{suffix}", in_metres(textured, 0.001))
    coloured, bare = read_mesh(tmp_path / "ball.ply"), read_mesh(tmp_path / "ball.stl")
    assert coloured.colours is not None
    assert bare.colours is None
    assert len(bare.vertices) == len(textured.vertices)  # joined again
    clay = render(in_metres(textured, 0.001), look="clay", size=64).astype(int)
    assert np.abs(render(bare, size=64) - clay).mean() < 0.5
    colour = render(in_metres(textured, 0.001), size=64).astype(int)
    assert np.abs(render(coloured, size=64) - colour).mean() < 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xyz", b"", "ends in none of"),
        ("none.glb", None, "no mesh at"),
        ("a.glb", b"not a mesh", "cannot read"),
        ("a.obj", b"v 0 0 0\n", "cannot read|no triangles"),
        ("a.ply", b"ply\n", "cannot read"),
        ("a.stl", b"", "cannot read|no triangles"),
    ],
)
def test_files_that_are_no_meshes(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / name)


def test_render_command(tmp_path, capsys):
    box = trimesh.creation.box((1, 2, 1))
    box.export(tmp_path / "box.stl")
    options = ["--size", "64", "--yaw", "-30", "30", "--background", "0", "0", "0"]
    picture = tmp_path / "new" / "box.png"
    assert main(["render", str(tmp_path / "box.stl"), "-o", str(picture), *options]) == 0
    pixels = np.asarray(Image.open(picture)).astype(int)
    assert pixels.shape == (64, 128, 3)
    assert pixels[32, [32, 96]].min() > 30
    assert pixels[0].max() == 0
    turning = tmp_path / "box.gif"
    assert main(["render", str(tmp_path / "box.stl"), "-o", str(turning), "--frames", "6"]) == 0
    with Image.open(turning) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (6, 50, 0)
    capsys.readouterr()
    assert main(["render", str(tmp_path / "box.stl"), "-o", "box.bmp"]) == 1
    assert "ends in none of .png" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "no.stl"), "-o", "box.png"]) == 1
    assert "no mesh at" in capsys.readouterr().err


def test_animations_need_a_known_suffix(tmp_path):
    with pytest.raises(InputError, match=r"none of \.gif, \.mp4"):
        write_animation(tmp_path / "a.avi", [])
