"""Which points of a head's surface FaceMesh's 468 points stand for.

Found by looking: the head is drawn from several sides, FaceMesh places its points on the pictures,
and each pixel's fragment tells the point of the surface. So any head has them, whatever its mesh.
"""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from vrn_jax.detection.facemesh import FACEMESH_SIZE, MARGIN, FaceMesh
from vrn_jax.detection.views import halvings, region
from vrn_jax.errors import InputError
from vrn_jax.faces.draw import draw, normals_in_photo, painted, photo_from_turned
from vrn_jax.faces.head import PARTS, Head
from vrn_jax.geometry.crop import landmark_box
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.geometry.transforms import apply_affine

__all__ = ["SurfacePoints", "facemesh_points"]

VIEWS = [(yaw, 0.0) for yaw in (-50, -35, -20, -10, 0, 10, 20, 35, 50)] + [(0, -15.0), (0, 15.0)]
"""Yaw and pitch in degrees."""
PICTURE = 512  # pixels a side
SCALE = 20.0  # pixels per centimetre
FACING = 0.3  # cosine between normal and viewer below which a view does not count: outlines slide
DEPTH_AGREES = 1.0  # cm between the surface and FaceMesh's depth
LEVEL_YAW, FAR = 15.0, 1.0  # degrees beyond which points of the far side, cm, do not count
PRESENCE = 0.5  # FaceMesh's probability of a face
AT_LIPS = 1.2  # cm from the 20 landmarks of the lips
NEAREST = 8  # vertices whose triangles may hold the point nearest to a place
INNER_LIPS = (62, 66)  # iBUG points in the middle of the upper and the lower lip
OPEN = 0.5  # weight of the expression that opens the mouth


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points between three vertices each, which move with the head; `weights` sum to one."""

    vertices: Int[np.ndarray, "p 3"]
    weights: Float[np.ndarray, "p 3"]

    def of(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "p c"]:
        """What vertices carry (places, modes, colours), at these points."""
        return np.einsum("pk,pkc->pc", self.weights, values[self.vertices])


def facemesh_points(head: Head) -> SurfacePoints:
    """Where FaceMesh's 468 points lie on a head, symmetric as far as the head's mesh is.

    The lips come from a head that opens its mouth: in a neutral one they touch, and a point of the
    upper lip could be taken for one of the lower.

    Raises:
        InputError: if FaceMesh sees no face on pictures of the head.
    """
    facemesh = FaceMesh()
    opened = mouth_open(head)
    closed_places = look_from_all_sides(head, head.neutral, facemesh)
    open_places = look_from_all_sides(head, opened, facemesh)
    lips = KDTree(head.neutral[head.landmarks[48:]]).query(closed_places)[0] < AT_LIPS
    partner = mirrored_points(closed_places)
    closed = nearest_on_face(head, head.neutral, symmetric(closed_places, partner))
    opened_mouth = nearest_on_face(head, opened, symmetric(open_places, partner))
    vertices = np.where(lips[:, None], opened_mouth.vertices, closed.vertices)
    weights = np.where(lips[:, None], opened_mouth.weights, closed.weights)
    # One side is looked up, the other mirrored: exactly symmetric where the head is.
    right = np.arange(len(partner)) > partner
    vertices[right] = head.mirror[vertices[partner[right]]]
    weights[right] = weights[partner[right]]
    return SurfacePoints(vertices, weights)


def mouth_open(head: Head) -> Float[np.ndarray, "v 3"]:
    """The head with the one expression that parts its lips the most."""
    upper, lower = head.landmarks[list(INNER_LIPS)]
    parted = head.expression[:, upper, 1] - head.expression[:, lower, 1]
    weights = OPEN * (np.arange(len(parted)) == parted.argmax())
    return head.shape(np.zeros(len(head.identity)), weights)


def look_from_all_sides(
    head: Head, vertices: Float[np.ndarray, "v 3"], facemesh: FaceMesh
) -> Float[np.ndarray, "468 3"]:
    """Where on the surface FaceMesh puts its points: the median over views that show them well.

    A point that no view shows well is where FaceMesh's own depth says.
    """
    places, by_depth = [], []
    for yaw, pitch in VIEWS:
        seen, points = look(head, vertices, facemesh, yaw, pitch)
        place, own = surface_under(head, vertices, seen, points)
        # FaceMesh crowds the points of the far side along the outline.
        far = own[:, 0] * np.sign(yaw) > (FAR if abs(yaw) > LEVEL_YAW else np.inf)
        places.append(np.where(far[:, None], np.nan, place))
        by_depth.append(np.where(far[:, None], np.nan, own))
    known = np.isfinite(places).all(axis=2).any(axis=0)
    result = np.nanmedian(by_depth, axis=0)
    result[known] = np.nanmedian(np.array(places)[:, known], axis=0)
    return result


def look(
    head: Head, vertices: Float[np.ndarray, "v 3"], facemesh: FaceMesh, yaw: float, pitch: float
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "468 3"]]:
    """A turned head's vertices in the photo frame, and FaceMesh's points of its picture there."""
    photo_from_head = photo_from_turned(yaw, pitch, SCALE, np.zeros(2))
    centre = vertices[head.landmarks].mean(axis=0)
    photo_from_head[:2, 3] = PICTURE / 2 - (photo_from_head[:, :3] @ centre)[:2]
    seen = apply_affine(photo_from_head, vertices)
    picture = draw(seen, head.faces, painted(head), (PICTURE, PICTURE))
    box = landmark_box(seen[head.landmarks])
    side = MARGIN * float((box[2:] - box[:2]).max())
    around = region((box[:2] + box[2:]) / 2, side, 0.0, FACEMESH_SIZE)
    points = facemesh(halvings(picture), around, PRESENCE)
    if points is None:
        raise InputError(
            f"FaceMesh sees no face on a picture of this head turned by {yaw} degrees; is it a "
            "head in centimetres that looks along +z?"
        )
    return seen, points


def surface_under(
    head: Head,
    vertices: Float[np.ndarray, "v 3"],
    seen: Float[np.ndarray, "v 3"],
    points: Float[np.ndarray, "468 3"],
) -> tuple[Float[np.ndarray, "468 3"], Float[np.ndarray, "468 3"]]:
    """Places in the head frame of points of a picture: on the surface, and by their own depth.

    The first are NaN where the surface is seen at a grazing angle, or is another than FaceMesh's
    depth says: the neck beside the jaw, the inside of an open mouth.
    """
    flipped = head.faces[:, ::-1]
    fragments = rasterize(seen, flipped, (PICTURE, PICTURE))
    facing = normals_in_photo(seen, head.faces)[:, 2:]
    layers = np.concatenate([seen[:, 2:], facing], axis=1)
    column, row = points[:, :2].round().astype(int).clip(0, PICTURE - 1).T
    z, cosine = interpolate(fragments, flipped, layers)[row, column].T
    hit = (fragments.face[row, column] >= 0) & (cosine > FACING)
    own = np.column_stack([points[:, :2], points[:, 2] + np.median((z - points[:, 2])[hit])])
    hit &= np.abs(z - own[:, 2]) < DEPTH_AGREES * SCALE
    on_surface = np.where(hit[:, None], np.column_stack([points[:, :2], z]), np.nan)
    # The way back to the head frame, from its vertices in both.
    head_from_seen = np.linalg.lstsq(np.column_stack([seen, np.ones(len(seen))]), vertices)[0]
    back = [np.column_stack([place, np.ones(468)]) @ head_from_seen for place in (on_surface, own)]
    return back[0], back[1]


def mirrored_points(places: Float[np.ndarray, "468 3"]) -> Int[np.ndarray, " 468"]:
    """Which point each becomes when left and right are swapped; points in the middle stay."""
    distance = np.linalg.norm(places[:, None] * [-1.0, 1.0, 1.0] - places, axis=2)
    return linear_sum_assignment(distance + distance.T)[1]


def symmetric(
    places: Float[np.ndarray, "468 3"], partner: Int[np.ndarray, " 468"]
) -> Float[np.ndarray, "468 3"]:
    """The mean of places and those of the mirrored points, mirrored."""
    return (places + places[partner] * [-1.0, 1.0, 1.0]) / 2.0


def nearest_on_face(
    head: Head, vertices: Float[np.ndarray, "v 3"], places: Float[np.ndarray, "p 3"]
) -> SurfacePoints:
    """The nearest points of the face's triangles."""
    skin = head.solid & (head.part == PARTS.index("skin"))
    faces = head.faces[skin[head.faces].all(axis=1)]
    near = KDTree(vertices[faces].mean(axis=1)).query(places, k=NEAREST)[1]
    triangles = vertices[faces[near]].astype(np.float64).reshape(-1, 3, 3)
    repeated = np.repeat(places, NEAREST, axis=0)
    on_each = trimesh.triangles.closest_point(triangles, repeated)
    distance = np.linalg.norm(on_each - repeated, axis=1).reshape(-1, NEAREST)
    best = np.arange(len(places)) * NEAREST + distance.argmin(axis=1)
    weights = trimesh.triangles.points_to_barycentric(triangles[best], on_each[best])
    chosen = faces[near].reshape(-1, 3)[best]
    return SurfacePoints(chosen, weights.clip(0.0, 1.0) / weights.clip(0.0, 1.0).sum(1)[:, None])
