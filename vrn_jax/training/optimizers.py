"""The optimizer of the paper's training."""

import optax

__all__ = ["torch_rmsprop"]


def torch_rmsprop(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.99, eps: float = 1e-8
) -> optax.GradientTransformation:
    """RMSProp as Torch7 and PyTorch define it, with their defaults, which the paper used.

    ``v <- decay v + (1 - decay) g**2;  p <- p - learning_rate g / (sqrt(v) + eps)``, from v = 0.
    optax's own defaults differ in both: decay 0.9, and epsilon under the root.
    """
    return optax.rmsprop(learning_rate, decay=decay, eps=eps, eps_in_sqrt=False)
