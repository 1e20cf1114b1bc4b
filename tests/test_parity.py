"""Number for number: the released graph in PyTorch, and ours with the weights read from its files.

The reference is `released_torch`, which shares nothing with the package. Skipped without torch.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vrn_jax.config import ModelConfig
from vrn_jax.geometry.resample import upsample
from vrn_jax.interop.foreign import read_foreign
from vrn_jax.interop.mapping import variables_from_layers
from vrn_jax.interop.released import released_graph
from vrn_jax.interop.stages import jax_stages, stage_names
from vrn_jax.interop.torch7_modules import torch7_bytes
from vrn_jax.models.vrn import VRN

torch = pytest.importorskip("torch")

import released_torch  # noqa: E402

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}
"""Relative: the norm of the difference over the norm of what PyTorch computes in float64."""


def make_reference(stacks: int, features: int, depth: int) -> torch.nn.Sequential:
    """Random weights and statistics whose logits have a standard deviation of 2 or more."""
    network = released_torch.released_vrn(stacks, features, depth)
    released_torch.randomize(network)
    with torch.no_grad():
        network[-1][0][1].weight.mul_(4.0)
    return network


@pytest.fixture(scope="module")
def official() -> torch.nn.Sequential:
    return make_reference(2, 256, 200)


@pytest.fixture(scope="module")
def files(official, tmp_path_factory) -> dict[str, tuple[dict, ModelConfig]]:
    """The official graph's weights as our readers find them in a .pth and in a .t7 file."""
    folder = tmp_path_factory.mktemp("official")
    torch.save(official.state_dict(), folder / "vrn.pth", _use_new_zipfile_serialization=False)
    state = {key: tensor.numpy() for key, tensor in official.state_dict().items()}
    (folder / "vrn.t7").write_bytes(torch7_bytes(released_graph(ModelConfig()), state))
    return {kind: read_foreign(folder / f"vrn.{kind}") for kind in ("pth", "t7")}


def test_both_files_hold_the_same_network(files):
    layers, config = files["pth"]
    assert config == ModelConfig()
    assert files["t7"][1] == config
    learned = [t.size for name, t in layers.items() if not name.endswith((".mean", ".var"))]
    assert sum(learned) == 19_184_968
    for name, tensor in layers.items():
        np.testing.assert_array_equal(files["t7"][0][name], tensor)


def expected_stages(network: torch.nn.Module, x: np.ndarray, norm: str) -> dict[str, np.ndarray]:
    """[b h w c]. Statistics of single images: every image goes through training mode by itself."""
    network.train(norm != "running")
    single = [x[i : i + 1] for i in range(len(x))] if norm == "image" else [x]
    parts = [
        released_torch.stages(network, torch.from_numpy(images.transpose(0, 3, 1, 2)))
        for images in single
    ]
    return {
        name: np.concatenate([part[name].numpy().transpose(0, 2, 3, 1) for part in parts])
        for name in parts[0]
    }


def compare(network, variables, config, x: np.ndarray, norm: str, dtypes=TOLERANCE) -> None:
    """Holds ours in each type against PyTorch in float64: in float32 PyTorch is itself further from
    that than ours is.
    """
    saved = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    expected = expected_stages(network.to(torch.float64), x, norm)
    network.load_state_dict(saved)  # training mode has moved the running averages
    assert expected["logits"].std() > 2
    for dtype in dtypes:
        with jax.enable_x64(dtype is np.float64):
            tree = jax.tree.map(lambda leaf, dtype=dtype: jnp.asarray(leaf, dtype), variables)
            found = dict(jax.jit(partial(jax_stages, VRN(config, norm)))(tree, x.astype(dtype)))
            found["upsample"] = upsample(found["logits"])
            found["probability"] = jax.nn.sigmoid(found["upsample"])
            assert found["probability"].dtype == dtype
        assert set(found) == set(expected)
        assert set(found) == {*stage_names(config.stacks), "upsample", "probability"}
        for name, reference in expected.items():
            difference = np.asarray(found[name]) - reference
            error = np.linalg.norm(difference) / np.linalg.norm(reference)
            assert error < TOLERANCE[dtype], (name, dtype, error)
            if name in ("logits", "upsample"):
                worst = np.abs(difference).max() / np.abs(reference).max()
                assert worst < TOLERANCE[dtype], (name, dtype, worst)


def pictures(batch: int, size: int) -> np.ndarray:
    return np.random.default_rng(batch).uniform(0, 1, (batch, size, size, 3))


@pytest.mark.parametrize(("norm", "batch"), [("running", 1), ("image", 3)])
def test_official_graph(official, files, norm, batch):
    """At full size: every stage of 24 GMAC."""
    layers, config = files["t7"]
    variables = variables_from_layers(layers, config)
    compare(official, variables, config, pictures(batch, 192), norm)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    network = make_reference(2, 32, 10)
    path = tmp_path_factory.mktemp("small") / "small.pt"
    torch.save(network.state_dict(), path)
    layers, config = read_foreign(path)
    return network, variables_from_layers(layers, config), config


@pytest.mark.parametrize(
    ("norm", "batch", "dtypes"),
    [
        ("running", 3, TOLERANCE),
        ("batch", 1, [np.float32]),
        ("batch", 3, TOLERANCE),
        ("image", 1, [np.float32]),
    ],
)
def test_every_mode(small, norm, batch, dtypes):
    """A narrow network on pictures of 64 x 64."""
    network, variables, config = small
    compare(network, variables, config, pictures(batch, 64), norm, dtypes)
