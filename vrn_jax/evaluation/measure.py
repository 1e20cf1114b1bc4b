"""The errors of one guess, and the loop over cases, methods and errors.

Everything is compared in the crop around the true landmarks, 192 x 192 pixels, so an error weighs
the same in photos of any size. A photo does not tell how far away a face is: z is shifted first, by
the median difference of the two visible surfaces inside the face (the hull of the 51 inner
landmarks); nothing else is aligned unless the metric's name says so.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from vrn_jax.errors import InputError
from vrn_jax.evaluation.cases import Case, Cases
from vrn_jax.evaluation.methods import Method, Prediction
from vrn_jax.geometry.crop import crop_from_landmarks
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.mesh import moved
from vrn_jax.geometry.transforms import apply_similarity
from vrn_jax.metrics.depth import depth_error, height_at, landmark_depth_error, mesh_front
from vrn_jax.metrics.hull import inside_hull
from vrn_jax.metrics.icp import correspondence_nme
from vrn_jax.metrics.landmarks import INNER, box_size, landmark_nme, outer_interocular
from vrn_jax.metrics.point_set import PointSet, mesh_points
from vrn_jax.metrics.points import chamfer, f_score, match_nearest, normal_consistency
from vrn_jax.types import Face, Mesh

__all__ = ["ICP_LIMIT", "METRICS", "Row", "evaluate", "measure"]

METRICS = (
    "depth_error",
    "coverage",
    "landmark_depth",
    "nme",
    "nme_aligned",
    "chamfer",
    "f_score",
    "normal_consistency",
    "landmarks_2d",
    "landmarks_3d",
    "iou",
)

ICP_LIMIT = 0.2
"""Root mean square distance that ICP may leave, in eye distances; beyond it there is no score."""

_F_SCORE_WITHIN = 0.03  # eye distances: 2.7 mm where the outer eye corners are 90 mm apart
_VISIBLE_WITHIN_PX = 3.0
_LONGEST_EDGE_PX = 1.5
_SHAPE = VRN_GRID.shape[:2]


class Row(NamedTuple):
    """One method on one case. What is not in `values` was not measured; `failure` says why, and is
    empty where all that the data allow was.
    """

    name: str
    method: str
    yaw: float
    groups: dict[str, str]
    values: dict[str, float]
    failure: str = ""


def evaluate(
    cases: Cases,
    methods: Mapping[str, Method],
    find_faces: Callable[[np.ndarray], list[Face]],
    indices: range,
) -> Iterator[list[Row]]:
    """For each case the rows of all methods. Detection runs once a photo.

    A method that cannot do with what it got is a failure in its row; a case that cannot be read is
    one in the rows of all methods.
    """
    for index in indices:
        try:
            case = cases[index]
        except InputError as error:
            unread = Row(f"case {index}", "", np.nan, {}, {}, _first_line(error))
            yield [unread._replace(method=name) for name in methods]
            continue
        faces = find_faces(case.photo)
        rows = []
        for name, method in methods.items():
            try:
                values, failure = measure(case, method(case, faces))
            except InputError as error:
                values, failure = {}, _first_line(error)
            rows.append(Row(case.name, name, case.yaw, case.groups, values, failure))
        yield rows


def measure(case: Case, prediction: Prediction) -> tuple[dict[str, float], str]:
    """The errors that the data allow, and what went wrong, empty if nothing did.

    Raises:
        InputError: if landmarks or mesh are impossible.
    """
    place = crop_from_landmarks(case.landmarks)
    truth = apply_similarity(place, case.landmarks)
    values = _landmark_errors(prediction.landmarks, truth, place)
    if prediction.iou is not None:
        values["iou"] = prediction.iou
    if truth.shape[1] == 2:
        return values, ""
    guess = moved(prediction.mesh, place, "crop")
    front = mesh_front(guess, _SHAPE)
    surface = None if case.surface is None else moved(case.surface, place, "crop")
    true_front = None if surface is None else mesh_front(surface, _SHAPE)
    values |= _landmark_depth(case.visible, truth, front, true_front)
    if surface is None or true_front is None:
        return values, "" if "landmark_depth" in values else "no surface where the face is"
    values |= _depth(front, true_front, truth)
    if "depth_error" not in values:
        return values, "no surface where the face is"
    eyes = float(outer_interocular(truth))
    region = np.asarray(inside_hull(jnp.asarray(truth[INNER, :2]), _SHAPE))
    both = region & np.isfinite(front) & np.isfinite(true_front)
    shift = float(np.median(true_front[both] - front[both]))
    values |= _surface_errors(front + shift, true_front, region, eyes)
    try:
        shifted = dataclasses.replace(guess, vertices=guess.vertices + np.array([0.0, 0.0, shift]))
        found = correspondence_nme(
            mesh_points(_dense(shifted)), mesh_points(surface), eyes, limit=ICP_LIMIT
        )
    except InputError as error:
        return values, _first_line(error)
    return values | {"nme": found.unaligned, "nme_aligned": found.aligned}, ""


def _landmark_errors(
    points: Float[np.ndarray, "68 c"] | None,
    truth: Float[np.ndarray, "68 _"],
    place: Float[np.ndarray, "3 3"],
) -> dict[str, float]:
    if points is None:
        return {}
    guess, size = apply_similarity(place, points.astype(np.float64)), box_size(truth)
    values = {"landmarks_2d": float(landmark_nme(guess[:, :2], truth[:, :2], size))}
    if guess.shape[1] == truth.shape[1] == 3:
        guess[:, 2] += np.median(truth[:, 2] - guess[:, 2])
        values["landmarks_3d"] = float(landmark_nme(guess, truth, size))
    return values


def _landmark_depth(
    visible: Bool[np.ndarray, " 68"] | None,
    truth: Float[np.ndarray, "68 3"],
    front: Float[np.ndarray, "h w"],
    true_front: Float[np.ndarray, "h w"] | None,
) -> dict[str, float]:
    """Over the landmarks that the data call visible, else those on the true front, else all."""
    points = jnp.asarray(truth)
    if visible is None:
        visible = np.ones(68, bool)
        if true_front is not None:
            visible = truth[:, 2] > np.asarray(height_at(jnp.asarray(true_front), points)) - (
                _VISIBLE_WITHIN_PX
            )
    z = height_at(jnp.asarray(front), points)
    error = landmark_depth_error(z, points, jnp.asarray(visible)).error
    return {"landmark_depth": float(error)} if np.isfinite(error) else {}


def _depth(
    front: Float[np.ndarray, "h w"],
    true_front: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "68 3"],
) -> dict[str, float]:
    error, coverage = depth_error(jnp.asarray(front), jnp.asarray(true_front), jnp.asarray(truth))
    values = {"depth_error": float(error), "coverage": float(coverage)}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _surface_errors(
    front: Float[np.ndarray, "h w"],
    true_front: Float[np.ndarray, "h w"],
    region: Bool[np.ndarray, "h w"],
    eyes: float,
) -> dict[str, float]:
    """Of the visible surfaces inside the face, as points a pixel apart."""
    try:
        matches = match_nearest(_front_points(front, region), _front_points(true_front, region))
    except InputError:
        return {}
    return {
        "chamfer": chamfer(matches) / eyes,
        "f_score": f_score(matches, _F_SCORE_WITHIN * eyes),
        "normal_consistency": normal_consistency(matches),
    }


def _front_points(front: Float[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"]) -> PointSet:
    """Pixels of a height map that have a surface around them, with its normals."""
    down, across = np.gradient(np.where(np.isfinite(front), front, np.nan))
    rows, columns = np.nonzero(region & np.isfinite(front) & np.isfinite(down + across))
    points = np.stack([columns, rows, front[rows, columns]], axis=-1)
    normals = np.stack([-across, -down, np.ones_like(front)], axis=-1)[rows, columns]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PointSet(points, "crop", "px", "left", normals)


def _dense(mesh: Mesh) -> Mesh:
    """The same surface with vertices that are no further apart than those of an isosurface."""
    import trimesh

    vertices, faces = trimesh.remesh.subdivide_to_size(
        mesh.vertices, mesh.faces, max_edge=_LONGEST_EDGE_PX, max_iter=30
    )[:2]
    return Mesh(np.asarray(vertices), np.asarray(faces), mesh.frame)


def _first_line(error: InputError) -> str:
    return str(error).splitlines()[0]
