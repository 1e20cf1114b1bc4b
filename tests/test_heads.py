"""Morphable heads: the built-in one, those made of ICT-FaceKit's files, and the file in between."""

from importlib.resources import files

import numpy as np
import pytest
from ict_folder import EXPRESSIONS, write_folder
from scipy.ndimage import binary_fill_holes

from vrn_jax.cli import main
from vrn_jax.errors import InputError
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.head import MASKS, PARTS, load_head, save_head
from vrn_jax.faces.ict import ict_head
from vrn_jax.faces.ict_files import read_ict
from vrn_jax.faces.regions import SWAPPED
from vrn_jax.faces.smoothing import catmull_clark
from vrn_jax.faces.topology import carried, refined, triangles
from vrn_jax.geometry.rasterize import rasterize

PIXELS_PER_CM = 12.0


@pytest.fixture(scope="module")
def head():
    return builtin_head()


def pulled(head, seed=None, **weights):
    """The vertices of a random person (or the mean one) with some expressions."""
    identity = np.zeros(len(head.identity), np.float32)
    if seed is not None:
        identity = np.random.default_rng(seed).normal(size=len(identity)).astype(np.float32)
    expression = np.zeros(len(head.expression), np.float32)
    for name, weight in weights.items():
        expression[head.expression_names.index(name)] = weight
    return head.shape(identity, expression)


def seen(vertices, faces, yaw_deg=0.0):
    """Which pixels show the front of a face, from in front or the side."""
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turned = vertices @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T
    placed = (turned * [1, -1, 1] + [20, 20, 0]) * PIXELS_PER_CM
    shape = (int(40 * PIXELS_PER_CM),) * 2
    return rasterize(placed, faces[:, ::-1], shape).face >= 0


def solid_faces(head):
    return head.faces[head.solid[head.faces].all(axis=1)]


def edge_lengths(head, faces):
    corners = head.neutral[faces]
    return np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)


def test_the_asset_is_small_and_the_head_of_real_size(head):
    assert files("vrn_jax.assets").joinpath("head.npz").stat().st_size <= 4_000_000
    assert len(head.faces) <= 65_535  # face ids of the renderer have 16 bits
    assert 50 <= len(head.identity) <= 80
    assert 30 <= len(head.expression) <= 60
    marks = head.neutral[head.landmarks]
    assert 8.0 < np.linalg.norm(marks[36] - marks[45]) < 10.0
    assert 10.0 < np.linalg.norm(marks[8] - marks[27]) < 13.0  # chin to the root of the nose
    assert set(PARTS) - {"lashes"} == {PARTS[k] for k in np.unique(head.part)}
    assert builtin_head() is head


def test_no_edge_that_a_camera_sees_is_longer_than_the_renderer_likes(head):
    placed = (head.neutral * [1, -1, 1] + [20, 20, 0]) * PIXELS_PER_CM
    drawn = rasterize(placed, head.faces[:, ::-1], (480, 480)).face
    face = np.intersect1d(drawn, np.flatnonzero(head.solid[head.faces].all(axis=1)))
    assert len(face) > 10_000
    assert edge_lengths(head, head.faces[face]).max() < 0.43
    assert edge_lengths(head, head.faces).max() < 0.85


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("jaw", [0.0, 1.0])
def test_no_ray_from_the_front_goes_through_the_head(head, seed, jaw):
    vertices = pulled(head, seed, jawOpen=jaw)
    for yaw_deg in (0, -45):
        mask = seen(vertices, head.faces, yaw_deg)
        assert mask.sum() > 40_000
        assert np.array_equal(mask, binary_fill_holes(mask))
    mask = seen(vertices, solid_faces(head))
    assert np.array_equal(mask, binary_fill_holes(mask))


def test_faces_are_wound_outward(head):
    """From in front, the front of a closed surface hides its back wherever both are drawn."""
    placed = (head.neutral * [1, -1, 1] + [20, 20, 0]) * PIXELS_PER_CM
    shape = (int(40 * PIXELS_PER_CM),) * 2
    fronts = rasterize(placed, head.faces[:, ::-1], shape)
    backs = rasterize(placed, head.faces, shape)
    both = (fronts.face >= 0) & (backs.face >= 0)
    both &= ~np.isin(np.arange(shape[0]), np.arange(int(27 * PIXELS_PER_CM), shape[0]))[:, None]

    def depth(drawn, faces):
        z = placed[faces[drawn.face[both]], 2]
        return (z * drawn.weights[both]).sum(axis=1)

    nearer = depth(fronts, head.faces[:, ::-1]) > depth(backs, head.faces)
    assert both.sum() > 30_000
    assert nearer.mean() > 0.999
    for name in ("sclera", "iris"):
        mine = head.part == PARTS.index(name)
        for side in (-1, 1):
            eye = mine & (side * head.neutral[:, 0] > 0)
            corner = head.neutral[head.faces[eye[head.faces].all(axis=1)]]
            centre = head.neutral[(head.part == 1) & (side * head.neutral[:, 0] > 0)].mean(axis=0)
            normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
            assert ((normal * (corner.mean(axis=1) - centre)).sum(axis=1) > 0).all()


def test_left_and_right_mirror_each_other(head):
    everyone = np.arange(len(head.neutral))
    assert (head.mirror[head.mirror] == everyone).mean() > 0.995
    reflected = head.neutral[head.mirror] * [-1, 1, 1]
    distance = np.linalg.norm(reflected - head.neutral, axis=1)
    assert np.quantile(distance, 0.99) < 0.01
    assert np.array_equal(head.part[head.mirror], head.part)
    assert np.abs(head.masks[head.mirror] - head.masks)[distance < 1e-3].max() < 0.02
    assert np.array_equal(head.mirror[head.landmarks], head.landmarks[SWAPPED])


def test_landmarks_stand_in_anatomical_order(head):
    marks = head.neutral[head.landmarks]
    x, y, z = marks.T
    assert (np.diff(x[:17]) > 0).all()  # jaw, from the viewer's left
    assert y[:17].argmin() == 8
    assert (np.diff(y[:9]) < 0).all()
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (y[17:27] > y[36:48].max()).all()
    assert (np.diff(y[27:31]) < 0).all()  # down the ridge of the nose
    assert z[27:36].argmax() == 30 - 27
    assert (np.diff(x[31:36]) > 0).all()
    assert x[36] < x[[37, 41]].min() < x[[38, 40]].max() < x[39]
    assert y[[37, 38]].min() > y[[36, 39]].max() - 0.1 > y[[40, 41]].max() - 0.3
    assert (np.diff(x[48:55]) > 0).all()  # lips
    assert x[48] < x[60] < x[61] < x[62] < x[63] < x[64] < x[54]
    assert y[51] > y[62] >= y[66] > y[57] > y[8]
    eye = head.part == PARTS.index("sclera")
    left = head.neutral[eye & (head.neutral[:, 0] < 0)]
    assert np.linalg.norm(left - marks[40], axis=1).min() < 0.3  # the lid touches the ball


def test_the_solid_is_the_face_without_ears_neck_and_hair(head):
    marks, points = head.neutral[head.landmarks], head.neutral[head.solid]
    assert np.abs(points[:, 0]).max() < np.abs(marks[[0, 16], 0]).max() + 0.7
    assert np.abs(head.neutral[:, 0]).max() > np.abs(points[:, 0]).max() + 1.0
    assert marks[8, 1] - 1.0 < points[:, 1].min() < marks[8, 1]
    brows = marks[17:27, 1].max()
    assert brows + 3.5 < points[:, 1].max() < brows + 5.0
    assert head.solid[head.landmarks].all()
    scalp = head.masks[:, MASKS.index("scalp")] > 0.9
    assert (head.solid & scalp).sum() < 0.1 * scalp.sum()  # the temples


def test_masks_lie_where_their_names_say(head):
    marks = head.neutral[head.landmarks]

    def centre(name):
        weight = head.masks[:, MASKS.index(name)] * (head.neutral[:, 0] > 0)
        assert weight.max() > 0.9
        return (head.neutral * weight[:, None]).sum(axis=0) / weight.sum()

    assert head.masks.min() >= 0
    assert head.masks.max() <= 1
    assert (head.masks[head.part != 0] == 0).all()
    assert marks[57, 1] < centre("lips")[1] < marks[51, 1]
    assert np.abs(centre("brows")[1] - marks[22:27, 1].mean()) < 0.6
    assert marks[8, 1] - 1.0 < centre("beard")[1] < marks[33, 1]
    assert marks[54, 1] < centre("moustache")[1] < marks[33, 1]
    assert centre("scalp")[2] < marks[0, 2]
    assert centre("scalp")[1] > marks[19, 1]
    assert marks[54, 1] < centre("cheeks")[1] < marks[46, 1]
    assert np.abs(centre("lids")[1] - marks[42:48, 1].mean()) < 0.5
    level = (head.neutral[:, 1] > marks[33, 1]) & (head.neutral[:, 1] < marks[19, 1] + 1.0)
    ears = level & (np.abs(head.neutral[:, 0]) > np.abs(marks[0, 0]) + 1.0)
    assert ears.sum() > 300
    assert head.masks[ears][:, [MASKS.index("scalp"), MASKS.index("beard")]].max() < 0.05
    assert not head.solid[ears].any()
    lips, moustache = (head.masks[:, MASKS.index(name)] for name in ("lips", "moustache"))
    assert (lips * moustache).max() < 0.3


def test_expressions_do_what_they_are_called(head):
    def gap(vertices, above, below):
        return (vertices[head.landmarks[above]] - vertices[head.landmarks[below]])[:, 1].mean()

    lips, lids = ([61, 62, 63], [67, 66, 65]), ([37, 38], [41, 40])
    rest = pulled(head)
    assert 0 < gap(rest, *lips) < 0.4
    assert gap(pulled(head, jawOpen=1), *lips) > 2.0
    assert gap(pulled(head, eyeBlink_L=1, eyeBlink_R=1), *lids) < 0.35 * gap(rest, *lids)
    smile = pulled(head, mouthSmile_L=1, mouthSmile_R=1)[head.landmarks]
    assert np.ptp(smile[[48, 54], 0]) > np.ptp(rest[head.landmarks[[48, 54]], 0]) + 0.5
    pucker = pulled(head, mouthPucker=1)[head.landmarks]
    assert np.ptp(pucker[[48, 54], 0]) < np.ptp(rest[head.landmarks[[48, 54]], 0]) - 0.5
    frown = pulled(head, browDown_L=1, browDown_R=1)[head.landmarks[17:27], 1]
    assert (rest[head.landmarks[17:27], 1] - frown).mean() > 0.2


def test_people_differ_as_real_ones_do(head):
    """Noses, chins and the distance of the eyes vary by millimetres, not by centimetres."""
    weights = np.random.default_rng(0).normal(size=(500, len(head.identity)))
    people = head.neutral[head.landmarks] + np.tensordot(
        weights, head.identity[:, head.landmarks], 1
    )
    assert 0.2 < people[:, 30, 2].std() < 1.2
    assert 0.2 < people[:, 8, 1].std() < 1.2
    assert 0.1 < np.linalg.norm(people[:, 36] - people[:, 45], axis=1).std() < 0.8
    skewed = people - people[:, SWAPPED] * [-1, 1, 1]
    assert np.abs(skewed).mean() < 0.2


def test_a_saved_head_comes_back(head, tmp_path):
    path = tmp_path / "head.npz"
    save_head(path, head)
    again = load_head(path)
    for name in ("neutral", "faces", "mirror", "landmarks", "part", "solid"):
        assert np.array_equal(getattr(again, name), getattr(head, name)), name
    for name in ("identity", "expression", "masks"):
        np.testing.assert_allclose(getattr(again, name), getattr(head, name), atol=2e-3)
    assert again.expression_names == head.expression_names
    assert again.source == head.source
    data = path.read_bytes()
    for damaged in (b"", b"no archive", data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="no head file"):
            load_head(path)
    with pytest.raises(InputError, match="there is no head file"):
        load_head(tmp_path / "none.npz")
    np.savez(path, neutral=head.neutral)
    with pytest.raises(InputError, match="no head file"):
        load_head(path)


def test_ict_files_give_their_differences_as_modes(tmp_path):
    egg, modes = write_folder(tmp_path / "ICT-FaceKit" / "FaceXModel")
    asked = []
    model = read_ict(tmp_path / "ICT-FaceKit", progress=lambda files: asked.extend(files) or files)
    assert [path.stem for path in asked] == ["identity000", "identity001", *EXPRESSIONS]
    np.testing.assert_allclose(model.neutral, egg.points, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([model.identity, model.expression]), modes, atol=1e-5)
    assert model.expression_names == EXPRESSIONS
    assert np.array_equal(model.quads, egg.quads)
    assert [model.materials[k] for k in model.material] == egg.materials
    head = ict_head(model)
    np.testing.assert_allclose(head.neutral[head.landmarks], egg.points[egg.landmarks], atol=1e-5)
    np.testing.assert_allclose(
        head.expression[1, head.landmarks], modes[3, egg.landmarks], atol=1e-5
    )
    assert edge_lengths(head, head.faces).max() < 0.85
    mask = seen(head.neutral, solid_faces(head))
    assert mask.sum() > 10_000
    assert np.array_equal(mask, binary_fill_holes(mask))
    iris = head.neutral[head.part == PARTS.index("iris")]
    assert iris[:, 2].min() > 9.0


def test_the_command_line_makes_a_head_and_reads_it(tmp_path, capsys):
    write_folder(tmp_path / "FaceXModel")
    out = tmp_path / "made.npz"
    assert main(["data", "head", str(tmp_path), "-o", str(out)]) == 0
    assert load_head(out).expression_names == EXPRESSIONS
    assert main(["data", "info", str(out)]) == 0
    assert "2 identity modes, 2 expressions" in capsys.readouterr().out
    assert main(["data", "info"]) == 0
    assert "CC0" in capsys.readouterr().out


def spoil(folder, what):
    if what == "nan":
        text = (folder / "identity001.obj").read_text()
        (folder / "identity001.obj").write_text(text.replace("v ", "v nan ", 1))
    elif what == "count":
        lines = (folder / "jawOpen.obj").read_text().splitlines()
        (folder / "jawOpen.obj").write_text("\n".join(lines[:-1]))
    elif what == "word":
        (folder / "identity000.obj").write_text("v 1 2 three\n")
    elif what == "gap":
        (folder / "identity000.obj").rename(folder / "identity005.obj")
    elif what == "landmarks":
        (folder / "vertex_indices.json").write_text(
            '{"expressions": [], "idx_to_landmark_verts": [99999' + ", 1" * 67 + "]}"
        )
    elif what == "material":
        path = folder / "generic_neutral_mesh.obj"
        path.write_text(path.read_text().replace("M_ScleraLeft", "M_Else"))
    else:
        (folder / what).unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "identity001.obj cannot be used: vertex 1 is"),
        ("count", "jawOpen.obj has"),
        ("word", "identity000.obj has a vertex that is not three numbers"),
        ("gap", "has no identity000.obj"),
        ("eyeBlink_L.obj", "cannot read .*eyeBlink_L.obj"),
        ("generic_neutral_mesh.obj", "cannot read .*generic_neutral_mesh.obj"),
        ("vertex_indices.json", "cannot read .*vertex_indices.json"),
        ("landmarks", "vertices up to 99999"),
        ("material", "M_ScleraLeft missing"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, what, message):
    folder = tmp_path / "FaceXModel"
    write_folder(folder)
    spoil(folder, what)
    with pytest.raises(InputError, match=message):
        ict_head(read_ict(tmp_path))


def test_neither_folder_nor_archive(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        read_ict(tmp_path / "nowhere")
    (tmp_path / "some.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="no packed ICT-FaceKit"):
        read_ict(tmp_path / "some.npz")


def test_halved_edges_carry_values_linearly():
    """On a plane any linear function is kept, areas add up, and neighbours share their middles."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 5, (4, 2)), np.zeros((4, 1))], axis=1)
    points[:, :2] = [[0, 0], [5, 0.3], [4.6, 4.9], [-0.2, 5.2]]
    faces, quad = triangles(points, np.array([[0, 1, 2, 3]]))
    assert quad.tolist() == [0, 0]
    finer = refined(points, faces, np.array([1.0, 1.0, 0.3, 1.0]))
    everything = carried(points, finer.parents)
    corner = everything[finer.faces]
    length = np.linalg.norm(corner - np.roll(corner, -1, axis=1), axis=2)
    assert length.max() <= 1.0 + 1e-3
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2] / 2
    x, y = points[:, 0], points[:, 1]
    shoelace = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
    assert (area > 0).all()
    np.testing.assert_allclose(area.sum(), shoelace)
    linear = points @ [2.0, -3.0, 1.0]
    np.testing.assert_allclose(carried(linear, finer.parents), everything @ [2.0, -3.0, 1.0])
    edges = np.sort(np.stack([finer.faces, np.roll(finer.faces, -1, 1)], 2).reshape(-1, 2), axis=1)
    uses = np.unique(edges, axis=0, return_counts=True)[1]
    assert uses.max() == 2
    assert len(everything) - len(uses) + len(finer.faces) == 1  # Euler: a disc


def test_catmull_clark_of_a_cube_and_of_a_sheet():
    """The published rule on a cube: corners go to 5/9, middles of edges to 3/4; rims stay rims."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array(
        [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    )
    smoothed = catmull_clark(quads, 8)
    points = smoothed.new_from_old @ corners
    assert smoothed.quads.shape == (24, 4)
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), [[0, 0, 1]] * 6)
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), [0.0]), axis=-1).reshape(-1, 3)
    k = np.array([[4 * r + c for c in range(3)] for r in range(3)]).ravel()
    sheet = catmull_clark(np.stack([k, k + 1, k + 5, k + 4], axis=1), 16)
    flat = sheet.new_from_old @ grid
    np.testing.assert_allclose(flat[:, 2], 0)
    inner = [5, 6, 9, 10]
    np.testing.assert_allclose(flat[inner], grid[inner])
    np.testing.assert_allclose(flat[1, 1], 0)  # the straight rim
    corner = flat[sheet.quads]
    edges = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2]
    assert (edges > 0).all()
