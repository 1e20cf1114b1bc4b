"""Ten steps of training in both frameworks: losses, gradients, parameters, statistics.

Skipped without torch. The reference is `released_torch` with PyTorch's own loss and optimizer.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from vrn_jax.geometry.resample import upsample
from vrn_jax.interop.foreign import layers_from_state
from vrn_jax.interop.mapping import layer_tensors, variables_from_layers
from vrn_jax.models.vrn import VRN
from vrn_jax.training.optimizers import torch_rmsprop

torch = pytest.importorskip("torch")

import released_torch  # noqa: E402

LEARNING_RATE = 1e-4


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Two pictures, and what is occupied in them."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (2, 64, 64, 3))
    return images, rng.uniform(0, 1, (2, 64, 64, 6)) < 0.4


def torch_layers(network, gradients: bool = False) -> dict[str, np.ndarray]:
    """The network's parameters (or gradients) and statistics under our names."""
    state = {key: tensor.detach().numpy().copy() for key, tensor in network.state_dict().items()}
    if gradients:
        state |= {key: p.grad.numpy().copy() for key, p in network.named_parameters()}
    return state


def ours(state: dict[str, np.ndarray], dtype: type) -> dict:
    """Our tree of a state dict; in float64 nothing may be rounded on the way."""
    layers, config = layers_from_state(state)
    tree = variables_from_layers(layers, config)
    if dtype is np.float32:
        return tree
    low = {key: t - t.astype(np.float32) for key, t in state.items()}
    rest = variables_from_layers(layers_from_state(low)[0], config)
    return jax.tree.map(lambda a, b: a.astype(np.float64) + b, tree, rest)


def pytorch_steps(network, images, occupied, dtype, steps) -> tuple[list[float], dict]:
    """Losses, and the gradients of the first step."""
    x = torch.from_numpy(images.astype(dtype).transpose(0, 3, 1, 2).copy())
    target = torch.from_numpy(occupied.astype(dtype).transpose(0, 3, 1, 2).copy())
    tail = network[-1][0]
    optimizer = torch.optim.RMSprop(network.parameters(), lr=LEARNING_RATE)
    losses, first = [], {}
    for _ in range(steps):
        optimizer.zero_grad()
        logits = torch.nn.Sequential(*network[:-1], *tail[:-1])(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss.backward()
        first = first or torch_layers(network, gradients=True)
        optimizer.step()
        losses.append(loss.item())
    return losses, first


def jax_steps(model, variables, images, occupied, steps) -> tuple[list[float], dict, dict]:
    """Losses, the gradients of the first step, and the variables in the end."""
    optimizer = torch_rmsprop(LEARNING_RATE)

    def loss_of(params, statistics):
        logits, updated = model.apply(
            {"params": params, "batch_stats": statistics}, images, mutable=["batch_stats"]
        )
        loss = optax.sigmoid_binary_cross_entropy(upsample(logits.volume), occupied).mean()
        return loss, updated["batch_stats"]

    @jax.jit
    def step(params, statistics, state):
        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            params, statistics
        )
        updates, state = optimizer.update(gradients, state)
        return loss, gradients, optax.apply_updates(params, updates), statistics, state

    params, statistics = variables["params"], variables["batch_stats"]
    state, losses, first = optimizer.init(params), [], None
    for _ in range(steps):
        loss, gradients, params, statistics, state = step(params, statistics, state)
        losses.append(float(loss))
        first = gradients if first is None else first
    return losses, first, {"params": params, "batch_stats": statistics}


@pytest.mark.parametrize(("dtype", "steps"), [(np.float64, 10), (np.float32, 1)])
def test_steps(batch, dtype, steps):
    """In float32 only the first: RMSProp's first steps are about the sign of the gradient, whatever
    its size, so rounding decides on the biases before a normalisation, whose true gradient is zero,
    and two runs drift apart within either framework.
    """
    images, occupied = batch
    network = released_torch.released_vrn(1, 16, 6).train()
    released_torch.randomize(network)
    network = network.to(torch.float64 if dtype is np.float64 else torch.float32)
    with jax.enable_x64(dtype is np.float64):
        variables = jax.tree.map(jnp.asarray, ours(torch_layers(network), dtype))
        config = layers_from_state(torch_layers(network))[1]
        losses, gradients = pytorch_steps(network, images, occupied, dtype, steps)
        found, first, end = jax_steps(
            VRN(config, "batch"),
            variables,
            jnp.asarray(images, dtype),
            jnp.asarray(occupied, dtype),
            steps,
        )
        expected_gradients, expected = ours(gradients, dtype), ours(torch_layers(network), dtype)
    exact = dtype is np.float64
    np.testing.assert_allclose(found, losses, rtol=1e-10 if exact else 1e-5)
    if steps > 1:
        assert losses[-1] < losses[0]
    for path, gradient in flatten_dict(dict(first)).items():
        theirs = flatten_dict(expected_gradients["params"])[path]
        scale = np.abs(theirs).max()
        # The second terms are for the biases before a normalisation, whose gradient is noise.
        atol = 1e-9 * scale + 1e-13 if exact else 1e-3 * scale + 1e-7
        np.testing.assert_allclose(gradient, theirs, rtol=0, atol=atol)
    for kind, tree in end.items() if exact else ():
        for path, value in flatten_dict(dict(tree)).items():
            if path[-1] != "var":  # see below
                np.testing.assert_allclose(value, flatten_dict(expected[kind])[path], atol=1e-6)


def test_running_variance_is_the_biased_one_of_the_batch():
    """The one known difference: PyTorch and Torch7 average n / (n - 1) times what we average.

    n is the number of pixels in the batch, 576 at least at full size: 0.2 % at most.
    """
    network = released_torch.released_vrn(1, 16, 6).train()
    released_torch.randomize(network)
    before = layers_from_state(torch_layers(network))
    x = np.random.default_rng(0).uniform(0, 1, (2, 64, 64, 3)).astype(np.float32)
    variables = variables_from_layers(*before)
    released_torch.stages(network, torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    after = layers_from_state(torch_layers(network))[0]
    apply = jax.jit(partial(VRN(before[1], "batch").apply, mutable=["batch_stats"]))
    _, updated = apply(variables, x)
    found = layer_tensors({"batch_stats": updated["batch_stats"]})
    pixels = {"stem.bn": 2 * 32 * 32, "stack0.hourglass.pooled3.bn1": 2 * 8 * 8}
    for layer, n in pixels.items():
        old, theirs = before[0][f"{layer}.var"], after[f"{layer}.var"]
        unbiased = (theirs - 0.9 * old) / 0.1
        np.testing.assert_allclose(
            found[f"{layer}.var"], 0.9 * old + 0.1 * unbiased * (n - 1) / n, rtol=1e-4
        )
        np.testing.assert_allclose(found[f"{layer}.mean"], after[f"{layer}.mean"], atol=1e-5)
