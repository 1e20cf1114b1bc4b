"""What a training run consists of at a step, and how it begins."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from vrn_jax.config import ModelConfig, TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.interop.weights import load_weights
from vrn_jax.models.vrn import VRN, input_channels
from vrn_jax.training.optimizers import make_optimizer

__all__ = ["TrainState", "initial_state", "state_at_start"]


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
    image = jnp.zeros((1, *VRN_GRID.shape[:2], input_channels(config.model)))
    variables = VRN(config.model).init(jax.random.key(config.data.seed), image)
    return _state_of(dict(variables), config)


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
