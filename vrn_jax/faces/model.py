"""A head as the renderer and the voxeliser need it: arrays on the device, made once.

Beside the head itself there is a second skin, the shell: a copy of everything above the neck and
outside of the face's middle, which hair or a hat lifts off the head. Where nothing lifts it, it
hides below the skin.
"""

import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from vrn_jax.errors import InputError
from vrn_jax.faces.glasses import GLASSES_POINTS, glasses_triangles
from vrn_jax.faces.head import MASKS, PARTS, Head
from vrn_jax.geometry.zbuffer import MOST_FACES

__all__ = ["FaceModel", "face_model"]

_MOST_INCIDENT = 8

_SHELL_REACH_CM = 12.0
"""Hair falls at most this far below the hairline."""


class FaceModel(NamedTuple):
    """Arrays of a `Head`, lengths in centimetres.

    Vertices are numbered through: the head's, the shell's, those of glasses.
    `expression_pair` gives movements of the left and the right side the same number. `neck` is a
    point in its middle, where collars sit.
    `scene` are all triangles, wound for pictures with y down, `region` those of the solid.
    `incident` lists the faces around every vertex, padded with a face that has no area.
    `shell` are the head's vertices that the shell copies, `outward` the way they are lifted, and
    `hairline` their distance inside (positive) or outside of where hair grows.
    `iris` is the distance from the middle of the iris in units of its radius, and 9 elsewhere.
    """

    neutral: Float[Array, "v 3"]
    identity: Float[Array, "i v 3"]
    expression: Float[Array, "e v 3"]
    expression_pair: Int[Array, " e"]
    landmarks: Int[Array, " 68"]
    neck: Float[Array, "3"]
    scene: Int[Array, "t 3"]
    region: Int[Array, "r 3"]
    incident: Int[Array, "u n"]
    shell: Int[Array, " s"]
    outward: Float[Array, "s 3"]
    hairline: Float[Array, " s"]
    masks: dict[str, Float[Array, " v"]]
    parts: dict[str, Bool[Array, " v"]]
    iris: Float[Array, " v"]


def face_model(head: Head) -> FaceModel:
    """Prepares a head. Takes about a second.

    Raises:
        InputError: if it has too many triangles to be drawn.
    """
    scalp = head.masks[:, MASKS.index("scalp")]
    shell, shell_faces, hairline = _shell(head, scalp)
    count = len(head.neutral)
    spectacles = glasses_triangles() + count + len(shell)
    corners = np.concatenate([head.faces, shell_faces + count, spectacles])[:, ::-1]
    if len(corners) > MOST_FACES:
        raise InputError(
            f"this head has {len(head.faces)} triangles, {len(corners)} with hair and glasses; at "
            f"most {MOST_FACES} can be drawn"
        )
    region = head.region_faces[:, ::-1]
    return FaceModel(
        neutral=jnp.asarray(head.neutral),
        identity=jnp.asarray(head.identity),
        expression=jnp.asarray(head.expression),
        expression_pair=jnp.asarray(_pairs(head.expression_names)),
        landmarks=jnp.asarray(head.landmarks),
        neck=jnp.asarray(_neck(head)),
        scene=jnp.asarray(corners),
        region=jnp.asarray(region),
        incident=jnp.asarray(_incident(corners, count + len(shell) + GLASSES_POINTS)),
        shell=jnp.asarray(shell),
        outward=jnp.asarray(_normals(head)[shell]),
        hairline=jnp.asarray(hairline),
        masks={name: jnp.asarray(head.masks[:, i]) for i, name in enumerate(MASKS)},
        parts={name: jnp.asarray(head.part == i) for i, name in enumerate(PARTS)},
        iris=jnp.asarray(_iris(head)),
    )


def _shell(
    head: Head, scalp: Float[np.ndarray, " v"]
) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, "t 3"], Float[np.ndarray, " s"]]:
    """The shell's vertices, its triangles in their own numbering, and distances to the hairline."""
    skin, hairy = head.part == PARTS.index("skin"), scalp > 0.5
    points = head.neutral
    inside = KDTree(points[skin & ~hairy]).query(points)[0]
    outside = KDTree(points[hairy]).query(points)[0]
    signed = np.where(hairy, inside, -outside)
    jaw, brows = points[head.landmarks[[0, 16]]], points[head.landmarks[17:27]]
    face = (points[:, 1] < brows[:, 1].min()) & (points[:, 2] > jaw[:, 2].max() + 1.5)
    face &= np.abs(points[:, 0]) < 0.9 * np.abs(jaw[:, 0]).max()
    member = skin & ~face & (signed > -_SHELL_REACH_CM)
    number = np.cumsum(member) - 1
    triangles = number[head.faces[member[head.faces].all(axis=1)]]
    return np.flatnonzero(member), triangles, signed[member].astype(np.float32)


def _pairs(names: tuple[str, ...]) -> Int[np.ndarray, " e"]:
    """Names that differ only in their side, such as `smile_L` and `smile_R`, get one number."""
    stems = [re.sub(r"(_L|_R|[Ll]eft|[Rr]ight)$", "", name) for name in names]
    return np.array([stems.index(stem) for stem in stems], np.int32)


def _neck(head: Head) -> Float[np.ndarray, "3"]:
    """The middle of the skin at the height halfway from the chin to where the head ends."""
    skin = head.neutral[head.part == PARTS.index("skin")]
    height = 0.45 * head.neutral[head.landmarks[8], 1] + 0.55 * skin[:, 1].min()
    slice_ = skin[np.abs(skin[:, 1] - height) < 1.0]
    return ((slice_.min(axis=0) + slice_.max(axis=0)) / 2).astype(np.float32)


def _normals(head: Head) -> Float[np.ndarray, "v 3"]:
    mesh = trimesh.Trimesh(head.neutral, head.faces, process=False)
    return np.asarray(mesh.vertex_normals, np.float32)


def _incident(corners: Int[np.ndarray, "f 3"], count: int) -> Int[np.ndarray, "u n"]:
    """The faces around every vertex, in rows of equal length padded with the number of faces.

    Of the few vertices with very many faces, at poles of the mesh, only the first ones are kept.
    """
    vertex, face = corners.ravel(), np.repeat(np.arange(len(corners)), 3)
    order = np.argsort(vertex, kind="stable")
    vertex, face = vertex[order], face[order]
    valence = np.bincount(vertex, minlength=count)
    place = np.arange(len(vertex)) - (np.cumsum(valence) - valence)[vertex]
    kept = place < _MOST_INCIDENT
    table = np.full((count, _MOST_INCIDENT), len(corners), np.int32)
    table[vertex[kept], place[kept]] = face[kept]
    return table


def _iris(head: Head) -> Float[np.ndarray, " v"]:
    """Distance from the axis of its eye in iris radii; 9 for what is no iris."""
    radius = np.full(len(head.neutral), 9.0, np.float32)
    iris = head.part == PARTS.index("iris")
    for side in (head.neutral[:, 0] < 0, head.neutral[:, 0] >= 0):
        points = head.neutral[iris & side][:, :2]
        if len(points):
            centre = (points.min(axis=0) + points.max(axis=0)) / 2
            distance = np.linalg.norm(points - centre, axis=1)
            radius[iris & side] = distance / max(distance.max(), 1e-6)
    return radius
