"""Portraits on a head: fits and colours against heads whose truth is known."""

import hashlib
import shutil

import numpy as np
import pytest
import trimesh
import tyro
from PIL import Image
from scipy.spatial import Delaunay, KDTree
from scipy.spatial.transform import Rotation

import vrn_jax.faces.portraits
from vrn_jax.cli.textures import DataTextures, data_textures
from vrn_jax.detection import FACEMESH_OF_IBUG, FaceDetector
from vrn_jax.errors import InputError
from vrn_jax.faces.correspond import SurfacePoints, mirrored_points, nearest_on_face
from vrn_jax.faces.draw import photo_from_turned
from vrn_jax.faces.fit import HeadFit, HeadFitter, solve_bounded
from vrn_jax.faces.head import MASKS, Head, save_head
from vrn_jax.faces.identities import fit_identities, standard_identities
from vrn_jax.faces.inpaint import Diffusion
from vrn_jax.faces.lighting import shading
from vrn_jax.faces.sampling import sample_colours
from vrn_jax.faces.texture_head import Texturer
from vrn_jax.faces.textures import (
    TextureSet,
    fingerprint,
    is_held_out,
    load_textures,
    save_textures,
)
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_affine as posed

HALF_AXES = np.array([7.5, 10.5, 9.0])  # cm
SCALE = 14.0  # pixels per cm
SHAPE = (360, 320)


def make_head(vertices, faces, *, landmarks, identity, expression, solid, scalp):
    vertices = np.asarray(vertices, np.float32)
    masks = np.zeros((len(vertices), len(MASKS)), np.float32)
    masks[:, MASKS.index("scalp")] = scalp
    return Head(
        neutral=vertices,
        identity=np.asarray(identity, np.float32),
        expression=np.asarray(expression, np.float32),
        expression_names=tuple(f"move{i}" for i in range(len(expression))),
        faces=np.asarray(faces, np.int32),
        mirror=KDTree(vertices).query(vertices * [-1, 1, 1])[1].astype(np.int32),
        landmarks=np.asarray(landmarks, np.int32),
        part=np.zeros(len(vertices), np.uint8),
        masks=masks,
        solid=solid,
        source="test",
    )


@pytest.fixture(scope="module")
def egg() -> Head:
    """An ellipsoid with smooth modes of about half a centimetre; a "face" in front."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    v = ball.vertices * HALF_AXES
    x, y, z = (v / HALF_AXES).T
    zero = np.zeros_like(x)
    identity = 0.6 * np.array(
        [
            np.stack([x, zero, zero], axis=1),
            np.stack([zero, y * z, zero], axis=1),
            np.stack([zero, zero, z * y**2], axis=1),
            np.stack([x * y, zero, x**2], axis=1),
        ]
    )
    chin = np.exp(-((y + 0.7) ** 2) / 0.05) * (z > 0)
    brow = np.exp(-((y - 0.4) ** 2) / 0.02) * (z > 0)
    expression = np.array(
        [np.stack([zero, -1.5 * chin, zero], axis=1), np.stack([zero, zero, brow], axis=1)]
    )
    places = MEAN_LANDMARKS * [9.0, -9.0, 9.0] + [0.0, 0.0, 5.0]
    return make_head(
        v,
        ball.faces,
        landmarks=KDTree(v).query(places)[1],
        identity=identity,
        expression=expression,
        solid=(z > 0.2) & (np.abs(y) < 0.7),
        scalp=(y > 0.75) | (z < -0.3),
    )


@pytest.fixture(scope="module")
def egg_points(egg) -> SurfacePoints:
    front = np.flatnonzero(egg.neutral[:, 2] > 3.0)
    chosen = front[np.random.default_rng(0).permutation(len(front))[:468]]
    return SurfacePoints(np.repeat(chosen[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (468, 1)))


def pose(yaw, pitch=0.0):
    centre = np.array([SHAPE[1] - 1, SHAPE[0] - 1]) / 2.0
    return photo_from_turned(yaw, pitch, SCALE, centre)


def shown(head, photo_from_head, colours, background=(0, 255, 0)):
    """A photo of a head with these vertex colours and no further light."""
    faces = head.faces[:, ::-1]
    fragments = rasterize(posed(photo_from_head, head.neutral), faces, SHAPE)
    picture = interpolate(fragments, faces, np.asarray(colours, np.float64))
    picture[fragments.face < 0] = background
    return picture.round().clip(0, 255).astype(np.uint8)


def plain_fit(head, photo_from_head):
    return HeadFit(
        np.zeros(len(head.identity), np.float32),
        np.zeros(len(head.expression), np.float32),
        photo_from_head,
        0.0,
    )


def egg_normals(egg, photo_from_head):
    """In the photo frame, of the ellipsoid itself."""
    normals = (egg.neutral / HALF_AXES**2) @ photo_from_head[:, :3].T
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


# -- where FaceMesh's points lie -------------------------------------------------------------------


def test_points_are_found_on_the_surface(egg):
    rng = np.random.default_rng(1)
    vertices = rng.choice(egg.faces[egg.solid[egg.faces].all(axis=1)], 50)
    weights = rng.dirichlet([1.0, 1.0, 1.0], 50)
    places = SurfacePoints(vertices, weights).of(egg.neutral)
    found = nearest_on_face(egg, egg.neutral, places)
    np.testing.assert_allclose(found.of(egg.neutral), places, atol=1e-4)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)


def test_mirrored_points_pair_up():
    places = np.random.default_rng(2).normal(size=(468, 3))
    places[:200, 0] = np.abs(places[:200, 0]) + 0.1
    places[200:400] = places[:200] * [-1.0, 1.0, 1.0]
    places[400:, 0] = 0.0
    expected = np.concatenate([np.arange(200, 400), np.arange(200), np.arange(400, 468)])
    np.testing.assert_array_equal(mirrored_points(places), expected)


def test_facemesh_points_of_the_builtin_head_are_its_landmarks():
    builtin = pytest.importorskip("vrn_jax.faces.builtin", reason="comes with the built-in head")
    head = builtin.builtin_head()
    points = vrn_jax.faces.portraits.facemesh_points(head)
    places = points.of(head.neutral)
    off = np.linalg.norm(places[list(FACEMESH_OF_IBUG)] - head.neutral[head.landmarks], axis=1)
    assert off[17:].mean() < 0.4  # cm; of the outline iBUG and FaceMesh have different ideas
    partner = mirrored_points(places)
    mirrored = places[partner] * [-1.0, 1.0, 1.0]
    np.testing.assert_allclose(places, mirrored, atol=0.1)  # cm; those in the middle


# -- fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [-35.0, 0.0, 20.0])
def test_a_fit_recovers_pose_and_shape(egg, egg_points, yaw):
    rng = np.random.default_rng(3)
    identity = np.array([1.0, -0.7, 0.8, 0.5], np.float32)
    expression = np.array([0.6, 0.0], np.float32)
    truth, camera = egg.shape(identity, expression), pose(yaw, 8.0)
    observed = posed(camera, egg_points.of(truth)) + rng.normal(size=(468, 3)) * [1.0, 1.0, 2.0]
    observed[:, 2] += 50.0  # its zero has no meaning
    observed[:10] += 60.0  # outliers
    fit = HeadFitter(egg, egg_points)(observed)
    scale = np.linalg.norm(fit.photo_from_head[0, :3])
    turned = Rotation.from_matrix(fit.photo_from_head[:, :3] @ camera[:, :3].T / scale / SCALE)
    assert np.degrees(turned.magnitude()) < 1.0
    off = posed(fit.photo_from_head, egg.shape(fit.identity, fit.expression)) - posed(camera, truth)
    off[:, 2] -= np.median(off[:, 2])
    face = egg.solid
    assert np.linalg.norm(off[face], axis=1).mean() / SCALE < 0.15  # cm; the neutral egg: 0.4
    neutral = np.linalg.norm(truth - egg.neutral, axis=1)[face].mean()
    assert neutral > 0.4
    assert fit.expression[0] == pytest.approx(0.6, abs=0.15)
    assert fit.expression.min() >= 0.0


def test_a_fit_to_something_else_has_a_large_residual(egg, egg_points):
    points = np.random.default_rng(4).normal(size=(468, 3)) * 40.0
    assert HeadFitter(egg, egg_points)(points).residual > 0.2


def test_bounded_solutions_meet_the_optimality_conditions():
    rng = np.random.default_rng(5)
    for _ in range(20):
        root = rng.normal(size=(30, 12))
        left, right = root.T @ root + np.eye(12), 30.0 * rng.normal(size=12)
        bounded = np.arange(12) >= 4
        x = solve_bounded(left, right, bounded)
        slope = left @ x - right
        np.testing.assert_allclose(slope[~bounded], 0.0, atol=1e-8)
        at_low, at_high = bounded & (x == 0.0), bounded & (x == 1.0)
        np.testing.assert_allclose(slope[bounded & ~at_low & ~at_high], 0.0, atol=1e-8)
        assert (slope[at_low] >= -1e-8).all()
        assert (slope[at_high] <= 1e-8).all()


# -- colours ---------------------------------------------------------------------------------------


def test_colours_come_back_where_they_are_seen_and_only_there(egg):
    camera = pose(30.0)
    paint = 128.0 + 90.0 * np.sin(egg.neutral * [0.5, 0.4, 0.3])
    sampled = sample_colours(shown(egg, camera, paint), egg, plain_fit(egg, camera))
    facing = egg_normals(egg, camera)[:, 2]
    assert (sampled.trust[facing < 0.05] == 0.0).all()
    sure = sampled.trust > 0.5
    assert sure.sum() > 0.8 * (facing > 0.6).sum()
    np.testing.assert_allclose(sampled.colours[sure], paint[sure], atol=8.0)
    assert np.abs(sampled.colours[sure] - paint[sure]).mean() < 2.0


def test_what_the_photo_cuts_off_is_not_seen(egg):
    camera = pose(0.0)
    camera[0, 3] = 40.0
    photo = shown(egg, camera, np.full((len(egg.neutral), 3), 150.0))
    sampled = sample_colours(photo, egg, plain_fit(egg, camera))
    assert (sampled.trust[posed(camera, egg.neutral)[:, 0] < 0.0] == 0.0).all()


def test_background_above_a_lower_skull_is_not_taken_for_hair(egg):
    camera, tall = pose(0.0), egg.neutral.copy()
    colours = np.full((len(egg.neutral), 3), (190.0, 150.0, 130.0))
    blue = (90, 120, 160)
    photo = shown(egg, camera, colours, blue)
    tall[:, 1] = np.where(tall[:, 1] > 0.0, tall[:, 1] * 1.25, tall[:, 1])
    fitted = make_head(
        tall,
        egg.faces,
        landmarks=egg.landmarks,
        identity=egg.identity,
        expression=egg.expression,
        solid=egg.solid,
        scalp=tall[:, 1] > 7.0,
    )
    sampled = sample_colours(photo, fitted, plain_fit(fitted, camera))
    sure = sampled.trust > 0.3
    assert np.abs(sampled.colours[sure] - [190, 150, 130]).max() < 12.0
    completed, _ = Texturer(fitted)(photo, plain_fit(fitted, camera))
    assert (completed[..., 0] > completed[..., 2]).all()


@pytest.mark.parametrize("yaw", [0.0, 25.0])
def test_a_texture_of_one_colour_in_one_light_is_one_colour(egg, yaw):
    camera, tone = pose(yaw), np.array([200.0, 150.0, 120.0])
    lamp = np.array([0.5, -0.3, 0.81])
    light = 0.7 + 0.3 * egg_normals(egg, camera) @ lamp
    photo = shown(egg, camera, tone * light[:, None])
    colours, seen = Texturer(egg)(photo, plain_fit(egg, camera))
    assert 0.4 < seen < 1.0
    ratio = colours / colours.astype(float).mean(axis=0)
    assert np.abs(ratio - 1.0).max() < 0.1  # the light alone varies by 0.4 to 1
    assert colours.mean(axis=0) == pytest.approx(tone * 0.9, rel=0.1)


def test_diffusion_stays_between_neighbours_and_is_exact_for_one_colour(egg):
    rng = np.random.default_rng(6)
    known = rng.random(len(egg.neutral)) < 0.3
    colours = rng.uniform(50.0, 200.0, (len(known), 3))
    base = np.full_like(colours, 100.0)
    filled = Diffusion(egg).fill(colours, known.astype(float), base)
    assert filled.min() >= 50.0
    assert filled.max() <= 200.0
    same = Diffusion(egg).fill(base, known.astype(float), base)
    np.testing.assert_allclose(same, base, rtol=1e-6)


def test_light_on_a_matt_ball_is_found_in_spite_of_marks():
    rng = np.random.default_rng(7)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[:, 2] = np.abs(normals[:, 2])
    light = 0.75 + 0.25 * np.maximum(normals @ [0.6, 0.0, 0.8], 0.0)
    albedo = np.where(rng.random(4000) < 0.1, 0.4, 1.0)  # beard, moles
    colours = 180.0 * (light * albedo)[:, None] * [1.0, 0.8, 0.7]
    found = shading(colours, normals, np.ones(4000))
    np.testing.assert_allclose(found / found.mean(), light / light.mean(), atol=0.05)


def test_no_skin_no_light():
    ones = np.ones((5, 3))
    np.testing.assert_array_equal(shading(100 * ones, ones, np.zeros(5)), np.ones(5))


# -- identities ------------------------------------------------------------------------------------


def test_identities_spread_as_people_do_however_little_each_fit_tells():
    rng = np.random.default_rng(8)
    true = rng.normal(size=(20000, 2)) * [2.0, 1.0] + [1.0, 0.0]
    # The posterior of a unit prior and an observation with noise of variance 1, and with none made.
    noisy = true[:, 0] + rng.normal(size=20000)
    fits = np.stack([noisy / 2.0, np.zeros(20000)], axis=1)
    found = fit_identities(fits, np.diag([0.5, 1.0]))
    covariance = found.transform @ found.transform.T
    assert covariance[0, 0] == pytest.approx((4.0 + 1.0) / 4.0 + 0.5, rel=0.05)
    assert covariance[1, 1] == pytest.approx(1.0, rel=0.01)
    drawn = found.coefficients(rng.normal(size=(20000, 2)), spread=2.0)
    np.testing.assert_allclose(np.cov(drawn.T), 4.0 * covariance, atol=0.3)


def test_few_portraits_leave_the_prior():
    none = fit_identities(np.zeros((0, 3)), np.eye(3))
    np.testing.assert_array_equal(none.transform, standard_identities(3).transform)
    one = fit_identities(np.full((1, 50), 2.0), np.eye(50) * 0.1)
    assert np.linalg.eigvalsh(one.transform @ one.transform.T).min() > 0.9


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def textures(egg) -> TextureSet:
    rng, names = np.random.default_rng(9), ("ada", "bob", "eve")
    return TextureSet(
        head=fingerprint(egg),
        names=names,
        colours=rng.integers(0, 256, (3, len(egg.neutral), 3), dtype=np.uint8),
        identity=rng.normal(size=(3, 4)).astype(np.float32),
        expression=rng.random((3, 2), np.float32),
        photo_from_head=rng.normal(size=(3, 3, 4)).astype(np.float32),
        residual=np.full(3, 0.01, np.float32),
        seen=np.full(3, 0.5, np.float32),
        held_out=np.array([is_held_out(name) for name in names]),
        identities=standard_identities(4),
    )


def test_texture_sets_survive_their_file(tmp_path, egg, textures):
    save_textures(tmp_path / "t.npz", textures)
    loaded = load_textures(tmp_path / "t.npz", egg)
    assert loaded.names == textures.names
    for name in ("colours", "identity", "expression", "photo_from_head", "held_out", "seen"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(textures, name))
    np.testing.assert_array_equal(loaded.identities.transform, np.eye(4))


def test_a_fingerprint_survives_the_head_s_file(tmp_path, egg):
    from vrn_jax.faces.head import load_head

    save_head(tmp_path / "h.npz", egg)
    assert fingerprint(load_head(tmp_path / "h.npz")) == fingerprint(egg)


def test_files_that_are_no_texture_sets_of_this_head_are_refused(tmp_path, egg, textures):
    path = tmp_path / "t.npz"
    with pytest.raises(InputError, match="no textures at"):
        load_textures(path, egg)
    save_textures(path, textures)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no texture set"):
        load_textures(path, egg)
    save_head(path, egg)
    with pytest.raises(InputError, match="no texture set"):
        load_textures(path, egg)
    path.write_bytes(whole)
    other = make_head(
        egg.neutral * 1.01,
        egg.faces,
        landmarks=egg.landmarks,
        identity=egg.identity,
        expression=egg.expression,
        solid=egg.solid,
        scalp=0.0,
    )
    with pytest.raises(InputError, match="another head"):
        load_textures(path, other)


def test_who_is_held_out_never_changes():
    names = [f"person{i}" for i in range(40)]
    held_out = [name for name in names if is_held_out(name)]
    assert held_out == ["person4", "person17", "person28"]
    for name in names:
        assert is_held_out(name) == (hashlib.sha256(name.encode()).digest()[7] % 8 == 0)


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mask_head(astronaut) -> Head:
    """FaceMesh's points of the astronaut as a head: a mask without modes to speak of."""
    (face,) = FaceDetector()(astronaut)
    assert face.facemesh is not None
    vertices = (face.facemesh - face.facemesh.mean(axis=0)) * [1.0, -1.0, 1.0]
    vertices *= 9.0 / np.linalg.norm(vertices[33] - vertices[263])
    faces = Delaunay(vertices[:, :2]).simplices
    a, b, c = (vertices[faces[:, i], :2] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]
    return make_head(
        vertices,
        np.where(area[:, None] > 0, faces, faces[:, ::-1]),
        landmarks=FACEMESH_OF_IBUG,
        identity=0.1 * np.ones((1, 468, 3)),
        expression=0.1 * np.ones((1, 468, 3)),
        solid=np.ones(468, bool),
        scalp=0.0,
    )


@pytest.fixture
def folder(tmp_path, astronaut):
    folder = tmp_path / "portraits"
    folder.mkdir()
    Image.fromarray(astronaut).save(folder / "eileen.png")
    Image.fromarray(np.full((80, 80, 3), 90, np.uint8)).save(folder / "wall.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def identity_points(head):
    index = np.arange(468)
    return SurfacePoints(np.repeat(index[:, None], 3, 1), np.tile([1.0, 0.0, 0.0], (468, 1)))


def test_the_command_uses_what_it_can_and_names_the_rest(
    tmp_path, folder, mask_head, astronaut, monkeypatch, capfd
):
    monkeypatch.setattr(vrn_jax.faces.portraits, "facemesh_points", identity_points)
    save_head(tmp_path / "head.npz", mask_head)
    output = tmp_path / "out" / "set.npz"
    output.parent.mkdir()
    arguments = [str(folder), "--head", str(tmp_path / "head.npz"), "-o", str(output)]
    options = tyro.cli(DataTextures, args=[*arguments, "--processes", "1"])
    assert data_textures(options) == 0
    out, err = capfd.readouterr()
    assert "no face found in" in err
    assert "wall.png" in err
    assert "broken.jpg is not a picture" in err
    assert "portraits used        1" in out
    assert [path.name for path in output.parent.iterdir()] == ["set.npz"]
    textures = load_textures(output, mask_head)
    assert textures.names == ("eileen",)
    assert textures.residual[0] < 0.005
    at = posed(textures.photo_from_head[0], mask_head.neutral)[[1, 5, 50, 280]].round().astype(int)
    seen = astronaut[at[:, 1], at[:, 0]].astype(float)  # nose and cheeks
    np.testing.assert_allclose(textures.colours[0][[1, 5, 50, 280]] / seen, 1.0, atol=0.35)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, folder, mask_head, monkeypatch):
    monkeypatch.setattr(vrn_jax.faces.portraits, "facemesh_points", identity_points)
    parts = tmp_path / "parts"
    first = vrn_jax.faces.portraits.read_portraits(
        mask_head, [folder / "eileen.png"], parts, processes=1, on_photo=lambda *_: None
    )

    def no_more(*_):
        raise AssertionError("a finished portrait was done again")

    monkeypatch.setattr(vrn_jax.faces.portraits, "_read_in_processes", no_more)
    again = vrn_jax.faces.portraits.read_portraits(
        mask_head, [folder / "eileen.png"], parts, processes=1, on_photo=lambda *_: None
    )
    np.testing.assert_array_equal(first.colours, again.colours)
    shutil.rmtree(parts)
    with pytest.raises(AssertionError, match="done again"):
        vrn_jax.faces.portraits.read_portraits(
            mask_head, [folder / "eileen.png"], parts, processes=1, on_photo=lambda *_: None
        )


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        data_textures(DataTextures(tmp_path / "nowhere", tmp_path / "head.npz"))
