"""A made-up face model in the files and the layout of 3DDFA's release, for tests and benches.

A head as a sheet around its front: forehead, face, chin, a narrower neck below it and an ear on
either side. Nothing of the Basel Face Model is in it.
"""

from pathlib import Path

import numpy as np
import scipy.io

from vrn_jax.geometry.pose import MEAN_LANDMARKS

FULL = (145, 367)
"""Columns and rows that give the 53,215 vertices of 3DDFA's model."""
SMALL = (41, 67)
MODES, EXPRESSIONS = 199, 29


def head_points(columns: int, rows: int) -> np.ndarray:
    """Centimetres, x right, y up, z to the viewer; row after row from the top."""
    angle = np.deg2rad(np.linspace(-118, 118, columns))[None, :]
    y = np.linspace(11.0, -14.0, rows)[:, None]
    skull = np.sqrt(np.clip(1 - (np.clip(y, -9, None) / 13.5) ** 2, 0.05, 1))
    neck = 1 / (1 + np.exp((y + 9.2) / 0.25))
    width = 7.8 * skull * (1 - neck) + 5.0 * neck
    depth = 9.5 * skull * (1 - neck) + 5.5 * neck
    ear = 1.6 * np.exp(-(((np.abs(angle) - 1.75) / 0.12) ** 2) - ((y - 1) / 2.5) ** 2)
    x = (width + ear) * np.sin(angle)
    z = depth * np.cos(angle) - 3.5
    z = z + 2.2 * np.exp(-((x / 1.3) ** 2) - ((y + 0.5) / 1.8) ** 2) * (np.abs(angle) < 1.3)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3)


def head_faces(columns: int, rows: int) -> np.ndarray:
    """Two triangles a cell, counterclockwise from outside with y up; numbers from 0."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (row * columns + column).ravel()
    b, c, d = a + 1, a + columns, a + columns + 1
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def head_keypoints(points: np.ndarray) -> np.ndarray:
    """The vertices nearest to the mean landmarks, 9 cm between the outer eye corners."""
    wanted = MEAN_LANDMARKS[:, :2] * [9.0, -9.0]
    front = np.flatnonzero(points[:, 2] > -6.0)
    distance = np.square(points[front, None, :2] - wanted).sum(axis=-1)
    return front[distance.argmin(axis=0)]


def modes(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Smooth displacements [v 3 count], of which the first few are not zero."""
    rng = np.random.default_rng(seed)
    basis = np.zeros((len(points), 3, count), np.float32)
    for i in range(min(6, count)):
        wave = np.sin(points @ rng.normal(0, 0.15, 3) + rng.uniform(0, 6))
        basis[:, :, i] = wave[:, None] * rng.normal(0, 1, 3)
    return basis


def write_basel(folder: Path, size: tuple[int, int] = SMALL, **changes: np.ndarray) -> Path:
    """Model_Shape.mat and Model_Exp.mat in micrometres; `changes` replace what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    points = head_points(*size)
    count = 3 * len(points)
    shape = {
        "mu_shape": points.reshape(-1, 1) * 1e4,
        "w": modes(points, MODES, 1).reshape(count, MODES) * 100,
        "sigma": np.full((MODES, 1), 50.0),
        "tri": (head_faces(*size) + 1).T.astype(np.float64),
        "keypoints": (head_keypoints(points) + 1)[None].astype(np.float64),
        "mu_tex": np.full((count, 1), 128.0),
    }
    expression = {
        "mu_exp": np.full((count, 1), 25.0),
        "w_exp": modes(points, EXPRESSIONS, 2).reshape(count, EXPRESSIONS) * 2000,
        "sigma_exp": np.full((EXPRESSIONS, 1), 0.5),
    }
    for values in (shape, expression):
        values.update({name: v for name, v in changes.items() if name in values})
    scipy.io.savemat(folder / "Model_Shape.mat", without_none(shape))
    scipy.io.savemat(folder / "Model_Exp.mat", without_none(expression))
    return folder


def without_none(values: dict) -> dict:
    return {name: value for name, value in values.items() if value is not None}
