"""Where on a head lips, brows, beard and hair are, and which part of it VRN calls the face.

Everything is measured from the neutral head and its 68 landmarks, so every head gets the same
regions. Lengths are in centimetres of a head whose outer eye corners are 9 cm apart, and are scaled
to the head at hand; left and right are made equal.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import KDTree

from vrn_jax.faces.head import MASKS, PARTS

__all__ = ["SWAPPED", "face_region", "skin_masks"]

# fmt: off
SWAPPED = np.array([  # the iBUG point that each one falls on when left and right are swapped
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
# fmt: on
_OUTER_EYES_CM = 9.0


@dataclass(frozen=True)
class _Folded:
    """A head folded onto its left half (x >= 0), in centimetres of the standard head."""

    points: Float[np.ndarray, "v 3"]
    landmarks: Float[np.ndarray, "68 3"]
    skin: Bool[np.ndarray, " v"]
    ears: Float[np.ndarray, " v"]


def skin_masks(
    neutral: Float[np.ndarray, "v 3"],
    landmarks: Int[np.ndarray, " 68"],
    part: UInt8[np.ndarray, " v"],
    normals: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v m"]:
    """The soft regions of `MASKS`, 0 to 1; 0 off the skin."""
    head = _folded(neutral, landmarks, part)
    masks = {
        "lips": _lips(head),
        "brows": _brows(head, normals),
        "beard": _beard(head),
        "moustache": _moustache(head),
        "scalp": _scalp(head),
        "cheeks": _cheeks(head),
        "lids": _lids(head),
    }
    return np.stack([masks[name] * head.skin for name in MASKS], axis=1).astype(np.float32)


def face_region(
    neutral: Float[np.ndarray, "v 3"],
    landmarks: Int[np.ndarray, " 68"],
    part: UInt8[np.ndarray, " v"],
) -> Bool[np.ndarray, " v"]:
    """The vertices of VRN's solid: forehead to below the chin, ear to ear, no ears, no neck.

    Seen from the front its outline is the line of the jaw and, above it, half a super-ellipse up to
    the hairline. Skin belongs to it if it lies in the outline and not behind the cheeks' end;
    sockets lie before that. Eyes and mouth belong to it where they lie in the outline, so that the
    frontal z-buffer of these triangles alone is one height field without holes.
    """
    head = _folded(neutral, landmarks, part)
    jaw = head.landmarks[:9]
    end, chin = jaw[0], jaw[8]
    width = end[0] + _SIDE_MARGIN
    tall = head.landmarks[17:22, 1].max() + _FOREHEAD - end[1]
    x, y, z = head.points.T
    above = (x / width) ** _SQUARENESS + (np.maximum(y - end[1], 0) / tall) ** _SQUARENESS <= 1
    curve = _smooth_line(jaw[:, :2])
    curve += [_SIDE_MARGIN, 0]
    curve[:, 1] -= _CHIN_MARGIN * np.clip((end[1] - curve[:, 1]) / (end[1] - chin[1]), 0, 1)
    outline = np.concatenate([curve, [[-1.0, curve[-1, 1]], [-1.0, end[1]]]])
    below = _in_polygon(np.stack([x, y], axis=1), outline) & (y < end[1])
    in_outline = np.where(y >= end[1], above, below)
    behind = np.interp(y, [chin[1], end[1]], [chin[2] - 4.5, end[2] - 2.0])
    shown = (z > behind) & (head.ears < 0.5)
    lashes = part == PARTS.index("lashes")
    return in_outline & (shown | ~head.skin) & ~lashes


_SIDE_MARGIN = 0.6
_CHIN_MARGIN = 0.45
_FOREHEAD = 4.2
_SQUARENESS = 2.5
_EAR_REACH = 4.5
_EAR_STANDS_OUT = 0.35


def _folded(
    neutral: Float[np.ndarray, "v 3"], landmarks: Int[np.ndarray, " 68"], part: np.ndarray
) -> _Folded:
    mirror = np.array([-1, 1, 1])
    marks = neutral[landmarks].astype(np.float64)
    marks = (marks + marks[SWAPPED] * mirror) / 2
    scale = _OUTER_EYES_CM / np.linalg.norm(marks[36] - marks[45])
    points = np.abs(neutral.astype(np.float64)) * [1, 0, 0] + neutral * [0, 1, 1]
    skin = part == PARTS.index("skin")
    points, marks = points * scale, marks * scale * mirror
    return _Folded(points, marks, skin, _ears(points, marks, skin))


def _ears(points: np.ndarray, marks: np.ndarray, skin: np.ndarray) -> Float[np.ndarray, " v"]:
    """How far skin stands out from the side of the skull around it, behind the end of the jaw.

    The side without the ear is a quadric in height and depth, fitted to what does not stand out.
    """
    middle = np.array([(marks[36, 1] + marks[33, 1]) / 2, marks[0, 2] - 2.5])
    away = points[:, 1:] - middle
    outer = points[:, 0] > 0.6 * marks[0, 0]
    near = skin & outer & (np.abs(away) < [6.0, 6.0]).all(axis=1)
    y, z = away.T
    terms = np.stack([np.ones_like(y), y, z, y * y, y * z, z * z], axis=1)
    kept, stands = near, points[:, 0]
    for _ in range(8):
        weights = np.linalg.lstsq(terms[kept], points[kept, 0], rcond=None)[0]
        stands = points[:, 0] - terms @ weights
        kept = near & (stands < _EAR_STANDS_OUT) & (stands > -1.0)
    reach = 1 - _step(np.hypot(y / 1.2, z), _EAR_REACH - 0.8, _EAR_REACH)
    return skin * outer * reach * _step(stands, 0.15, 2 * _EAR_STANDS_OUT - 0.15)


def _lips(head: _Folded) -> Float[np.ndarray, " v"]:
    marks = head.landmarks
    outline = _smooth_line(marks[[*range(48, 60), 48]], closed=True)
    near_front = 1 - _step(_front_distance(head.points, outline), 1.2, 1.8)
    return near_front * (1 - _step(_signed(head.points[:, :2], outline[:, :2]), -0.04, 0.08))


def _brows(head: _Folded, normals: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, " v"]:
    line = _smooth_line(head.landmarks[17:22])
    line[:, 1] -= 0.12  # the points of the 68 lie on the upper edge
    distance, at = map(np.asarray, KDTree(line).query(head.points))
    along = at / (len(line) - 1)  # 0 at the tail, 1 at the nose
    half = 0.16 + 0.24 * np.sqrt(along)
    half *= 1 - 0.3 * _step(along, 0.8, 1.0)
    return (1 - _step(distance, half - 0.12, half + 0.14)) * (normals[:, 2] > 0)


def _beard(head: _Folded) -> Float[np.ndarray, " v"]:
    marks = head.landmarks
    corner, eye = marks[48], marks[36]
    y, z = head.points[:, 1:].T
    around, of_jaw = _around(head, head.points), _around(head, marks[:9])
    # its upper edge: level to the corner of the mouth, up over the cheek, narrow before the ear
    upper = PchipInterpolator(
        [0, _around(head, corner[None])[0], 24, 38, 50, 59, 65, 180],
        [
            marks[57, 1] - 0.5,
            corner[1] - 0.2,
            corner[1] + 0.4,
            corner[1] + 0.9,
            marks[33, 1] - 0.4,
            marks[33, 1] + 1.6,
            eye[1] - 0.4,
            eye[1] - 0.4,
        ],
    )(around)
    lower = np.interp(around, of_jaw[::-1], marks[8::-1, 1]) - 1.5
    below = 1 - _step(y - upper, -0.5, 0.4)
    above_neck = _step(y - lower, -0.9, 0.4)
    before_ear = _step(z - marks[0, 2], -1.4, -0.2)
    soft = below * above_neck * before_ear * (1 - head.ears)
    return soft * (1 - _around_mouth(head))


def _moustache(head: _Folded) -> Float[np.ndarray, " v"]:
    marks = head.landmarks
    top, corner = marks[33, 1], marks[48]
    x, y, z = head.points.T
    upper = np.interp(
        x, [0, marks[31, 0], corner[0] + 0.6], [top - 0.25, top - 0.45, corner[1] + 0.6]
    )
    lower = np.interp(
        x, [0, corner[0] - 0.3, corner[0] + 0.6], [marks[57, 1], corner[1], corner[1] - 0.7]
    )
    inside = (1 - _step(y - upper, -0.25, 0.1)) * _step(y - lower, -0.25, 0.1)
    inside *= 1 - _step(x, corner[0] + 0.1, corner[0] + 0.7)
    return inside * _step(z - marks[54, 2], -1.5, -0.6) * (1 - _around_mouth(head))


def _around_mouth(head: _Folded) -> Float[np.ndarray, " v"]:
    outline = _smooth_line(head.landmarks[[*range(48, 60), 48]], closed=True)
    return 1 - _step(_signed(head.points[:, :2], outline[:, :2]), 0.0, 0.25)


def _scalp(head: _Folded) -> Float[np.ndarray, " v"]:
    """Above the hairline, which is a height for every direction around the skull's upright axis."""
    marks = head.landmarks
    brow, eye, nose, mouth = marks[17:22, 1].max(), marks[36, 1], marks[33, 1], marks[48, 1]
    hairline = PchipInterpolator(
        [0, 20, 38, 52, 61, 67, 80, 92, 105, 125, 180],
        [
            brow + 5.2,
            brow + 5.1,
            brow + 4.4,
            brow + 2.6,
            brow + 0.4,
            eye - 0.5,
            eye - 1.2,
            eye + 0.5,
            nose - 0.5,
            mouth - 0.5,
            mouth - 1.6,
        ],
    )(_around(head, head.points))
    return _step(head.points[:, 1] - hairline, -0.35, 0.45) * (1 - head.ears)


def _around(head: _Folded, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, " p"]:
    """Degrees around the skull's upright axis: 0 in front, 180 behind."""
    return np.degrees(np.arctan2(points[:, 0], points[:, 2] - head.landmarks[0, 2] + 2.5))


def _cheeks(head: _Folded) -> Float[np.ndarray, " v"]:
    marks = head.landmarks
    centre = np.array(
        [(marks[36, 0] + marks[48, 0]) / 2 + 1.0, (marks[41, 1] + marks[48, 1]) / 2 + 0.4]
    )
    away = (head.points[:, :2] - centre) / [1.5, 1.3]
    return np.exp(-0.5 * (away**2).sum(axis=1)) * _step(head.points[:, 2] - marks[0, 2], 0.0, 1.5)


def _lids(head: _Folded) -> Float[np.ndarray, " v"]:
    outline = _smooth_line(head.landmarks[[*range(36, 42), 36]], closed=True)
    signed = _signed(head.points[:, :2], outline[:, :2])
    above = head.points[:, 1] > np.interp(
        head.points[:, 0], head.landmarks[[39, 36], 0], head.landmarks[[39, 36], 1]
    )
    fade = 1 - _step(signed, 0.1, np.where(above, 1.1, 0.7))
    return fade * (1 - _step(_front_distance(head.points, outline), 1.5, 2.0))


def _step(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (np.asarray(high) - low), 0, 1)
    return t * t * (3 - 2 * t)


def _smooth_line(points: Float[np.ndarray, "n c"], *, closed: bool = False) -> np.ndarray:
    """A fine polyline through the points, parametrised by the length between them."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    spline = CubicSpline(length, points, bc_type="periodic" if closed else "natural")
    return spline(np.linspace(0, length[-1], 200))


def _front_distance(points: np.ndarray, line: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """How far points lie behind the nearest point of a line, as the camera in front sees both."""
    return np.abs(points[:, 2] - line[KDTree(line[:, :2]).query(points[:, :2])[1], 2])


def _signed(points: Float[np.ndarray, "p 2"], outline: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Distance to a closed outline, negative inside."""
    distance = KDTree(outline).query(points)[0]
    return np.where(_in_polygon(points, outline), -distance, distance)


def _in_polygon(points: Float[np.ndarray, "p 2"], polygon: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Whether points lie inside, by counting crossings of a ray to the right."""
    inside = np.zeros(len(points), bool)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    x, y = points[near].T
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crossed = (y < ay) != (y < by)
        row = near[crossed]
        inside[row] ^= x[crossed] < (bx - ax) * (y[crossed] - ay) / (by - ay) + ax
    return inside
