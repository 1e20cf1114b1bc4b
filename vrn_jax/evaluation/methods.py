"""What is measured side by side: a network, and baselines that a network must beat.

The mean head and the flat plane are told the *true* 2D landmarks; the network and FaceMesh see the
photo alone, through our own detector.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import Delaunay

from vrn_jax.data.fits import crop_from_photo_space
from vrn_jax.detection.boxes import overlaps
from vrn_jax.detection.facemesh import FACEMESH_OF_IBUG
from vrn_jax.errors import NoFaceError
from vrn_jax.evaluation.cases import Case
from vrn_jax.faces.head import Head
from vrn_jax.geometry.crop import crop_from_landmarks, landmark_box
from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.mesh import grid_faces, moved
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.solid import Solid, make_solid, occupancy
from vrn_jax.geometry.transforms import apply_affine, similarity_scale
from vrn_jax.inference import Reconstructor
from vrn_jax.interop.weights import Weights
from vrn_jax.metrics.alignment import fit_similarity
from vrn_jax.metrics.baselines import fit_weak_perspective
from vrn_jax.metrics.volume import iou
from vrn_jax.types import Face, Mesh

__all__ = [
    "Method",
    "Prediction",
    "face_looked_for",
    "facemesh_surface",
    "flat_plane",
    "mean_head",
    "network",
    "without_guidance",
]

_SAME_FACE = 0.3  # intersection over union of the true landmarks' box and a found one


@dataclass(frozen=True, eq=False)
class Prediction:
    """A guess, in photo pixels, its z counted from anywhere; the volume IoU where one is known."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "68 c"] | None = None
    iou: float | None = None


Method = Callable[[Case, Sequence[Face]], Prediction]
"""Takes a case and the faces that the detector found in its photo. Raises InputError."""


def face_looked_for(case: Case, faces: Sequence[Face]) -> Face:
    """The found face whose box is most like the true one's.

    Raises:
        NoFaceError: if none was found, or none that shares three tenths with the true box.
    """
    if not faces:
        raise NoFaceError("no face found")
    boxes = np.stack([face.box for face in faces])
    shares = overlaps(landmark_box(case.landmarks), boxes)
    if shares.max() < _SAME_FACE:
        raise NoFaceError("another face found")
    return faces[int(shares.argmax())]


def network(reconstructor: Reconstructor) -> Method:
    """The network on the crop of the found face, guided by the found landmarks if it wants any."""

    def predict(case: Case, faces: Sequence[Face]) -> Prediction:
        face = face_looked_for(case, faces)
        found = reconstructor.finish(reconstructor.start([(case.photo, face)]), [0])[0]
        score = None
        if case.solid is not None:
            threshold = reconstructor.settings.threshold
            grid, place = reconstructor.info.grid, found.crop.crop_from_photo
            score = _iou(jnp.asarray(found.occupancy) > threshold, case, place, grid)
        flat = None if found.landmarks is None else found.landmarks[:, :2]
        return Prediction(found.mesh, flat, score)

    return predict


def without_guidance(weights: Weights) -> Weights:
    """A guided network that is shown no landmarks: the kernels that look at them are zero."""
    kernel = weights.variables["params"]["stem"]["conv"]["kernel"]
    blind = np.concatenate([kernel[:, :, :3], np.zeros_like(kernel[:, :, 3:])], axis=2)
    params = weights.variables["params"]
    conv = {**params["stem"]["conv"], "kernel": blind}
    params = {**params, "stem": {**params["stem"], "conv": conv}}
    return dataclasses.replace(weights, variables={**weights.variables, "params": params})


def mean_head(head: Head) -> Method:
    """A head's neutral face region in the weak perspective that fits the true 2D landmarks."""
    region = head.region_faces
    used = np.unique(region)
    number = np.full(len(head.neutral), -1)
    number[used] = np.arange(len(used))
    points = head.neutral.astype(np.float64)

    @cache
    def frontal() -> Solid:
        return _solid(
            jnp.asarray(head.neutral), jnp.asarray(region[:, ::-1]), jnp.eye(3, 4)
        )  # of no pose yet

    def predict(case: Case, _: Sequence[Face]) -> Prediction:
        flat = case.landmarks[:, :2]
        photo_from_head = _camera(points[head.landmarks], flat)
        vertices = apply_affine(photo_from_head, points)
        mesh = Mesh(vertices[used], number[region][:, ::-1], "photo")
        score = None
        if case.solid is not None:
            place = crop_from_landmarks(flat)
            own = _placed(frontal()._replace(crop_from_head=photo_from_head), place)
            score = _iou(_volume(own), case, place, VRN_GRID)
        return Prediction(mesh, vertices[head.landmarks], score)

    return predict


def flat_plane(case: Case, _: Sequence[Face]) -> Prediction:
    """A square that faces the viewer, as large as the network's crop of the true landmarks."""
    place = crop_from_landmarks(case.landmarks)
    side = np.arange(0.0, VRN_GRID.columns, 1.5)
    x, y = np.meshgrid(side, side)
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    return Prediction(
        moved(Mesh(points, grid_faces(x.shape), "crop"), np.linalg.inv(place), "photo")
    )


def facemesh_surface(case: Case, faces: Sequence[Face]) -> Prediction:
    """FaceMesh's 468 points, joined by triangles that suit the face once it is turned frontal."""
    face = face_looked_for(case, faces)
    if face.facemesh is None:
        raise NoFaceError("a face found, but no landmarks")
    points = np.asarray(face.facemesh, np.float64)
    landmarks = points[list(FACEMESH_OF_IBUG)]
    frontal = fit_similarity(landmarks, MEAN_LANDMARKS, scaled=True)(points)
    triangles = Delaunay(frontal[:, :2]).simplices.astype(np.int64)
    return Prediction(Mesh(points, triangles, "photo"), landmarks)


def _camera(
    landmarks: Float[np.ndarray, "68 3"], flat: Float[np.ndarray, "68 2"]
) -> Float[np.ndarray, "3 4"]:
    """From head centimetres to photo pixels, in the weak perspective that fits best."""
    flip = np.array([1.0, -1.0, 1.0])
    camera = fit_weak_perspective(landmarks * flip, flat)
    return np.column_stack([camera.scale * camera.rotation * flip, [*camera.translation, 0.0]])


def _placed(solid: Solid, crop_from_photo: Float[np.ndarray, "3 3"]) -> Solid:
    """A solid whose pose is in photo pixels, in crop pixels."""
    photo_from_head = np.asarray(solid.crop_from_head, np.float64)
    matrix = crop_from_photo_space(crop_from_photo, photo_from_head)
    return solid._replace(crop_from_head=jnp.asarray(matrix, jnp.float32))


def _iou(
    occupied: Bool[jax.Array, "h w d"],
    case: Case,
    crop_from_photo: Float[np.ndarray, "3 3"],
    grid: VolumeGrid,
) -> float:
    """With the true solid in the same crop, its depth where the rule of the grid puts it."""
    assert case.solid is not None
    truth = _placed(case.solid, crop_from_photo)
    planes = jnp.arange(float(grid.planes))
    if grid.origin == "landmarks":  # z = 0 is their mean, behind the front-most point
        middle = case.landmarks[:, 2].mean() * similarity_scale(crop_from_photo)
        planes += middle / grid.plane_depth
    return float(iou(occupied, _volume(truth, grid, planes)))


_solid = jax.jit(make_solid)
_volume = jax.jit(occupancy, static_argnames="grid")
