"""What people see when they open a GLB file: the viewers' pictures against closed forms.

The first section checks the viewers on a box whose every pixel is known in advance. The
comparisons of the project's own renderer with them go into a section after it.
"""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from glb_viewer import (
    BACKGROUND,
    GlbViewer,
    ViewerError,
    silhouette_iou,
)
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

pytestmark = pytest.mark.browser

# ------------------------------------------------------------------------------------------------
# A box seen at one millimetre, and one texel of its front, a pixel

VIEW_WIDTH, SIZE = 0.32, 320
LOW, HIGH = np.array([[-0.06, -0.12, -0.02], [0.10, 0.08, 0.10]])  # x right, y up, z front, metres
ROWS = slice(80, 280)  # y from 0.08 down to -0.12
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _front() -> UInt8[np.ndarray, "200 160 3"]:
    """Red left, blue right, a green stripe on top, and an F in colours of middling brightness."""
    image = Image.new("RGB", (160, 200), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 0, 159, 199), fill=BLUE)
    draw.rectangle((0, 0, 159, 29), fill=GREEN)
    draw.rectangle((60, 60, 69, 159), fill=(200, 120, 40))
    draw.rectangle((70, 60, 119, 69), fill=(13, 97, 151))
    draw.rectangle((70, 100, 99, 109), fill=(64, 64, 65))
    return np.asarray(image)


def _box(upside_down: bool = False) -> trimesh.Trimesh:
    """A box with `_front` on its front; its sides continue the edges and its back is green.

    `upside_down` is the usual mistake: v counted from the wrong end.
    """
    corners = trimesh.creation.box(bounds=[LOW, HIGH])
    normals = corners.face_normals.repeat(3, axis=0)
    vertices = corners.vertices[corners.faces].reshape(-1, 3)
    uv = ((vertices - LOW) / (HIGH - LOW))[:, :2]
    edge_texel = 0.5 / np.array([160, 200])
    aside = np.abs(normals[:, 0]) > 0.5
    uv[aside, 0] = uv[aside, 0].clip(edge_texel[0], 1 - edge_texel[0])
    uv[normals[:, 2] < -0.5] = [edge_texel[0], 0.95]
    if upside_down:
        uv[:, 1] = 1 - uv[:, 1]
    box = trimesh.Trimesh(vertices, np.arange(36).reshape(12, 3), process=False)
    texture = PBRMaterial(
        baseColorTexture=Image.fromarray(_front()), metallicFactor=0, roughnessFactor=1
    )
    box.visual = TextureVisuals(uv=uv, material=texture)
    return box


def _mirrored(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Left and right exchanged, the outside still outside."""
    return trimesh.Trimesh(
        mesh.vertices * [-1, 1, 1], mesh.faces[:, ::-1], visual=mesh.visual, process=False
    )


def _expected(yaw_deg: int) -> UInt8[np.ndarray, "320 320 3"]:
    """The picture of the box: where each face must appear, and in which colours."""
    front = _front()
    columns, colours = {
        0: (slice(100, 260), front),  # x from -0.06 to 0.10
        90: (slice(60, 180), front[:, -1:]),  # -z from -0.10 to 0.02, the side at +x
        180: (slice(60, 220), np.array(GREEN, np.uint8)),  # -x from -0.10 to 0.06, the back
        -90: (slice(140, 260), front[:, :1]),  # z from -0.02 to 0.10, the side at -x
    }[yaw_deg]
    picture = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    picture[ROWS, columns] = colours
    return picture


def _inside(picture: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    return (picture != BACKGROUND).any(axis=-1)


@pytest.fixture(scope="module")
def box_glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "box.glb"
    _box().export(path)
    return path


@pytest.mark.parametrize("yaw_deg", [0, 90, 180, -90])
def test_three_shows_every_pixel_of_the_box(glb_viewer: GlbViewer, box_glb: Path, yaw_deg: int):
    rgb, mask = glb_viewer.render_three(box_glb, yaw_deg, VIEW_WIDTH, SIZE)
    expected = _expected(yaw_deg)
    np.testing.assert_array_equal(mask, _inside(expected))
    np.testing.assert_array_equal(rgb, expected)


def test_three_moves_and_scales_with_the_view(glb_viewer: GlbViewer, box_glb: Path):
    _, mask = glb_viewer.render_three(box_glb, 0, 2 * VIEW_WIDTH, SIZE, centre=(0.04, -0.02, 5.0))
    rows, columns = np.nonzero(mask)
    # Half the size, 20 pixels further left and 10 higher; the box is 160 mm wide and 200 mm high.
    assert (columns.min(), columns.max() + 1) == (110, 190)
    assert (rows.min(), rows.max() + 1) == (110, 210)


def test_a_mirrored_box_is_told_apart(glb_viewer: GlbViewer, tmp_path: Path):
    path = tmp_path / "mirrored.glb"
    _mirrored(_box()).export(path)
    rgb, _ = glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
    np.testing.assert_array_equal(rgb, _expected(0)[:, ::-1])
    assert (rgb != _expected(0)).any(axis=-1)[ROWS].mean() > 0.3


def test_an_upside_down_texture_is_told_apart(glb_viewer: GlbViewer, tmp_path: Path):
    path = tmp_path / "upside_down.glb"
    _box(upside_down=True).export(path)
    rgb, _ = glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
    np.testing.assert_array_equal(rgb[ROWS], _expected(0)[ROWS][::-1])
    assert (rgb != _expected(0)).any(axis=-1)[ROWS].mean() > 0.1


def test_an_inside_out_box_shows_the_inside_of_its_back(glb_viewer: GlbViewer, tmp_path: Path):
    box, path = _box(), tmp_path / "inside_out.glb"
    box.faces = box.faces[:, ::-1]
    box.export(path)
    rgb, mask = glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
    np.testing.assert_array_equal(mask, _inside(_expected(0)))
    assert (rgb[mask] == GREEN).all()


def test_vertex_colours_are_linear_light(glb_viewer: GlbViewer, tmp_path: Path):
    """glTF 2.0, 3.7.2.1 and 3.9.2: COLOR_0 multiplies the base colour and is linear."""
    box, path = _box(), tmp_path / "grey.glb"
    grey = np.tile(np.array([128, 128, 128, 255], np.uint8), (len(box.vertices), 1))
    box.visual = ColorVisuals(box, vertex_colors=grey)
    box.export(path)
    rgb, mask = glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
    srgb = 1.055 * (128 / 255) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(rgb[mask], 255 * srgb, atol=1)


@pytest.mark.parametrize("yaw_deg", [0, 90, -90])
def test_model_viewer_shows_the_box(glb_viewer: GlbViewer, box_glb: Path, yaw_deg: int):
    rgb, mask = glb_viewer.render_model_viewer(box_glb, yaw_deg, VIEW_WIDTH, SIZE)
    expected = _expected(yaw_deg)
    assert silhouette_iou(mask, _inside(expected)) > 0.99  # the mirrored box has 0.60 at yaw 0
    # Light and tone mapping change the colours but not which of red, green and blue is strongest.
    pure = expected.sum(axis=-1) == 255
    assert (rgb.argmax(axis=-1) == expected.argmax(axis=-1))[pure].mean() > 0.99


def test_the_box_is_valid(glb_viewer: GlbViewer, box_glb: Path):
    issues = glb_viewer.validate(box_glb)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_a_damaged_file_is_an_error(glb_viewer: GlbViewer, box_glb: Path, tmp_path: Path):
    path = tmp_path / "cut.glb"
    path.write_bytes(box_glb.read_bytes()[:-100])
    assert glb_viewer.validate(path)["issues"]["numErrors"] > 0
    with pytest.raises(ViewerError):
        glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
    with pytest.raises(ViewerError, match="cannot load"):
        glb_viewer.render_model_viewer(path, 0, VIEW_WIDTH, SIZE)


@pytest.mark.parametrize("address", ["http://example.com/a.png", "beside.png"])
def test_a_file_that_needs_another_is_an_error(glb_viewer: GlbViewer, tmp_path: Path, address: str):
    box, path = _box(), tmp_path / "elsewhere.glb"
    box.export(path)
    glb = path.read_bytes()
    image = glb.index(b'"bufferView"', glb.index(b'"images"'))
    end = glb.index(b"}", image)
    uri = f'"uri":"{address}"'.encode()
    path.write_bytes(glb[:image] + uri.ljust(end - image) + glb[end:])
    with pytest.raises(ViewerError, match=f"asked for .*{address}"):
        glb_viewer.render_three(path, 0, VIEW_WIDTH, SIZE)
