"""The networks against the paper's figures and an independent statement of the graph."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from reference_vrn import ReferenceVRN

from vrn_jax.config import ModelConfig
from vrn_jax.interop.mapping import layer_tensors, variables_from_layers
from vrn_jax.models.guidance import landmark_channels, mirrored_landmarks
from vrn_jax.models.vrn import VRN, input_channels

OFFICIAL = ModelConfig()
SMALL = ModelConfig(stacks=2, features=8, depth=6, landmarks=5)


def abstract(config: ModelConfig, batch: int = 1):
    image = jax.ShapeDtypeStruct((batch, 192, 192, input_channels(config)), jnp.float32)
    return jax.eval_shape(VRN(config).init, jax.random.key(0), image), image


def count(tree) -> int:
    return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (OFFICIAL, 19_184_968),
        (ModelConfig(task="guided"), 19_398_216),
        (ModelConfig(stacks=1), 9_827_656),
        # A third stack (half of what two stacks have over one, twice) and a head with 68 outputs.
        (ModelConfig(task="multitask"), 19_184_968 + 9_357_312 + (65_792 + 512 + 256 * 68 + 68)),
    ],
)
def test_parameter_counts(config, parameters):
    variables, _ = abstract(config)
    assert count(variables["params"]) == parameters


def test_layer_counts_of_the_released_graph():
    names = layer_tensors(jax.tree.map(lambda x: np.empty(x.shape), abstract(OFFICIAL)[0]))
    assert sum(name.endswith(".kernel") for name in names) == 276
    assert sum(name.endswith(".var") for name in names) == 273
    assert len(names) == 1644  # as in the state dict of the public PyTorch port


def convolution_macs(jaxpr) -> int:
    """Multiply-adds of all convolutions as executed: a loop body counts by its trips."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape  # HWIO
            total += np.prod(equation.outvars[0].aval.shape[:3]) * np.prod(kernel)
        if equation.primitive.name == "dot_general":
            ((contracted,), _), _ = equation.params["dimension_numbers"]
            total += (
                np.prod(equation.outvars[0].aval.shape) * equation.invars[0].aval.shape[contracted]
            )
        trips = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            total += trips * convolution_macs(inner)
    return int(total)


@pytest.mark.parametrize(("config", "gmac"), [(OFFICIAL, 24.47), (ModelConfig(stacks=1), None)])
def test_multiply_adds(config, gmac):
    variables, image = abstract(config)
    macs = convolution_macs(jax.make_jaxpr(VRN(config).apply)(variables, image).jaxpr)
    if gmac is not None:
        assert macs / 1e9 == pytest.approx(gmac, abs=0.005)
    else:
        assert macs / 1e9 < 24.47 / 1.8


def test_equal_blocks_are_compiled_once():
    """The program convolves for each family of blocks, not for each of the 86 blocks."""
    variables, image = abstract(OFFICIAL)
    program = jax.jit(VRN(OFFICIAL).apply).lower(variables, image).as_text()
    stem, families, stack, head = 1 + 4 + 3 + 4, 3 * 3, 2, 2
    found = program.count("stablehlo.convolution(") + program.count("stablehlo.dot_general ")
    assert found == stem + families + stack + head


@pytest.mark.parametrize("task", ["unguided", "guided", "multitask"])
def test_output_shapes(task):
    config = ModelConfig(task=task)
    variables, image = abstract(config, batch=3)
    logits = jax.eval_shape(VRN(config).apply, variables, image)
    assert logits.volume.shape == (3, 48, 48, 200)
    assert (logits.landmarks is None) == (task != "multitask")
    if task == "multitask":
        assert logits.landmarks.shape == (3, 48, 48, 68)


def random_variables(config: ModelConfig) -> dict:
    """Weights and statistics with nothing at its default, so that no mix-up can hide."""
    shapes, _ = abstract(config)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        if kind in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = 1 / np.sqrt(np.prod(leaf.shape[-4:-1])) if kind == "kernel" else 0.1
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, 32, 48, 3)), jnp.float32)


@pytest.mark.parametrize("task", ["unguided", "multitask"])
def test_network_is_the_released_graph(task, image):
    config = ModelConfig(task, SMALL.stacks, SMALL.features, SMALL.depth, SMALL.landmarks)
    variables = random_variables(config)
    ours = jax.jit(VRN(config).apply)(variables, image)
    reference = ReferenceVRN(layer_tensors(variables), config.stacks)
    np.testing.assert_allclose(ours.volume, reference(image), rtol=1e-4, atol=1e-4)
    if task == "multitask":
        np.testing.assert_allclose(ours.landmarks, reference.landmarks(image), rtol=1e-4, atol=1e-4)


def test_layers_and_tree_are_the_same_weights():
    variables = random_variables(SMALL)
    back = variables_from_layers(layer_tensors(variables), SMALL)
    jax.tree.map(np.testing.assert_array_equal, variables, back)


def test_statistics_of_single_images_do_not_depend_on_the_batch(image):
    variables = random_variables(SMALL)
    apply = jax.jit(VRN(SMALL, "image").apply)
    together = apply(variables, image).volume
    alone = np.concatenate([apply(variables, image[i : i + 1]).volume for i in range(2)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_statistics_of_a_batch_of_one_are_those_of_its_image(image):
    variables = random_variables(SMALL)
    single = image[:1]
    apply = jax.jit(partial(VRN(SMALL, "batch").apply, mutable=["batch_stats"]))
    batch, updated = apply(variables, single)
    alone = jax.jit(VRN(SMALL, "image").apply)(variables, single)
    np.testing.assert_allclose(batch.volume, alone.volume, rtol=1e-3, atol=1e-3)
    pair, _ = apply(variables, image)
    assert np.abs(pair.volume[0] - alone.volume[0]).max() > 0.01  # and of two they are not
    # Running averages move a tenth of the way to the batch's (Torch7's momentum 0.1).
    conv = ReferenceVRN(layer_tensors(variables), 2).conv("stem.conv", single, stride=2)
    before = variables["batch_stats"]["stem"]["bn"]["mean"]
    after = updated["batch_stats"]["stem"]["bn"]["mean"]
    expected = 0.9 * before + 0.1 * np.mean(conv, axis=(0, 1, 2))
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_wrong_inputs_are_refused():
    variables = random_variables(SMALL)
    with pytest.raises(ValueError, match="multiples of 8"):
        VRN(SMALL).apply(variables, jnp.zeros((1, 30, 32, 3)))
    with pytest.raises(ValueError, match=r"b h w 3"):
        VRN(SMALL).apply(variables, jnp.zeros((1, 32, 32, 4)))


def test_landmark_channels_are_gaussians():
    channels = landmark_channels(jnp.array([[[10.0, 4.0], [2.5, 7.0]]]), (12, 16))
    assert channels.shape == (1, 12, 16, 2)
    rows, columns = np.mgrid[:12, :16]
    expected = np.exp(-((columns - 2.5) ** 2 + (rows - 7) ** 2) / 2)
    np.testing.assert_allclose(channels[0, ..., 1], expected, atol=1e-6)
    assert channels[0, 4, 10, 0] == 1


def test_mirroring_landmarks_twice_changes_nothing_and_swaps_the_eyes():
    points = jnp.asarray(np.random.default_rng(0).uniform(0, 191, (1, 68, 2)), jnp.float32)
    once = mirrored_landmarks(points, 192)
    np.testing.assert_allclose(mirrored_landmarks(once, 192), points, atol=1e-4)
    np.testing.assert_allclose(once[0, 36], [191 - points[0, 45, 0], points[0, 45, 1]], atol=1e-4)
    np.testing.assert_allclose(once[0, 30], [191 - points[0, 30, 0], points[0, 30, 1]], atol=1e-4)
