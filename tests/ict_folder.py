"""A small head in the layout of ICT-FaceKit: an egg with two eyes, its modes and its indices."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vrn_jax.faces.builtin import builtin_head

EXPRESSIONS = ("jawOpen", "eyeBlink_L")
EYE_CM = 1.4


@dataclass
class Egg:
    points: np.ndarray
    quads: np.ndarray  # -1: a triangle
    materials: list[str]
    landmarks: np.ndarray


def make_egg() -> Egg:
    """A head as wide, tall and deep as a real one, with an eyeball on either side."""
    points, quads = ball(72, 96)
    skin = points * [7.6, 11.0, 10.0] + [0, 1.0, 2.0]
    front = skin[quads].mean(axis=1)[:, 2] > 2.0
    materials = ["M_Face" if f else "M_BackHead" for f in front]
    parts, faces = [skin], [quads]
    for side, name in ((1, "M_ScleraLeft"), (-1, "M_ScleraRight")):
        eye, eye_quads = ball(12, 16)
        eye = eye[:, [0, 2, 1]] * EYE_CM
        eye[eye[:, 2] > 0.95 * EYE_CM] *= 1.08  # a cornea stands out
        faces.append(np.where(eye_quads >= 0, eye_quads[:, ::-1] + sum(map(len, parts)), -1))
        faces[-1] = np.array([[*[x for x in q if x >= 0], -1][:4] for q in faces[-1]])
        parts.append(eye + np.array([3.1 * side, 3.3, 9.0]))
        materials += [name] * len(eye_quads)
    head = builtin_head()
    goals = head.neutral[head.landmarks][:, :2]
    seen = np.flatnonzero(skin[:, 2] > 2.0)
    away = np.linalg.norm(skin[seen][None, :, :2] - goals[:, None], axis=2)
    return Egg(np.concatenate(parts), np.concatenate(faces), materials, seen[away.argmin(axis=1)])


def ball(rings: int, spokes: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit ball around the y axis, wound outward, with triangles at the poles."""
    polar = np.pi * np.arange(1, rings) / rings
    turn = 2 * np.pi * np.arange(spokes) / spokes
    r, t = np.meshgrid(polar, turn, indexing="ij")
    grid = np.stack([np.sin(r) * np.sin(t), np.cos(r), np.sin(r) * np.cos(t)], axis=2)
    points = np.concatenate([grid.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]])
    top, bottom = len(points) - 2, len(points) - 1
    quads = []
    for k in range(spokes):
        after = (k + 1) % spokes
        quads.append([top, k, after, -1])
        last = (rings - 2) * spokes
        quads.append([bottom, last + after, last + k, -1])
        for ring in range(rings - 2):
            a, b = ring * spokes, (ring + 1) * spokes
            quads.append([a + k, b + k, b + after, a + after])
    return points, np.array(quads)


def write_obj(path: Path, points: np.ndarray, egg: Egg | None = None) -> None:
    lines = ["mtllib some.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points)]
    if egg is not None:
        current = ""
        for quad, material in zip(egg.quads, egg.materials, strict=True):
            if material != current:
                lines.append(f"usemtl {material}")
                current = material
            lines.append("f " + " ".join(f"{v + 1}/1" for v in quad if v >= 0))
    path.write_text("\n".join(lines) + "\n")


def write_folder(folder: Path) -> tuple[Egg, np.ndarray]:
    """Writes the files; returns the egg and its four modes: two identities, two expressions."""
    folder.mkdir(parents=True)
    egg = make_egg()
    modes = 0.3 * np.random.default_rng(0).normal(size=(4, *egg.points.shape))
    write_obj(folder / "generic_neutral_mesh.obj", egg.points, egg)
    for mode, name in zip(modes, ("identity000", "identity001", *EXPRESSIONS), strict=True):
        write_obj(folder / f"{name}.obj", egg.points + mode)
    indices = {"expressions": EXPRESSIONS, "idx_to_landmark_verts": egg.landmarks.tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(indices))
    return egg, modes
