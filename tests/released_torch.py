"""The released VRN in plain PyTorch, nested as the public port nests it. Needs torch.

Written from the description of the release, one container within the other; nothing of the package
is used. Its state dict's keys are what the port's files have.
"""

import torch
from torch import nn


class Branches(nn.Sequential):
    """Torch7's ConcatTable: every child sees the same input."""

    def forward(self, x):
        return [child(x) for child in self]


class Add(nn.Module):
    """Torch7's CAddTable."""

    def forward(self, parts):
        first, second = parts
        return first + second


def norm_relu(features: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(features), nn.ReLU()]


def residual(into: int, middle: int, out: int) -> nn.Sequential:
    body = nn.Sequential(
        *norm_relu(into), nn.Conv2d(into, middle, 1),
        *norm_relu(middle), nn.Conv2d(middle, middle, 3, padding=1),
        *norm_relu(middle), nn.Conv2d(middle, out, 1),
    )  # fmt: skip
    skip = nn.Identity() if into == out else nn.Sequential(nn.Conv2d(into, out, 1))
    return nn.Sequential(Branches(body, skip), Add())


def residuals(count: int, features: int) -> list[nn.Module]:
    return [residual(features, features // 2, features) for _ in range(count)]


def hourglass(levels: int, features: int) -> list[nn.Module]:
    unpooled, pooled = residuals(3, features), residuals(6 if levels > 1 else 9, features)
    if levels > 1:
        unpooled.append(nn.Sequential(*hourglass(levels - 1, features)))
    branch = nn.Sequential(nn.MaxPool2d(2), *pooled, nn.Upsample(scale_factor=2, mode="nearest"))
    return [Branches(nn.Sequential(*unpooled), branch), Add(), *residuals(1, features)]


def conv_norm_relu(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(features, features, 1), *norm_relu(features))


def stack(features: int) -> list[nn.Module]:
    tail = [conv_norm_relu(features) for _ in range(2)]
    body = nn.Sequential(*hourglass(4, features), *tail)
    return [Branches(nn.Identity(), body), Add()]


def tail(features: int, out: int) -> nn.Sequential:
    enlarge = nn.UpsamplingBilinear2d(scale_factor=4)  # with aligned corners
    return nn.Sequential(
        conv_norm_relu(features), nn.Conv2d(features, out, 1), enlarge, nn.Sigmoid()
    )


def stem(features: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, 64, 7, 2, 3), *norm_relu(64),
        residual(64, 64, 128), nn.MaxPool2d(2),
        residual(128, 64, 128), residual(128, features // 2, features),
    ]  # fmt: skip


def released_vrn(
    stacks: int = 2, features: int = 256, depth: int = 200, channels: int = 3
) -> nn.Sequential:
    """[b c h w] in training mode -> [[b depth h w]], probabilities."""
    middle = [module for _ in range(stacks) for module in stack(features)]
    return nn.Sequential(*stem(features, channels), *middle, Branches(tail(features, depth)))


def randomize(network: nn.Module, seed: int = 0, gain: float = 1.0) -> None:
    """Weights and statistics with nothing at its default; outputs of a useful size."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like, low, high):
        return torch.rand(like.shape, generator=generator, dtype=like.dtype) * (high - low) + low

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                spread = gain / module.weight[0].numel() ** 0.5
                module.weight.copy_(uniform(module.weight, -1.7 * spread, 1.7 * spread))
                module.bias.copy_(uniform(module.bias, -0.2, 0.2))
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(uniform(module.weight, 0.5, 1.5))
                module.bias.copy_(uniform(module.bias, -0.2, 0.2))
                module.running_mean.copy_(uniform(module.running_mean, -0.2, 0.2))
                module.running_var.copy_(uniform(module.running_var, 0.5, 1.5))


def stages(network: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the network computes on the way, with the last layers as "upsample", "probability"."""
    final = network[-1][0]
    named = {"stem": network[6], "logits": final[1], "upsample": final[2], "probability": final[3]}
    for s, first in enumerate(range(7, len(network) - 1, 2)):
        body = network[first][1]
        named[f"stack{s}"] = network[first + 1]
        for n in range(1, 5):
            unpooled, pooled = body[0]
            named[f"stack{s}.level{n}.skip"] = unpooled[2]
            named[f"stack{s}.level{n}.pooled"] = pooled[6]
            named[f"stack{s}.level{n}.merge"] = body[2]
            body = unpooled[-1]
    seen = {}
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: seen.__setitem__(name, output)
        )
        for name, module in named.items()
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return seen
