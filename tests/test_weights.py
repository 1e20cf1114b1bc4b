"""Weights files: what is written is read back, and damage is noticed."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from test_models import SMALL, random_variables

from vrn_jax.config import ModelConfig
from vrn_jax.errors import WeightsError
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.interop.mapping import layer_tensors, variables_from_layers
from vrn_jax.interop.weights import Weights, load_weights, save_weights
from vrn_jax.models.vrn import VRN

GOLDEN = Path(__file__).parent / "golden" / "default_weights.npz"


@pytest.fixture(scope="module")
def small() -> Weights:
    info = WeightsInfo("small", "CC0-1.0", "made up", SMALL, VolumeGrid(planes=6), norm="image")
    return Weights(info, random_variables(SMALL))


@pytest.fixture
def small_file(small, tmp_path) -> Path:
    path = tmp_path / "small.safetensors"
    save_weights(path, small)
    return path


def test_default_weights_compute_what_their_training_code_computed():
    """Golden: a face crop (public-domain portrait), and every 8th row and column and 5th plane of
    the logits that the code which trained the weights gave for it, in float32, kept as float16.
    """
    golden = np.load(GOLDEN)
    weights = load_weights("default")
    x = golden["crop"][None] * np.float32(weights.info.input_scale) + weights.info.input_offset
    logits = jax.jit(VRN(weights.info.model, weights.info.norm).apply)(
        weights.variables, x.astype(np.float32)
    )
    ours = np.asarray(logits.volume)[0, 1::8, 2::8, ::5]
    np.testing.assert_allclose(ours, golden["logits"].astype(np.float32), atol=0.02)


def test_default_weights_say_what_they_are():
    info = load_weights().info
    assert info.model.stacks == 1
    assert info.grid == VolumeGrid(origin="landmarks", origin_plane=99.5)
    assert info.licence
    assert info.training_data


def test_written_weights_are_read_back(small, small_file):
    again = load_weights(small_file)
    jax.tree.map(np.testing.assert_array_equal, small.variables, again.variables)
    assert dataclasses.replace(again.info, sha256="") == small.info


def test_bfloat16_kernels_are_rounded_and_nothing_else(small, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small, bfloat16_kernels=True)
    again = load_weights(path).variables

    def compare(path, ours, rounded):
        exact = path[-1].key != "kernel"
        np.testing.assert_allclose(ours, rounded, rtol=0 if exact else 2**-8)

    jax.tree_util.tree_map_with_path(compare, small.variables, again)


def test_a_flipped_bit_is_noticed(small_file):
    data = bytearray(small_file.read_bytes())
    data[-100] ^= 1
    small_file.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(small_file)


@pytest.mark.parametrize("size", [0, 5, 1000, 20_000])
def test_truncated_files_are_refused(small_file, size):
    small_file.write_bytes(small_file.read_bytes()[:size])
    with pytest.raises(WeightsError, match="cannot read"):
        load_weights(small_file)


def change_header(path: Path, header: dict | str) -> None:
    with safetensors.safe_open(path, framework="numpy") as file:
        fields = json.loads(file.metadata()["vrn_jax"])
    text = header if isinstance(header, str) else json.dumps(fields | header)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata={"vrn_jax": text})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("not json", "not understood"),
        ("[1]", "not understood"),
        ({"format": 99}, "format 99"),
        ({"norm": "instance"}, "norm must be one of"),
        ({"colour": "bgr"}, "no field colour"),
        ({"norm": "batch"}, "may not depend on its batch"),
        ({"threshold": 7.0}, "threshold must lie"),
        ({"input_scale": float("nan")}, "must be finite"),
        ({"grid": {"planes": 100}}, "the network's"),
        ('{"format": 1}', "lacks grid, licence, model, name"),
        ("[" * 100_000, "not understood"),
    ],
)
def test_unknown_headers_are_refused(small_file, header, message):
    change_header(small_file, header)
    with pytest.raises(WeightsError, match=message):
        load_weights(small_file)


def test_a_file_without_header_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(WeightsError, match="no vrn_jax header"):
        load_weights(path)


def test_all_wrong_tensors_are_listed_at_once(small):
    layers = layer_tensors(small.variables)
    layers |= {"stem.conv.kernel": np.zeros((7, 7, 4, 64)), "surplus": np.zeros(2)}
    del layers["head.out.bias"]
    with pytest.raises(WeightsError) as caught:
        variables_from_layers(layers, SMALL)
    assert caught.value.problems == (
        "missing head.out.bias",
        "left over surplus",
        "stem.conv.kernel is (7, 7, 4, 64), expected (7, 7, 3, 64)",
    )
    with pytest.raises(WeightsError, match="and 853 more") as many:
        variables_from_layers({}, ModelConfig(stacks=1))
    assert "\n" not in str(many.value)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(WeightsError, match="default"):
        load_weights("no-such-weights")
