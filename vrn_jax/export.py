"""Networks for deployment: one file that runs without this package.

StableHLO, by `jax.export`: for JAX alone, on CPUs, NVIDIA GPUs and TPUs, with any batch. ONNX, by
way of PyTorch's exporter: for everything that speaks ONNX.

Both take crops as bytes, RGB in 0..255, and return occupancy probabilities; the weights, their
input range and the enlargement are inside. Beside the file goes a JSON with the header of the
weights and the names, types and shapes of what goes in and out.
"""

import dataclasses
import json
import os
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.interop.weights import Weights
from vrn_jax.io.atomic import writing
from vrn_jax.models.vrn import VRN
from vrn_jax.programs import network_logits, probabilities

__all__ = ["PLATFORMS", "export_onnx", "export_stablehlo"]

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(path: str | os.PathLike[str], weights: Weights) -> None:
    """Writes the network as a StableHLO artifact for `PLATFORMS`, and a JSON beside it.

    `jax.export.deserialize` reads it; its `call` takes uint8 [b 192 192 3], and for a guided
    network the landmarks too (crop pixels, float32 [b 68 2]), and returns float32 [b 192 192 200].

    Raises:
        OSError: if a file cannot be written.
    """
    info, model = weights.info, VRN(weights.info.model, weights.info.norm)
    variables = jax.tree.map(np.asarray, weights.variables)

    def volumes(
        crops: UInt8[Array, "b h w 3"], landmarks: Float[Array, "b l 2"] | None = None
    ) -> Float[Array, "b h w d"]:
        logits = network_logits(model, info, variables, crops, landmarks)
        return probabilities(logits, info)

    (batch,) = jax.export.symbolic_shape("b")
    arguments = [jax.ShapeDtypeStruct((batch, *info.grid.shape[:2], 3), jnp.uint8)]
    if info.model.task == "guided":
        points = (batch, info.model.landmarks, 2)
        arguments.append(jax.ShapeDtypeStruct(points, jnp.float32))
    exported = jax.export.export(jax.jit(volumes), platforms=PLATFORMS)(*arguments)
    with writing(path) as partial:
        partial.write_bytes(exported.serialize())
    _write_description(path, weights, "StableHLO (jax.export)", [a.shape for a in arguments])


def export_onnx(path: str | os.PathLike[str], weights: Weights) -> None:
    """Writes an unguided network as ONNX with any batch, and a JSON beside it.

    The input "crops" is uint8 [b 192 192 3], the output "occupancy" float32 [b 192 192 200].

    Raises:
        InputError: if PyTorch or its exporter is not installed, or the network takes landmarks.
        OSError: if a file cannot be written.
    """
    if weights.info.model.task != "unguided":
        raise InputError(f"ONNX is for unguided networks, got a {weights.info.model.task} one")
    if not (find_spec("torch") and find_spec("onnxscript")):
        raise InputError(
            "writing ONNX needs PyTorch and onnxscript; best in an environment of its own: "
            'pip install "vrn-jax[onnx]"'
        )
    import torch

    from vrn_jax.interop.pytorch import Volumes, torch_vrn

    info = weights.info
    network = torch_vrn(layer_tensors(weights.variables), info.model, info.norm)
    crops = torch.zeros((2, *info.grid.shape[:2], 3), dtype=torch.uint8)
    with writing(path) as partial:
        torch.onnx.export(
            Volumes(network, info).eval(),
            (crops,),
            partial,
            input_names=["crops"],
            output_names=["occupancy"],
            dynamic_shapes=({0: torch.export.Dim("b")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    _write_description(path, weights, "ONNX", [("b", *info.grid.shape[:2], 3)])


def _write_description(
    path: str | os.PathLike[str], weights: Weights, kind: str, inputs: list[tuple]
) -> None:
    description = {
        "format": kind,
        "inputs": [
            {"name": name, "type": dtype, "shape": [str(n) for n in shape]}
            for (name, dtype), shape in zip(
                (("crops", "uint8"), ("landmarks", "float32")), inputs, strict=False
            )
        ],
        "output": {
            "name": "occupancy",
            "type": "float32",
            "shape": ["b", *map(str, weights.info.grid.shape)],
        },
        "weights": dataclasses.asdict(weights.info),
    }
    with writing(Path(path).with_suffix(".json")) as partial:
        partial.write_text(json.dumps(description, indent=1) + "\n")
