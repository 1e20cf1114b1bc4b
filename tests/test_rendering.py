"""Rasterizer, texture and pictures against brute force and closed forms."""

import numpy as np
import pytest
from solids import BALL_CENTRE as CENTRE
from solids import BALL_RADIUS as RADIUS

from vrn_jax.geometry.mesh import in_metres, vertex_normals
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.unfold import unfolding
from vrn_jax.preview import render


def front_of_ball(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mask, and z of the near side, by the circle's equation."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rest = RADIUS**2 - (columns - CENTRE[0]) ** 2 - (rows - CENTRE[1]) ** 2
    return rest > 0, CENTRE[2] + np.sqrt(rest.clip(0))


def test_rasterizer_sees_the_front_of_a_ball(ball):
    fragments = rasterize(ball.vertices, ball.faces, (180, 200))
    mask, z = front_of_ball((180, 200))
    seen = fragments.face >= 0
    assert (seen != mask).sum() < 30  # of 5,000; only on the outline
    surface = interpolate(fragments, ball.faces, ball.vertices)
    flat = mask & seen & (z > CENTRE[2] + 15)
    np.testing.assert_allclose(surface[..., 2][flat], z[flat], atol=0.1)
    rows, columns = np.mgrid[:180, :200]
    pixels = np.stack([columns, rows], axis=-1)
    np.testing.assert_allclose(surface[seen][:, :2], pixels[seen], atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_rasterizer_agrees_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-10, 60, (60, 3))
    faces = rng.permutation(60).reshape(20, 3)
    found = rasterize(vertices, faces, (40, 50)).face
    expected = np.full((40, 50), -1)
    nearest = np.full((40, 50), -np.inf)
    for index, (a, b, c) in enumerate(vertices[faces]):
        area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
        if area <= 0:  # turns its back
            continue
        for row in range(40):
            for column in range(50):
                weights = np.linalg.solve(
                    np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]]), [column, row, 1]
                )
                z = weights @ [a[2], b[2], c[2]]
                if (weights >= 0).all() and z > nearest[row, column]:
                    nearest[row, column], expected[row, column] = z, index
    assert (found != expected).sum() <= 2  # float32 may differ on an edge


def test_normals_of_a_ball_point_away_from_its_middle(ball):
    radial = (ball.vertices - CENTRE) / np.linalg.norm(ball.vertices - CENTRE, axis=1)[:, None]
    assert ((vertex_normals(ball) * radial).sum(axis=1) > 0.98).all()


def test_texture_shows_the_photo_where_the_photo_shows_the_surface(ball, textured):
    picture = render(textured, size=200, view_width=200.0)
    # The picture is centred on the ball: photo pixel (x, y) is at (x - 0.5, y + 9.5) in it.
    for x, y in [(80, 90), (90, 110), (75, 85)]:
        np.testing.assert_allclose(picture[y + 10, x], (200, 30, 30), atol=6)
        np.testing.assert_allclose(picture[y + 10, 200 - x], (30, 30, 200), atol=6)
    np.testing.assert_allclose(picture[70 + 10, 100], (30, 200, 30), atol=6)


def test_texture_of_hidden_parts_is_smooth_and_no_second_face(textured):
    behind = render(textured, yaw_deg=180.0, size=200, view_width=200.0).astype(float)
    behind[97:104, 97:103] = behind[96, 96]  # the speck straight behind the middle
    inner = behind[80:115, 78:122]
    # The photo jumps by 170 between neighbouring pixels; inpainted colours do not.
    assert np.abs(np.diff(inner, axis=0)).max() < 40
    assert np.abs(np.diff(inner, axis=1)).max() < 40
    # Turned around, the red side is on the right.
    assert behind[110, 125, 0] > behind[110, 125, 2]
    assert behind[110, 75, 2] > behind[110, 75, 0]


def test_textured_mesh_keeps_vertices_and_faces(ball, textured):
    np.testing.assert_array_equal(textured.vertices, ball.vertices)
    np.testing.assert_array_equal(textured.faces, ball.faces)
    assert textured.uv.min() > 0
    assert textured.uv.max() < 1


def test_only_the_faces_around_one_point_are_torn(textured):
    """Faces are about a pixel wide; unfolded they may stretch, but not reach across the texture."""
    height, width = textured.texture.shape[:2]
    corners = (textured.uv * [width, height])[textured.faces]
    reach = np.linalg.norm(np.ptp(corners, axis=1), axis=1)
    torn = reach > 0.5 * min(height, width)
    assert torn.sum() <= 16  # of 100,000
    places = textured.vertices[textured.faces[torn]].reshape(-1, 3) - CENTRE
    np.testing.assert_allclose(places, [[0, 0, -RADIUS]] * len(places), atol=3)
    assert np.median(reach) < 8


def test_unfolding_puts_the_back_outside_and_the_front_where_it_is():
    turns = np.linspace(0, 2 * np.pi, 2000)
    angles = np.linspace(0.01, np.pi - 0.01, 300)
    turn, angle = (x.ravel() for x in np.meshgrid(turns, angles))
    ring = np.sin(angle)
    points = np.stack([ring * np.cos(turn), ring * np.sin(turn), np.cos(angle)], axis=1)
    unfolded = unfolding(points, hem=0.5)
    places = unfolded.place(points)
    front = angle < 1.2
    np.testing.assert_allclose(places[front], points[front, :2], atol=1e-9)
    behind = angle > 1.7
    distance = np.linalg.norm(places[behind], axis=1)
    assert distance.min() > 0.99
    assert distance.max() < 1.51
    # The way back: from a place to the direction in space that lies there.
    np.testing.assert_allclose(unfolded.directions(places[behind]), points[behind], atol=0.02)


def test_pictures_from_the_side_show_that_side(textured):
    from_right = render(textured, yaw_deg=90.0, size=100, view_width=200.0).astype(float)
    from_left = render(textured, yaw_deg=-90.0, size=100, view_width=200.0).astype(float)
    assert from_right[52:60, 40:60, 2].mean() > from_right[52:60, 40:60, 0].mean() + 50
    assert from_left[52:60, 40:60, 0].mean() > from_left[52:60, 40:60, 2].mean() + 50


def test_pictures_in_metres_are_the_same_pictures(textured):
    photo_frame = render(textured, yaw_deg=30.0, size=120, view_width=120.0)
    metres = render(in_metres(textured, 0.001), yaw_deg=30.0, size=120, view_width=0.12)
    assert np.abs(photo_frame.astype(int) - metres).mean() < 0.5
