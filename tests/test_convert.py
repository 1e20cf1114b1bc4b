"""`vrn convert`, and that weights carry the original's ways with them."""

import json
from itertools import pairwise

import jax
import numpy as np
import pytest
import safetensors.numpy
from test_foreign import small, small_layers, small_state

from vrn_jax.cli import main
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.interop.mapping import variables_from_layers
from vrn_jax.interop.weights import load_weights


@pytest.fixture
def state_file(tmp_path):
    """A PyTorch state dict in safetensors: nothing in it says how it is to be used."""
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(small_state("unguided", 1), path)
    return path


def test_weights_go_through_every_format_and_come_back(state_file, tmp_path, capsys):
    names = ("a.safetensors", "b.t7", "c.pth", "d.safetensors")
    chain = [state_file, *(tmp_path / name for name in names)]
    for source, target in pairwise(chain):
        keys = ["--keys", "named"] if target.suffix == ".pth" else []
        assert main(["convert", str(source), str(target), *keys]) == 0
    expected = variables_from_layers(small_layers("unguided", 1), small("unguided", 1))
    jax.tree.map(np.testing.assert_array_equal, expected, load_weights(chain[-1]).variables)
    assert "whoever uses it must know" in capsys.readouterr().out


def test_what_the_original_does_is_assumed(state_file, tmp_path, capsys):
    path = tmp_path / "official.safetensors"
    assert main(["convert", str(state_file), str(path), "--licence", "theirs"]) == 0
    info = load_weights(path).info
    assert json.loads(capsys.readouterr().out)["sha256"] == info.sha256
    assert (info.name, info.licence) == ("theirs", "theirs")
    assert (info.norm, info.channels, info.crop) == ("image", "rgb", "run.sh")
    assert (255 * info.input_scale, info.input_offset) == (1.0, 0.0)
    assert (info.upsampling, info.sigma_px, info.solid) == ("align_corners", 0.0, False)
    assert info.threshold == 10 / 255
    assert info.grid == VolumeGrid(planes=6)


def test_a_header_is_kept_but_for_what_is_given(state_file, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    given = ["--norm", "running", "--input-range", "0..255", "--channels", "bgr", "--crop", "run.m"]
    given += ["--upsampling", "half_pixel", "--threshold", "0.4", "--name", "port"]
    assert main(["convert", str(state_file), str(first), *given]) == 0
    assert main(["convert", str(first), str(second), "--threshold", "0.3"]) == 0
    info = load_weights(second).info
    assert (info.norm, info.channels, info.crop) == ("running", "bgr", "run.m")
    assert (info.input_scale, info.input_offset, info.upsampling) == (1.0, 0.0, "half_pixel")
    assert (info.threshold, info.name) == (0.3, "port")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pth", "out.safetensors"], "cannot read absent.pth"),
        (["absent.h5", "out.safetensors"], "ends in none of .t7"),
        (["absent.t7", "out.onnx"], "out.onnx ends in none of .t7"),
        (["nothing", "out.pth"], "no weights at nothing"),
        (["text.t7", "out.pth"], "not a whole Torch7 file"),
        (["text.pth", "out.pth"], "not the file of a PyTorch state dict"),
        (["text.safetensors", "out.pth"], "cannot read weights"),
        (["theirs.safetensors", "out.safetensors", "--threshold", "7"], "threshold must lie"),
        (["theirs.safetensors", "text.t7/out.pth"], "text.t7"),
    ],
)
def test_errors_are_one_line(state_file, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(state_file.parent)
    for name in ("text.t7", "text.pth", "text.safetensors"):
        (state_file.parent / name).write_text("hello")
    before = sorted(state_file.parent.iterdir())
    assert main(["convert", *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert sorted(state_file.parent.iterdir()) == before
