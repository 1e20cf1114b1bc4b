"""The optimizers: the paper's RMSProp as Torch7 computes it, and AdamW for what came later."""

import jax
import optax

from vrn_jax.config import OptimConfig

__all__ = ["learning_rate_schedule", "make_optimizer", "torch_rmsprop"]


def torch_rmsprop(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.99, eps: float = 1e-8
) -> optax.GradientTransformation:
    """RMSProp as Torch7 and PyTorch define it, with their defaults, which the paper used.

    ``v <- decay v + (1 - decay) g**2;  p <- p - learning_rate g / (sqrt(v) + eps)``, from v = 0.
    optax's own defaults differ in both: decay 0.9, and epsilon under the root.
    """
    return optax.rmsprop(learning_rate, decay=decay, eps=eps, eps_in_sqrt=False)


def learning_rate_schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """The learning rate at every step of a run of `steps`.

    "step" is the paper's: constant, and a tenth of it after `drop_at` of the run. "cosine" rises
    linearly during `warmup_steps` and falls along a half cosine to zero.
    """
    if config.schedule == "step":
        drop = round(config.drop_at * steps)
        return optax.piecewise_constant_schedule(config.learning_rate, {drop: 0.1})
    warmup = min(config.warmup_steps, max(steps - 1, 0))
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(steps, 1))


def make_optimizer(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Gradients to updates: clipped by their global norm, then as `config.kind` says."""
    rate = learning_rate_schedule(config, steps)
    if config.kind == "rmsprop":
        optimizer = torch_rmsprop(rate)
    else:
        optimizer = optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay, mask=_kernels)
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def _kernels(params: dict) -> dict:
    """Weight decay is for the kernels of convolutions, not for biases and scales."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
