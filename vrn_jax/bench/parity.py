"""The same weights and photos through PyTorch and through JAX, side by side in one process.

PyTorch runs the released graph as `interop.pytorch` states it, in the type that JAX has, except
that it keeps float32 where JAX has bfloat16: the question then is what the coarser type costs.
"""

import contextlib
import ctypes
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial
from jaxtyping import Array, Float, UInt8

from vrn_jax.config import ModelConfig
from vrn_jax.errors import InputError
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.resample import upsample
from vrn_jax.interop.info import WeightsInfo, original_info
from vrn_jax.interop.mapping import layer_shapes, layer_tensors, variables_from_layers
from vrn_jax.interop.stages import jax_stages, stage_names
from vrn_jax.interop.weights import Weights
from vrn_jax.models.vrn import VRN, Logits
from vrn_jax.preview import render
from vrn_jax.programs import network_input
from vrn_jax.types import Mesh

__all__ = ["DType", "Parity", "Precision", "compare", "random_weights"]

DType = Literal["float32", "float64", "bfloat16"]
Precision = Literal["default", "high", "highest"]
"""Of JAX's convolutions and matrix products in float32; only accelerators have less to offer."""


class Parity(NamedTuple):
    """What a comparison found: numbers for JSON, and both meshes in crop pixels, JAX's first."""

    numbers: dict[str, Any]
    meshes: tuple[Mesh, Mesh]

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """JAX's mesh above PyTorch's, from three sides."""
        rows = [
            np.concatenate([render(mesh, yaw_deg=yaw) for yaw in (-40.0, 0.0, 40.0)], axis=1)
            for mesh in self.meshes
        ]
        return np.concatenate(rows)


def compare(
    weights: Weights,
    crops: UInt8[np.ndarray, "b 192 192 3"],
    landmarks: Float[np.ndarray, "b l 2"] | None = None,
    *,
    dtype: DType = "float32",
    precision: Precision = "highest",
    repeats: int = 3,
) -> Parity:
    """Compares all stages of the network, the volumes and the meshes of crops.

    Differences are |JAX - PyTorch|; "relative" is the norm of the difference over that of PyTorch's
    values. Volumes and the mesh (of the first crop) are cut at the weights' threshold. Seconds are
    medians for one image, without compiling; megabytes are what a pass adds to the process (CPU,
    Linux only) or the device's peak.

    Raises:
        InputError: if PyTorch is not installed, or the weights are of a multitask network.
    """
    if weights.info.model.task == "multitask":
        raise InputError("PyTorch's side has no multitask network; compare its unguided part")
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision(precision):
        ours = _Jax(weights, dtype)
        theirs = _torch_side(weights, "float64" if dtype == "float64" else "float32")
        images = np.asarray(
            network_input(
                weights.info,
                jnp.asarray(crops),
                None if landmarks is None else jnp.asarray(landmarks),
            )
        )
        found, expected = ours.stages(images), theirs.stages(images)
        names = [*stage_names(weights.info.model.stacks), "upsample", "probability"]
        stages = [{"stage": name, **_difference(found[name], expected[name])} for name in names]
        costs = {side.name: side.costs(images[:1], repeats) for side in (ours, theirs)}
    volumes = found["probability"], expected["probability"]
    meshes = (_mesh(volumes[0][0], weights.info), _mesh(volumes[1][0], weights.info))
    numbers = {
        "weights": weights.info.name,
        "norm": weights.info.norm,
        "dtype": dtype,
        "precision": precision,
        "device": jax.devices()[0].device_kind,
        "images": len(crops),
        "stages": stages,
        "volume_iou": _iou(*(volume > weights.info.threshold for volume in volumes)),
        "mesh_distance_px": _mesh_distance(*meshes),
        "costs": costs,
    }
    return Parity(numbers, meshes)


def random_weights(config: ModelConfig, seed: int = 0) -> Weights:
    """Weights and statistics with nothing at its default, used as the original's are.

    They are scaled so that the logits spread by 2 and more: numbers near zero would agree anyhow.
    """
    rng = np.random.default_rng(seed)
    layers = {}
    for name, shape in layer_shapes(config).items():
        kind = name.rpartition(".")[2]
        if kind == "kernel":
            gain = 4.0 if name == "head.out.kernel" else 1.0
            layers[name] = rng.normal(0, gain / np.sqrt(np.prod(shape[:3])), shape)
        elif kind in ("scale", "var"):
            layers[name] = rng.uniform(0.5, 1.5, shape)
        else:
            layers[name] = rng.normal(0, 0.1, shape)
    info = original_info(config, name="random", licence="CC0-1.0", training_data="none")
    return Weights(info, variables_from_layers(layers, config))


class _Jax:
    name = "jax"

    def __init__(self, weights: Weights, dtype: DType):
        info = weights.info
        kind = jnp.float64 if dtype == "float64" else jnp.float32
        self._enlarge = partial(upsample, factor=info.model.stride, mode=info.upsampling)
        model = VRN(info.model, info.norm, jnp.bfloat16 if dtype == "bfloat16" else None)
        self.variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), weights.variables)
        self.kind = kind
        self._stages = jax.jit(partial(jax_stages, model))

        def volume(variables: dict, x: Array) -> Array:
            logits = cast(Logits, model.apply(variables, x)).volume
            return jax.nn.sigmoid(self._enlarge(logits))

        self._volume = jax.jit(volume)

    def stages(self, images: np.ndarray) -> dict[str, np.ndarray]:
        stages = dict(self._stages(self.variables, jnp.asarray(images, self.kind)))
        stages["upsample"] = self._enlarge(stages["logits"])
        stages["probability"] = jax.nn.sigmoid(stages["upsample"])
        return {name: np.asarray(value.astype(self.kind)) for name, value in stages.items()}

    def costs(self, image: np.ndarray, repeats: int) -> dict[str, float | None]:
        x = jnp.asarray(image, self.kind)

        def run() -> Array:
            return jax.block_until_ready(self._volume(self.variables, x))

        seconds = _seconds(run, repeats)
        device = jax.devices()[0].memory_stats()
        megabytes = _added_megabytes(run) if device is None else device["peak_bytes_in_use"] / 1e6
        return {"seconds": seconds, "megabytes": megabytes}


def _torch_side(weights: Weights, dtype: str) -> "_Torch":
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError(
            'comparing needs PyTorch, which is not installed; pip install "vrn-jax[torch]"'
        ) from error
    return _Torch(weights, dtype)


class _Torch:
    name = "pytorch"

    def __init__(self, weights: Weights, dtype: str):
        import torch

        from vrn_jax.interop.pytorch import torch_vrn

        on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.dtype = getattr(torch, dtype)
        self.info = weights.info
        info = weights.info
        network = torch_vrn(layer_tensors(weights.variables), info.model, info.norm)
        self.network = network.to(self.device, self.dtype)
        if on_gpu:  # full float32, as JAX is asked for
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def _input(self, images: np.ndarray) -> Any:
        import torch

        # A copy in PyTorch's own layout: a transposed view would make it run channels last.
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return x.to(self.device, self.dtype)

    def _finish(self, logits: Any) -> tuple[Any, Any]:
        import torch

        from vrn_jax.interop.pytorch import enlarged

        large = enlarged(logits, self.info)
        return large, torch.sigmoid(large)

    def stages(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        from vrn_jax.interop.pytorch import torch_stages

        with torch.inference_mode():
            stages = torch_stages(self.network, self._input(images))
            stages["upsample"], stages["probability"] = self._finish(stages["logits"])
        return {name: value.cpu().numpy().transpose(0, 2, 3, 1) for name, value in stages.items()}

    def costs(self, image: np.ndarray, repeats: int) -> dict[str, float | None]:
        import torch

        x = self._input(image)

        def run() -> object:
            with torch.inference_mode():
                volume = self._finish(self.network(x))[1]
            return torch.cuda.synchronize() if self.device.type == "cuda" else volume

        seconds = _seconds(run, repeats)
        if self.device.type == "cuda":
            megabytes = torch.cuda.max_memory_allocated() / 1e6
        else:
            megabytes = _added_megabytes(run)
        return {"seconds": seconds, "megabytes": megabytes}


def _difference(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    difference = np.abs(found.astype(np.float64) - expected)
    return {
        "max": float(difference.max()),
        "mean": float(difference.mean()),
        "relative": float(np.linalg.norm(difference) / np.linalg.norm(expected.astype(np.float64))),
        "largest_value": float(np.abs(expected).max()),
    }


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0


def _mesh(volume: np.ndarray, info: WeightsInfo) -> Mesh:
    return isosurface(volume.astype(np.float32), info.grid, threshold=info.threshold)


def _mesh_distance(a: Mesh, b: Mesh) -> dict[str, float]:
    """From every vertex to the nearest one of the other mesh, both ways, crop pixels."""
    distances = np.concatenate(
        [scipy.spatial.KDTree(x.vertices).query(y.vertices)[0] for x, y in ((a, b), (b, a))]
    )
    return {"max": float(distances.max()), "mean": float(distances.mean())}


def _seconds(run: Callable[[], object], repeats: int) -> float:
    run()  # compiles, fills caches
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _added_megabytes(run: Callable[[], object]) -> float | None:
    """By how much the process grows at most while this runs; Linux tells, others do not."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier runs have left would be used again unseen
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(field: str) -> int:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[field].split()[0])

    try:
        reset.write_text("5")  # the peak starts from here
        before = kilobytes("VmRSS")
        run()
        return (kilobytes("VmHWM") - before) / 1e3
    except (OSError, KeyError):
        return None
