"""A reconstructed face as people will see it: in three.js and model-viewer, beside our own picture.

The viewers know nothing of our code, so a mirrored texture, a flipped axis, a face inside out or a
wrong scale shows here, whatever the renderer and the writer may share.
"""

from pathlib import Path

import numpy as np
import pytest
from glb_viewer import BACKGROUND, GlbViewer, silhouette_iou

import vrn_jax
from vrn_jax.geometry.mesh import in_metres
from vrn_jax.geometry.texture import texture_from_photo
from vrn_jax.io.mesh import write_mesh
from vrn_jax.preview import render

pytestmark = pytest.mark.browser

SIZE, VIEW_WIDTH = 384, 0.24  # pixels, metres


@pytest.fixture(scope="module")
def face(astronaut_face) -> vrn_jax.Mesh:
    textured = texture_from_photo(astronaut_face.mesh, astronaut_face.photo)
    return in_metres(textured, astronaut_face.metres_per_pixel)


@pytest.fixture(scope="module")
def face_glb(face, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.glb"
    write_mesh(path, face, extras={"scale": "outer eye corners are 0.09 m apart"})
    return path


def ours(face: vrn_jax.Mesh, yaw_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Our picture, and where the mesh is in it."""
    view = {"yaw_deg": yaw_deg, "size": SIZE, "view_width": VIEW_WIDTH}
    picture = render(face, **view, background=BACKGROUND)
    other = render(face, **view, background=(0, 0, 0))
    return picture, (picture == other).all(axis=2)


@pytest.mark.parametrize("yaw_deg", [0.0, 40.0, -40.0, 90.0, 180.0])
def test_our_picture_is_what_threejs_shows(glb_viewer: GlbViewer, face, face_glb, yaw_deg):
    picture, mask = ours(face, yaw_deg)
    seen, seen_mask = glb_viewer.render_three(face_glb, yaw_deg, VIEW_WIDTH, SIZE)
    # A pixel of outline each way is 0.985 at this size, so this is agreement to half a pixel.
    assert silhouette_iou(mask, seen_mask) > 0.99
    both = mask & seen_mask
    difference = np.abs(picture[both].astype(int) - seen[both])
    assert difference.mean() < 3  # of 255; ours is antialiased, theirs is not
    mirrored = np.abs(picture[:, ::-1][both].astype(int) - seen[both])
    if yaw_deg != 180:  # whose colours are nearly symmetric
        assert mirrored.mean() > 4 * difference.mean()


@pytest.mark.parametrize("yaw_deg", [0.0, 40.0])
def test_model_viewer_shows_the_same_face(glb_viewer: GlbViewer, face, face_glb, yaw_deg):
    picture, mask = ours(face, yaw_deg)
    seen, seen_mask = glb_viewer.render_model_viewer(face_glb, yaw_deg, VIEW_WIDTH, SIZE)
    assert silhouette_iou(mask, seen_mask) > 0.985
    both = mask & seen_mask
    # Lit and tone mapped, so brightness differs; what is light and dark does not.
    grey = [image[both].mean(axis=1) for image in (picture, seen)]
    assert np.corrcoef(*grey)[0, 1] > 0.85


def test_the_file_is_valid(glb_viewer: GlbViewer, face_glb):
    issues = glb_viewer.validate(face_glb)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
