"""How long a photo takes, part by part, each beside a peer measured in the same run.

Absolute times depend on the machine and what else it does; ratios of one run are worth comparing.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import scipy.ndimage

from vrn_jax.bench.provenance import provenance
from vrn_jax.config import ModelConfig
from vrn_jax.detection import FaceDetector
from vrn_jax.geometry.crop import crop_face
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.texture import texture_from_photo
from vrn_jax.inference import load
from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.interop.weights import load_weights
from vrn_jax.models.vrn import VRN
from vrn_jax.outputs import save
from vrn_jax.pipeline import reconstruct_many
from vrn_jax.postprocess import PostprocessSettings, clean

__all__ = ["measure_inference"]

_PACKAGES = ("jax", "flax", "numpy", "scikit-image", "torch")


def measure_inference(photo: np.ndarray, *, repeats: int = 7) -> dict:
    """Seconds for every part of reconstructing the face in `photo`, uint8 [h w 3]; medians.

    Keys ending in "_peer" are what the key without it is compared with: the same graph in PyTorch,
    channels last, and in its default layout as "_peer_default_layout" (both absent without the
    `torch` extra), scipy.ndimage's clean-up, marching cubes on the whole volume, the same photos
    one by one.
    """
    reconstructor = load()
    detector = FaceDetector()
    face = detector(photo)[0]
    crop = crop_face(photo, face.box)
    result = reconstructor(photo)[0]
    occupancy = np.asarray(result.occupancy, np.float32)

    def timed(action: Callable[[], object]) -> float:
        return _median_seconds(action, repeats)

    parts = {
        "detect": timed(lambda: detector(photo)),
        "crop": timed(lambda: crop_face(photo, face.box)),
        **_network(crop.image, repeats),
        **_clean_up(crop.image, repeats),
        "isosurface": timed(lambda: _isosurface_of_box(occupancy, reconstructor.info.grid)),
        "isosurface_peer": timed(lambda: isosurface(occupancy, reconstructor.info.grid)),
        "photo_to_mesh": timed(lambda: reconstructor(photo)),
        "texture": timed(lambda: texture_from_photo(result.mesh, photo)),
        **_files(result, timed),
        **_folder(photo, reconstructor),
        **_processes(),
    }
    return {
        **provenance("vrn bench inference", _PACKAGES),
        "seconds": {name: round(t, 4) for name, t in parts.items()},
    }


def _median_seconds(action: Callable[[], object], repeats: int) -> float:
    action()  # compiles, fills caches
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(action())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _network(crop: np.ndarray, repeats: int) -> dict[str, float]:
    """The embedded network's graph and the released one, ours and PyTorch's."""
    seconds = {}
    image = crop[None].astype(np.float32) / 127.5 - 1
    for name, config in (("default", load_weights().info.model), ("released", ModelConfig())):
        shapes = jax.eval_shape(VRN(config).init, jax.random.key(0), image)
        variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, np.float32), shapes)
        forward = jax.jit(VRN(config).apply)
        on_device = jax.device_put(variables)
        start = time.perf_counter()
        forward.lower(on_device, image).compile()
        seconds[f"network_{name}_compile"] = time.perf_counter() - start

        def ours(forward=forward, on_device=on_device) -> object:
            return jax.block_until_ready(forward(on_device, image))

        seconds[f"network_{name}"] = _median_seconds(ours, repeats)
        peers = _torch_forwards(layer_tensors(variables), config, image)
        for peer, theirs in peers.items():
            seconds[f"network_{name}_{peer}"] = _median_seconds(theirs, repeats)
    return seconds


def _torch_forwards(
    tensors: dict, config: ModelConfig, image: np.ndarray
) -> dict[str, Callable[[], object]]:
    """PyTorch's way through the network in its faster layout and in its default one."""
    try:
        import torch

        from vrn_jax.interop.pytorch import torch_vrn
    except ImportError:
        return {}
    x = torch.from_numpy(image.transpose(0, 3, 1, 2))

    def forward(layout: torch.memory_format) -> Callable[[], object]:
        network, pixels = torch_vrn(tensors, config), x.contiguous(memory_format=layout)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)

        def run() -> object:
            with torch.inference_mode():
                return network(pixels).numpy()

        return run

    return {
        "peer": forward(torch.channels_last),
        "peer_default_layout": forward(torch.contiguous_format),
    }


def _clean_up(crop: np.ndarray, repeats: int) -> dict[str, float]:
    weights = load_weights()
    image = crop[None].astype(np.float32) / 127.5 - 1
    logits = jax.jit(VRN(weights.info.model).apply)(weights.variables, image).volume
    settings = PostprocessSettings(sigma_px=1.5)
    ours = _median_seconds(lambda: clean(logits, settings=settings), repeats)
    cells = np.asarray(logits[0])

    def scipy_way() -> object:
        volume = np.asarray(scipy.ndimage.zoom(cells, (4, 4, 1), order=1))  # with aligned corners
        volume = scipy.ndimage.gaussian_filter(1 / (1 + np.exp(-volume)), (1.5, 1.5, 3.0))
        labels = np.empty(volume.shape, np.int32)
        scipy.ndimage.label(volume > 0.5, output=labels)
        largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        return scipy.ndimage.binary_fill_holes(largest)

    return {"clean_up": ours, "clean_up_peer": _median_seconds(scipy_way, 1)}


def _isosurface_of_box(occupancy: np.ndarray, grid) -> object:
    low, high = (bound(np.nonzero(occupancy > 0.5), axis=1) for bound in (np.min, np.max))
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    return isosurface(occupancy[box], grid, corner=low, has_cavities=False)


def _files(result, timed: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            f"write_{kind}": timed(lambda kind=kind: save(result, Path(folder, f"face.{kind}")))
            for kind in ("glb", "preview.png")
        }


def _folder(photo: np.ndarray, reconstructor, photos: int = 12) -> dict[str, float]:
    """Seconds a photo: photos to meshes in memory, one after the other and overlapped."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.jpg") for i in range(photos)]
        for path in paths:
            Image.fromarray(photo).save(path)
        list(reconstruct_many(reconstructor, paths[:4]))
        start = time.perf_counter()
        for path in paths:
            reconstructor(path)
        middle = time.perf_counter()
        list(reconstruct_many(reconstructor, paths))
        end = time.perf_counter()
    return {"folder_photo": (end - middle) / photos, "folder_photo_peer": (middle - start) / photos}


def _processes() -> dict[str, float]:
    """Wall time of whole `vrn reconstruct` processes; only the first one has to compile."""
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder, "cache"))
        command = [sys.executable, "-m", "vrn_jax", "reconstruct", "-o", folder]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        times = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            times.append(time.perf_counter() - start)
    return {"first_process": times[0], "second_process": times[1]}
