"""Faces for tests of training, made without a head in no time, and a run on them as a process.

    python tests/domes.py CONFIG.json

trains as that configuration says, with domes in the place of faces.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vrn_jax.config import TrainConfig
from vrn_jax.faces.sample import Attributes, Example
from vrn_jax.geometry.solid import Solid
from vrn_jax.presets import from_dict
from vrn_jax.training import loop


def domes(count: int) -> Example:
    """Examples made without a head: half ellipsoids of several sizes, their pictures shaded."""
    row, column = np.mgrid[:480, :480]
    rows, columns = np.mgrid[:192, :192]
    examples = []
    for number in range(count):
        width = 5.0 + number  # centimetres
        r2 = ((column - 239.5) / (20 * width)) ** 2 + ((row - 239.5) / 160) ** 2
        height = np.where(r2 < 1, 8 * np.sqrt(np.maximum(1 - r2, 0)), -np.inf)
        scale = 7.0
        matrix = np.array([[scale, 0, 0, 95.5], [0, -scale, 0, 95.5], [0, 0, scale, 0]])
        inside = ((columns - 95.5) / (scale * width)) ** 2 + ((rows - 95.5) / (scale * 8)) ** 2
        shade = np.where(inside < 1, 230 - 100 * inside, 20)
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        ring = [95.5 + 0.8 * scale * width * np.cos(angle), 95.5 + 45 * np.sin(angle), 0 * angle]
        examples.append(
            Example(
                np.repeat(shade[..., None], 3, 2).astype(np.uint8),
                np.stack(ring, -1).astype(np.float32),
                np.ones(68, bool),
                Solid(height.astype(np.float32), np.float32(-3.0), matrix.astype(np.float32)),
                Attributes(*[np.float32(20 * number)] * 9),
            )
        )
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *examples)


if __name__ == "__main__":
    loop.training_source = lambda config: domes(config.pool)
    loop.held_out_faces = lambda config, count: domes(count)
    config = from_dict(TrainConfig, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(loop.train(config)))
