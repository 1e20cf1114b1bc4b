"""Weights of other frameworks: there and back, and what does not fit."""

import functools
from itertools import pairwise

import jax
import numpy as np
import pytest
import safetensors.numpy
from test_models import SMALL, random_variables

from vrn_jax.config import ModelConfig
from vrn_jax.errors import WeightsError
from vrn_jax.interop.foreign import (
    layers_from_state,
    read_foreign,
    state_from_layers,
    write_foreign,
)
from vrn_jax.interop.mapping import layer_shapes, layer_tensors, variables_from_layers
from vrn_jax.interop.released import released_graph, torch_keys, walk

TASKS = ["unguided", "guided", "multitask"]


def small(task: str, stacks: int) -> ModelConfig:
    return ModelConfig(task, stacks, SMALL.features, SMALL.depth, SMALL.landmarks)


@functools.cache
def small_layers(task: str = "unguided", stacks: int = 2) -> dict[str, np.ndarray]:
    return layer_tensors(random_variables(small(task, stacks)))


def small_state(task: str = "unguided", stacks: int = 2, style: str = "nested") -> dict:
    return state_from_layers(small_layers(task, stacks), small(task, stacks), style)


@pytest.mark.parametrize("style", ["nested", "named"])
@pytest.mark.parametrize(("task", "stacks"), [*((t, 2) for t in TASKS), ("unguided", 1)])
def test_state_dicts_and_back_are_bit_equal(task, stacks, style):
    layers, state = small_layers(task, stacks), small_state(task, stacks, style)
    state["1.num_batches_tracked"] = np.array(3)
    again, config = layers_from_state(state)
    landmarks = 68 if task == "unguided" else SMALL.landmarks
    assert config == ModelConfig(task, stacks, SMALL.features, SMALL.depth, landmarks)
    assert set(again) == set(layers)
    for name, tensor in layers.items():
        np.testing.assert_array_equal(again[name].view(np.int32), tensor.view(np.int32))


@pytest.mark.parametrize("suffix", [".t7", ".pth", ".pt", ".safetensors"])
def test_files_and_back_are_bit_equal(tmp_path, suffix):
    expected = small("unguided", 1)
    variables = variables_from_layers(small_layers("unguided", 1), expected)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.numpy.save_file(small_state("unguided", 1), path)
    else:
        write_foreign(path, variables, expected)
    layers, config = read_foreign(path)
    assert (config.stacks, config.features, config.depth) == (1, 8, 6)
    jax.tree.map(np.testing.assert_array_equal, variables, variables_from_layers(layers, config))


@pytest.mark.parametrize("task", TASKS)
def test_every_tensor_has_one_key(task):
    config = ModelConfig(task)
    for style in ("nested", "named"):
        keys = torch_keys(config, style)
        assert set(keys) == set(layer_shapes(config))
        assert len(set(keys.values())) == len(keys)


def test_modules_stand_where_the_keras_port_finds_them():
    """It counts the modules of the authors' file depth first, and takes these numbers."""
    modules = [module for _, module in walk(released_graph(ModelConfig()))][1:]
    found = {i: (modules[i].kind, modules[i].layer) for i in (0, 1, 1333, 1334, 1336)}
    assert found == {
        0: ("Convolution", "stem.conv"),
        1: ("BatchNorm", "stem.bn"),
        1333: ("Convolution", "head.conv"),
        1334: ("BatchNorm", "head.bn"),
        1336: ("Convolution", "head.out"),
    }
    assert [modules[i].kind for i in (3, 19, 33)] == ["Sequential"] * 3
    assert [modules[i].kind for i in (48, 689)] == ["ConcatTable"] * 2


@pytest.mark.parametrize(("stacks", "channels"), [(2, 3), (1, 8)])
def test_keys_are_those_of_pytorch_in_its_order(stacks, channels):
    pytest.importorskip("torch")
    from released_torch import released_vrn

    network = released_vrn(stacks, SMALL.features, SMALL.depth, channels)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    expected = [key for key in state if not key.endswith("num_batches_tracked")]
    layers, config = layers_from_state(state)
    keys = torch_keys(config, "nested")
    assert list(keys.values()) == expected
    assert config.task == ("unguided" if channels == 3 else "guided")
    assert config.stacks == stacks
    assert {keys[name]: t.size for name, t in layers.items()} == {
        k: state[k].size for k in expected
    }


def test_flattened_kernels_of_torch7_are_understood():
    state = small_state()
    flat = {key: t.reshape(len(t), -1) if t.ndim == 4 else t for key, t in state.items()}
    assert flat["0.weight"].shape == (64, 147)
    expected, found = layers_from_state(state)[0], layers_from_state(flat)[0]
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_all_that_does_not_fit_is_listed():
    state = small_state()
    state |= {"0.weight": np.zeros((64, 3, 5, 5), np.float32), "7.9.weight": np.zeros(3)}
    del state["11.0.1.bias"]
    with pytest.raises(WeightsError) as caught:
        layers_from_state(state)
    problems = caught.value.problems
    assert set(problems) >= {
        "missing 11.0.1.bias",
        "left over 7.9.weight",
        "0.weight is (64, 3, 5, 5), expected (64, 3, 7, 7)",
    }


def test_more_or_fewer_stacks_are_other_networks():
    states = [small_state("unguided", stacks) for stacks in (1, 2)]
    for ours, theirs in pairwise([*states, states[0]]):
        mixed = {k: v for k, v in ours.items() if not k.startswith("7.")} | {
            k: v for k, v in theirs.items() if k.startswith("9.")
        }
        with pytest.raises(WeightsError, match="these tensors are not"):
            layers_from_state(mixed)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "got none"),
        ({"conv1.weight": np.zeros((64, 3, 7, 7)), "fc.bias": np.zeros(9)}, "conv1.weight, fc"),
        ({"0.weight": np.zeros(3)}, "no VRN"),
        ({"0.weight": np.zeros(3), "99999999999999.weight": np.zeros(3)}, "no VRN"),
        ({"0.weight": np.zeros(3), "900.weight": np.zeros(3)}, "no VRN"),
        ({"0.weight": np.zeros((64, 3, 7, 7)), "9.0.0.0.bias": np.zeros(7)}, "missing 1.bias"),
    ],
)
def test_other_networks_are_refused(state, message):
    with pytest.raises(WeightsError, match=message):
        layers_from_state(state)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"none of \.t7"):
        read_foreign(tmp_path / "model.h5")
    with pytest.raises(WeightsError, match=r"none of \.t7"):
        write_foreign(tmp_path / "model.h5", {}, SMALL)
