"""Weights of the original VRN and of its PyTorch ports, to our weights and back.

Files come and go as state dicts: one tensor a key, convolutions as [out, in, rows, columns]. What
else is needed to use weights (input range, batch normalisation, grid, ...) such files do not say;
`original_info` states what the original does.
"""

import os
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from vrn_jax.config import ModelConfig
from vrn_jax.errors import WeightsError
from vrn_jax.interop.mapping import check_tensors, layer_shapes, layer_tensors
from vrn_jax.interop.released import KeyStyle, released_graph, torch_keys
from vrn_jax.interop.state_dict import read_state_dict, state_dict_bytes
from vrn_jax.interop.torch7 import read_torch7
from vrn_jax.interop.torch7_modules import check_graph, module_tensors, torch7_bytes
from vrn_jax.io.atomic import writing

__all__ = ["layers_from_state", "read_foreign", "state_from_layers", "write_foreign"]

Tensors = dict[str, np.ndarray]

_PYTORCH = (".pth", ".pt", ".tar")
_MOST_STACKS = 16


def read_foreign(path: str | os.PathLike[str]) -> tuple[Tensors, ModelConfig]:
    """Reads a Torch7 network (.t7), a PyTorch state dict (.pth, .pt, .tar) or one in safetensors.

    Returns:
        One float32 tensor a layer under our names (see `mapping`), and the network they make.

    Raises:
        WeightsError: if the file cannot be read, or is not one of our networks: its `problems` list
            every tensor that does not fit.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".t7":
        network = read_torch7(path)
        layers, config = layers_from_state(module_tensors(network))
        check_graph(network, released_graph(config))
        return layers, config
    if suffix in _PYTORCH:
        return layers_from_state(read_state_dict(path))
    if suffix == ".safetensors":
        try:
            return layers_from_state(safetensors.numpy.load_file(path))
        except (OSError, safetensors.SafetensorError) as error:
            raise WeightsError(f"cannot read weights from {path}: {error}") from error
    raise WeightsError(f"{path} ends in none of .t7, {', '.join(_PYTORCH)}, .safetensors")


def write_foreign(
    path: str | os.PathLike[str], variables: dict, config: ModelConfig, style: KeyStyle = "nested"
) -> None:
    """Writes a Torch7 network (.t7) or a PyTorch state dict (.pth, .pt), at once or not at all.

    Raises:
        WeightsError: if the suffix is none of these.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".t7", ".pth", ".pt"):
        raise WeightsError(f"{path} ends in none of .t7, .pth, .pt")
    style = "nested" if suffix == ".t7" else style
    state = state_from_layers(layer_tensors(variables), config, style)
    if suffix == ".t7":
        data = torch7_bytes(released_graph(config), state)
    else:
        data = state_dict_bytes(state)
    with writing(path) as partial:
        partial.write_bytes(data)


def layers_from_state(state: Tensors) -> tuple[Tensors, ModelConfig]:
    """One float32 tensor a layer under our names, from a state dict; and which network it is.

    Raises:
        WeightsError: its `problems` list every tensor that is missing, left over or misshapen.
    """
    state = {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}
    config, style = _recognise(state)
    keys, shapes = torch_keys(config, style), layer_shapes(config)
    expected = {keys[name]: _torch_shape(shape) for name, shape in shapes.items()}
    # Torch7's SpatialConvolutionMM flattens its kernels to [out, in * rows * columns].
    state = {
        key: t.reshape(expected[key])
        if t.ndim == 2 and len(expected.get(key, ())) == 4 and t.size == np.prod(expected[key])
        else t
        for key, t in state.items()
    }
    check_tensors({key: t.shape for key, t in state.items()}, expected, config)
    return {
        name: np.ascontiguousarray(_moved(state[key], (2, 3, 1, 0)), np.float32)
        for name, key in keys.items()
    }, config


def state_from_layers(layers: Tensors, config: ModelConfig, style: KeyStyle) -> Tensors:
    """The state dict of one tensor a layer, in PyTorch's layout and order."""
    return {
        key: np.ascontiguousarray(_moved(layers[name], (3, 2, 0, 1)), np.float32)
        for name, key in torch_keys(config, style).items()
    }


def _moved(tensor: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return tensor.transpose(axes) if tensor.ndim == 4 else tensor


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _recognise(state: Tensors) -> tuple[ModelConfig, KeyStyle]:
    """The network that these tensors are meant to be, as far as a few of them tell."""
    style: KeyStyle = "nested" if "0.weight" in state else "named"
    multitask, stacks = _stacks(state, style)
    if not 1 <= stacks <= _MOST_STACKS:
        some = ", ".join(sorted(state)[:3])
        raise WeightsError(
            'no VRN: keys are positions ("0.weight", "7.1.0.0.0...", ...) or names of layers '
            f'("stem.conv.weight", "stack0.hourglass...", ...), got {some or "none"}'
        )
    keys = torch_keys(ModelConfig("multitask" if multitask else "unguided", stacks), style)

    def size(name: str, axis: int, default: int) -> int:
        tensor = state.get(keys.get(name, ""))
        return tensor.shape[axis] if tensor is not None and tensor.ndim > axis else default

    stem = state.get(keys["stem.conv.kernel"])
    channels = 3 if stem is None or not len(stem) else stem.size // (len(stem) * 7 * 7)
    guided = channels > 3 and not multitask
    landmarks = channels - 3 if guided else size("landmark_head.out.bias", 0, 68)
    features, depth = size("stem.res2.conv2.bias", 0, 256), size("head.out.bias", 0, 200)
    task = "multitask" if multitask else "guided" if guided else "unguided"
    try:
        return ModelConfig(task, stacks, features, depth, landmarks), style
    except ValueError as error:
        raise WeightsError(f"no VRN: {error}") from error


def _stacks(state: Tensors, style: KeyStyle) -> tuple[bool, int]:
    """Whether it is a multitask network, and how many stacks it has."""
    parts = [key.split(".") for key in state]
    if style == "named":
        numbers = [part[0].removeprefix("stack") for part in parts if part[0].startswith("stack")]
        found = {int(n) for n in numbers if n.isdecimal() and len(n) < 4}
        return any(part[0] == "landmark_stack" for part in parts), max(found, default=-1) + 1
    last = max(int(part[0]) for part in parts if part[0].isdecimal() and len(part[0]) < 4)
    multitask = any(part[:2] == [str(last), "1"] for part in parts)
    # Seven modules of the stem; two a stack; the last one holds what follows.
    return multitask, (last - 7) // 2 + multitask
