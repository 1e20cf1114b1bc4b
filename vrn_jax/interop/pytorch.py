"""The released VRN as a plain PyTorch module, built from one tensor a layer.

Written for itself, from the description of the release and not from our Flax modules, so that speed
and numbers can be compared with what a PyTorch user would run. Needs the `torch` extra.
"""

import numpy as np
import torch
from torch import nn

from vrn_jax.config import ModelConfig, Norm
from vrn_jax.errors import InputError
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.models.hourglass import LEVELS

__all__ = ["Volumes", "enlarged", "torch_stages", "torch_vrn"]

Layers = dict[str, torch.Tensor]


def torch_vrn(
    tensors: dict[str, np.ndarray], config: ModelConfig, norm: Norm = "running"
) -> nn.Sequential:
    """An unguided or guided network: float [b c 192 192] -> volume logits [b d 48 48].

    `tensors` are those of `interop.mapping.layer_tensors`. With "batch" it is in training mode.
    """
    layers = {name: torch.from_numpy(np.array(t, np.float32)) for name, t in tensors.items()}
    first = _conv(layers, "stem.conv", stride=2)
    if config.shrink > 1:
        first = nn.Sequential(nn.AvgPool2d(config.shrink), first)
    network = nn.Sequential(
        first,
        *_norm_relu(layers, "stem.bn"),
        Residual(layers, "stem.res0"),
        nn.MaxPool2d(2),
        Residual(layers, "stem.res1"),
        Residual(layers, "stem.res2"),
        *(Stack(layers, f"stack{s}") for s in range(config.stacks)),
        _conv(layers, "head.conv"),
        *_norm_relu(layers, "head.bn"),
        _conv(layers, "head.out"),
    )
    if norm == "image":
        _normalise_images(network)
    return network.train(norm == "batch")


def torch_stages(network: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `network`, of `torch_vrn`, makes of images, stage by stage: [b c h w] by name.

    The names are those of `interop.stages.jax_stages`.
    """
    stacks = [module for module in network if isinstance(module, Stack)]
    named: dict[str, nn.Module] = {"stem": network[6], "logits": network[-1]}
    for s, stack in enumerate(stacks):
        level = stack.body[0]
        for n in range(1, LEVELS + 1):
            assert isinstance(level, Hourglass)
            named[f"stack{s}.level{n}.skip"] = level.unpooled[2]
            named[f"stack{s}.level{n}.pooled"] = level.pooled[5]
            named[f"stack{s}.level{n}.merge"] = level.merge
            level = level.unpooled[-1]
        named[f"stack{s}"] = stack
    stages: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: stages.__setitem__(name, output)

    hooks = [module.register_forward_hook(keep(name)) for name, module in named.items()]
    network(x)
    for hook in hooks:
        hook.remove()
    return stages


class Volumes(nn.Module):
    """Crops as bytes [b h w 3] to occupancy [b h w d], all that the header says included."""

    def __init__(self, network: nn.Module, info: WeightsInfo):
        super().__init__()
        self.network, self.info = network, info

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """uint8 to float32."""
        x = crops.permute(0, 3, 1, 2).to(torch.float32)
        if self.info.channels == "bgr":
            x = x.flip(1)
        logits = self.network(x * self.info.input_scale + self.info.input_offset)
        volume = torch.sigmoid(enlarged(logits, self.info))
        return volume.permute(0, 2, 3, 1)


def enlarged(logits: torch.Tensor, info: WeightsInfo) -> torch.Tensor:
    """[b d h w] to the height and width of the crop.

    Raises:
        InputError: if PyTorch has no such layer.
    """
    if info.upsampling == "asymmetric":
        raise InputError("PyTorch has no asymmetric bilinear enlargement")
    return nn.functional.interpolate(
        logits,
        scale_factor=info.model.stride,
        mode="bilinear",
        align_corners=info.upsampling == "align_corners",
    )


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


class ImageNorm(nn.Module):
    """Batch normalisation by the statistics of every image alone."""

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b c h w] to the same."""
        return nn.functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def _normalise_images(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, ImageNorm(child))
        else:
            _normalise_images(child)


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
