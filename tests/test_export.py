"""Exported networks: they run without this package, and compute what it does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from test_models import random_variables

from vrn_jax.cli import main
from vrn_jax.config import ModelConfig
from vrn_jax.errors import InputError
from vrn_jax.export import PLATFORMS, export_onnx, export_stablehlo
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.inference import Reconstructor
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.interop.weights import Weights

PARITY = Path(__file__).parent.parent / "docs" / "parity.md"


def make_weights(task: str = "unguided") -> Weights:
    config = ModelConfig(task, stacks=1, features=8)
    info = WeightsInfo(
        "small", "CC0-1.0", "made up", config, VolumeGrid(), "image", 1 / 255, 0.0, "bgr"
    )
    return Weights(info, random_variables(config))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return make_weights()


def crops(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, 192, 192, 3), np.uint8)


def test_the_documents_loader_needs_jax_alone(weights, tmp_path):
    """In a process of its own, with two sizes of batch."""
    export_stablehlo(tmp_path / "face.stablehlo", weights)
    pictures = crops(3)
    for batch in (1, 3):
        np.save(tmp_path / f"crops{batch}.npy", pictures[:batch])
    loader = re.search(r"<!-- loader -->\n+```python\n(.*?)```", PARITY.read_text(), re.DOTALL)
    assert loader is not None
    assert len([line for line in loader[1].splitlines() if line]) == 5
    program = "\n".join(
        f"import numpy; crops = numpy.load('crops{batch}.npy')\n{loader[1]}\n"
        f"numpy.save('volume{batch}.npy', volume)"
        for batch in (1, 3)
    )
    program += "\nimport sys; assert not {'flax', 'vrn_jax', 'optax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    expected = Reconstructor(weights).volumes(pictures)
    assert expected.std() > 0.01
    for batch in (1, 3):
        found = np.load(tmp_path / f"volume{batch}.npy")
        np.testing.assert_allclose(found, expected[:batch], atol=1e-5)
    program = jax.export.deserialize(bytearray((tmp_path / "face.stablehlo").read_bytes()))
    assert program.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    description = json.loads((tmp_path / "face.json").read_text())
    assert description["inputs"] == [
        {"name": "crops", "type": "uint8", "shape": ["b", "192", "192", "3"]}
    ]
    assert description["weights"]["norm"] == "image"


def test_guided_networks_take_landmarks(tmp_path):
    guided = make_weights("guided")
    export_stablehlo(tmp_path / "face.stablehlo", guided)
    program = jax.export.deserialize(bytearray((tmp_path / "face.stablehlo").read_bytes()))
    points = np.random.default_rng(0).uniform(40, 150, (1, 68, 2)).astype(np.float32)
    expected = Reconstructor(guided).volumes(crops(1), points)
    np.testing.assert_allclose(program.call(crops(1), points), expected, atol=1e-5)
    with pytest.raises(InputError, match="got a guided one"):
        export_onnx(tmp_path / "face.onnx", guided)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_onnx_computes_the_same(weights, tmp_path):
    """Where the `onnx` extra is installed, whose exporter warns of PyTorch's own inner life."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    export_onnx(tmp_path / "face.onnx", weights)
    session = onnxruntime.InferenceSession(tmp_path / "face.onnx")
    for batch in (1, 3):
        (found,) = session.run(None, {"crops": crops(batch)})
        expected = Reconstructor(weights).volumes(crops(batch))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_suffixes_are_refused(tmp_path, capsys):
    assert main(["export", str(tmp_path / "face.tflite")]) == 1
    assert "ends in none of .stablehlo, .onnx" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
