"""The released VRN as a plain PyTorch module, built from one tensor a layer.

Written for itself, from the description of the release and not from our Flax modules, so that speed
and numbers can be compared with what a PyTorch user would run. Needs the `torch` extra.
"""

import numpy as np
import torch
from torch import nn

from vrn_jax.models.hourglass import LEVELS

__all__ = ["torch_vrn"]

Layers = dict[str, torch.Tensor]


def torch_vrn(tensors: dict[str, np.ndarray], stacks: int) -> nn.Module:
    """An unguided or guided network, in evaluation mode: float [b c 192 192] -> [b d 48 48].

    `tensors` are those of `interop.mapping.layer_tensors`. Batch norm uses running statistics.
    """
    layers = {name: torch.from_numpy(np.array(t, np.float32)) for name, t in tensors.items()}
    return nn.Sequential(
        _conv(layers, "stem.conv", stride=2),
        *_norm_relu(layers, "stem.bn"),
        Residual(layers, "stem.res0"),
        nn.MaxPool2d(2),
        Residual(layers, "stem.res1"),
        Residual(layers, "stem.res2"),
        *(Stack(layers, f"stack{s}") for s in range(stacks)),
        _conv(layers, "head.conv"),
        *_norm_relu(layers, "head.bn"),
        _conv(layers, "head.out"),
    ).eval()


class Residual(nn.Module):
    """BN-ReLU-conv1x1, BN-ReLU-conv3x3, BN-ReLU-conv1x1, plus the input or its projection."""

    def __init__(self, layers: Layers, name: str):
        super().__init__()
        body: list[nn.Module] = []
        for i in range(3):
            body += [*_norm_relu(layers, f"{name}.bn{i}"), _conv(layers, f"{name}.conv{i}")]
        self.body = nn.Sequential(*body)
        projected = f"{name}.project.kernel" in layers
        self.skip = _conv(layers, f"{name}.project") if projected else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b c h w] to the same, but for the channels."""
        return self.skip(x) + self.body(x)


class Hourglass(nn.Module):
    """One level, and the next one in its unpooled branch."""

    def __init__(self, layers: Layers, name: str, level: int = 1):
        super().__init__()
        innermost = level == LEVELS
        self.unpooled = _residuals(layers, f"{name}.skip", 3)
        if not innermost:
            self.unpooled.append(Hourglass(layers, f"{name}.inner", level + 1))
        self.pooled = _residuals(layers, f"{name}.pooled", 9 if innermost else 6)
        self.merge = Residual(layers, f"{name}.merge")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b c h w] to the same."""
        pooled = self.pooled(nn.functional.max_pool2d(x, 2))
        pooled = nn.functional.interpolate(pooled, scale_factor=2, mode="nearest")
        return self.merge(self.unpooled(x) + pooled)


class Stack(nn.Module):
    """Hourglass and two 1x1 convolutions, added to the input."""

    def __init__(self, layers: Layers, name: str):
        super().__init__()
        tail: list[nn.Module] = []
        for i in range(2):
            tail += [_conv(layers, f"{name}.conv{i}"), *_norm_relu(layers, f"{name}.bn{i}")]
        self.body = nn.Sequential(Hourglass(layers, f"{name}.hourglass"), *tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b c h w] to the same."""
        return x + self.body(x)


def _residuals(layers: Layers, name: str, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(layers, f"{name}{i}") for i in range(count)))


def _conv(layers: Layers, name: str, stride: int = 1) -> nn.Conv2d:
    kernel = layers[f"{name}.kernel"].permute(3, 2, 0, 1).contiguous()
    out, into, size, _ = kernel.shape
    layer = nn.Conv2d(into, out, size, stride, padding=size // 2)
    layer.weight, layer.bias = nn.Parameter(kernel), nn.Parameter(layers[f"{name}.bias"])
    return layer


def _norm_relu(layers: Layers, name: str) -> tuple[nn.Module, nn.Module]:
    layer = nn.BatchNorm2d(len(layers[f"{name}.scale"]), eps=1e-5)
    layer.weight = nn.Parameter(layers[f"{name}.scale"])
    layer.bias = nn.Parameter(layers[f"{name}.bias"])
    layer.running_mean, layer.running_var = layers[f"{name}.mean"], layers[f"{name}.var"]
    return layer, nn.ReLU()
