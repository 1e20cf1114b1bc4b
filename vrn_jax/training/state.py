"""What a training run consists of at a step, and how it begins."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from vrn_jax.config import ModelConfig, TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.interop.weights import load_weights
from vrn_jax.models.vrn import VRN, input_channels
from vrn_jax.training.optimizers import make_optimizer

__all__ = ["TrainState", "initial_state", "random_variables", "state_at_start"]

_TRUNCATED_STD = 0.87962566103423978
"""Of a standard normal cut off at two standard deviations."""


class TrainState(NamedTuple):
    """All that a step reads and writes; float32 but for counters.

    `step` counts updates; the next batch begins at sample `step * batch_size * accumulate`.
    `params` and `batch_stats` are the network's variables; `ema` is the moving average of both.
    """

    step: Int[Array, ""]
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    ema: dict


def initial_state(config: TrainConfig) -> TrainState:
    """A state with random weights; pure, so that it can be made sharded or only as shapes."""
    return _state_of(random_variables(config.model, config.data.seed), config)


def random_variables(config: ModelConfig, seed: int) -> dict:
    """New weights as `VRN.init` makes them, by the same distributions: LeCun normal kernels.

    All random numbers are drawn by one call. Flax draws every kernel by itself, which takes 10
    seconds to compile; this takes one.
    """
    image = jax.ShapeDtypeStruct((1, *VRN_GRID.shape[:2], input_channels(config)), jnp.float32)
    shapes: dict[tuple[str, ...], jax.ShapeDtypeStruct] = flatten_dict(
        jax.eval_shape(VRN(config).init, jax.random.key(seed), image)
    )  # pyright: ignore[reportAssignmentType]
    sizes = {path: leaf.size for path, leaf in shapes.items() if _is_kernel(path)}
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())), strict=True))
    numbers = jax.random.truncated_normal(jax.random.key(seed), -2, 2, (sum(sizes.values()),))

    def fill(path: tuple[str, ...], leaf: jax.ShapeDtypeStruct) -> Float[Array, "..."]:
        if not _is_kernel(path):
            return (jnp.ones if path[-1] in ("scale", "var") else jnp.zeros)(leaf.shape)
        drawn = numbers[ends[path] - leaf.size : ends[path]].reshape(leaf.shape)
        fan_in = math.prod(leaf.shape[-4:-1])  # leading axes number the blocks of a family
        return drawn / (_TRUNCATED_STD * math.sqrt(fan_in))

    return unflatten_dict({path: fill(path, leaf) for path, leaf in shapes.items()})


def _is_kernel(path: tuple[str, ...]) -> bool:
    return path[-1] == "kernel"


def state_at_start(config: TrainConfig) -> TrainState:
    """The state of step 0: with random weights, or those that `config.run.init_from` names.

    Raises:
        WeightsError: if the weights cannot be read.
        InputError: if they are of another network.
    """
    if config.run.init_from is None:
        return jax.jit(initial_state, static_argnums=0)(config)
    weights = load_weights(config.run.init_from)
    _check_network(weights.info.model, config.model)
    return _state_of(jax.device_put(weights.variables), config)


def _state_of(variables: dict, config: TrainConfig) -> TrainState:
    params, batch_stats = variables["params"], variables["batch_stats"]
    optimizer = make_optimizer(config.optim, config.run.steps)
    average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats})
    return TrainState(jnp.int32(0), params, batch_stats, optimizer.init(params), average)


def _check_network(found: ModelConfig, wanted: ModelConfig) -> None:
    if found != wanted:
        raise InputError(
            f"the weights to start from are of {found}, this run trains {wanted}; set --model to "
            "agree"
        )
