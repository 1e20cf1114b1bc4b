"""The tutorial is run as it is printed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"


def code_of(document: str) -> str:
    """The python blocks of a document, each line at its own number."""
    lines, inside = [], False
    for line in document.splitlines():
        fence = line.startswith("```")
        inside = line == "```python" or (inside and not fence)
        lines.append(line if inside and not fence else "")
    return "\n".join(lines) + "\n"


def test_tutorial(tmp_path):
    """In a process of its own, for it changes settings of JAX."""
    code = code_of(TUTORIAL.read_text(encoding="utf-8"))
    assert code.count("reconstructor(") >= 4
    script = tmp_path / "tutorial.md"  # as it is called in tracebacks
    script.write_text(code, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "nobody there: no face found" in result.stdout
    assert "cannot be used: no photo at absent.jpg" in result.stdout
    assert "brick.png - no face found" in result.stdout
    for suffix in (".glb", ".obj", ".ply", ".stl"):
        mesh = trimesh.load(tmp_path / f"astronaut{suffix}", force="mesh")
        assert mesh.volume > 0, suffix
    assert len(trimesh.load(tmp_path / "astronaut-small.ply").faces) <= 5000
    assert {"mirrored-0.stl", "astronaut.raw"} <= {path.name for path in tmp_path.iterdir()}
    assert "<html" in (tmp_path / "astronaut.html").read_text(encoding="utf-8")
    # Seen from the side, the solid's foremost point is the tip of the nose.
    planes = np.asarray(Image.open(tmp_path / "planes.png"))
    assert planes.shape == (3 * 192, 4 * 192)
    profile = np.asarray(Image.open(tmp_path / "profile.png")) > 127
    foremost = np.flatnonzero(profile.any(axis=0)).max()
    numbers = json.loads((tmp_path / "astronaut.json").read_text(encoding="utf-8"))
    x, y, _ = numbers["landmarks_ibug68"][30]
    tip_row = (np.array(numbers["crop_from_photo"]) @ [x, y, 1])[1]
    assert np.flatnonzero(profile[:, foremost]).mean() == pytest.approx(tip_row, abs=6)
