"""How good a network is on held-out made faces: IoU, front-surface depth, landmarks.

Beside it stands the best volume that is the same for everybody: what can be had without looking.
"""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vrn_jax.config import TrainConfig
from vrn_jax.faces.sample import Example
from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.resample import upsample
from vrn_jax.geometry.solid import occupancy
from vrn_jax.metrics.baselines import best_constant_volume
from vrn_jax.metrics.depth import depth_error, volume_front
from vrn_jax.metrics.landmarks import landmark_nme, outer_interocular
from vrn_jax.metrics.statistics import YAW_BINS, yaw_bin
from vrn_jax.metrics.volume import iou
from vrn_jax.models.vrn import VRN, Logits
from vrn_jax.training.step import guidance, network_input, weights_info

__all__ = ["Evaluation", "best_constant_iou", "evaluate", "heatmap_points"]

_BATCH = 8
_PICTURES = 8
_LEVELS = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6)
"""Between them the mean IoU of the level sets is highest, by far."""


class Evaluation(NamedTuple):
    """Means over the held-out faces; of the first few also the front surfaces as height maps
    (`metrics.depth`): truth and prediction.
    """

    metrics: dict[str, float]
    fronts: Float[np.ndarray, "m 2 h w"]


def evaluate(config: TrainConfig, variables: dict, held_out: Example) -> Evaluation:
    """Measures a network with the statistics that its weights are meant for.

    Metrics: "iou"; "depth_error" and "coverage" of the front surface (`metrics.depth`), the former
    also by yaw as "depth_error/30-60"; for a multitask network "landmark_error", the mean distance
    in the picture over the outer eye distance in space. A face without any surface where it is
    looked for counts for the coverage, not for the depth error.
    """
    count = len(held_out.image)
    size = min(_BATCH, count)
    parts = []
    for first in range(0, count, size):
        numbers = np.arange(first, first + size) % count  # the last batch is filled up
        batch = _take(held_out, numbers)
        parts.append(jax.device_get(_measure(config, variables, batch, jnp.asarray(numbers))))
    joined: dict[str, np.ndarray] = {
        name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]
    }
    fronts = joined.pop("fronts")[:_PICTURES]
    bins = yaw_bin(np.asarray(held_out.attributes.yaw))
    for number, name in enumerate(YAW_BINS):
        joined[f"depth_error/{name}"] = joined["depth_error"][bins == number]
    # What could be measured on no face, such as the depth of empty volumes, has no mean.
    known = {name: values[np.isfinite(values)] for name, values in joined.items()}
    means = {name: float(values.mean()) for name, values in known.items() if len(values)}
    return Evaluation(means, fronts)


def best_constant_iou(held_out: Example, grid: VolumeGrid = VRN_GRID) -> float:
    """The highest mean IoU that one volume reaches on all of these faces."""
    count = len(held_out.image)
    solids = [jax.tree.map(lambda leaf: leaf[i], held_out.solid) for i in range(count)]  # noqa: B023
    volume = jax.jit(lambda solid: occupancy(solid, grid))
    mean = np.zeros(grid.shape, np.float32)
    for solid in solids:
        mean += np.asarray(volume(solid)) / count
    truths = (np.asarray(volume(solid)) for solid in solids)
    return best_constant_volume(mean, truths, _LEVELS).mean_iou


def heatmap_points(logits: Float[Array, "b h w l"]) -> Float[Array, "b l 2"]:
    """Landmarks (x, y) in crop pixels: the centre of mass of what lies around each maximum."""
    h, w = logits.shape[1:3]
    rows, columns = jnp.arange(float(h)), jnp.arange(float(w))
    logits = logits.astype(jnp.float32)
    row, column = jnp.divmod(logits.reshape(len(logits), h * w, -1).argmax(axis=1), w)
    near_row = jnp.abs(rows[None, :, None] - row[:, None]) <= 2
    near_column = jnp.abs(columns[None, :, None] - column[:, None]) <= 2
    heat = jnp.where(near_row[:, :, None] & near_column[:, None], jax.nn.sigmoid(logits), 0)
    heat = heat / heat.sum(axis=(1, 2), keepdims=True)
    x = jnp.einsum("bhwl,w->bl", heat, columns) * ((VRN_GRID.columns - 1) / (w - 1))
    y = jnp.einsum("bhwl,h->bl", heat, rows) * ((VRN_GRID.rows - 1) / (h - 1))
    return jnp.stack([x, y], axis=-1)


@partial(jax.jit, static_argnums=0)
def _measure(
    config: TrainConfig, variables: dict, batch: Example, indices: Int[Array, " b"]
) -> dict[str, Array]:
    """All metrics of every sample of a batch, and its front surfaces."""
    info = weights_info(config)
    landmarks, _ = guidance(config.data, batch, indices)
    x = network_input(info, batch.image, landmarks, jnp.ones(len(indices)))
    model = VRN(config.model, info.norm, jnp.dtype(config.compute.dtype))
    logits = cast(Logits, model.apply(variables, x))

    def one(sample: tuple[Array, Example]) -> dict[str, Array]:
        logits, truth = sample
        probability = jax.nn.sigmoid(upsample(logits[None], config.model.stride)[0])
        solid = occupancy(truth.solid, info.grid)
        fronts = [volume_front(volume, grid=info.grid) for volume in (solid, probability)]
        error, coverage = depth_error(fronts[1], fronts[0], truth.landmarks)
        return {
            "iou": iou(probability > 0.5, solid),
            "depth_error": error,
            "coverage": coverage,
            "fronts": jnp.stack(fronts),
        }

    measures = lax.map(one, (logits.volume, batch))  # one by one: a volume takes 30 MB
    if logits.landmarks is not None:
        points = heatmap_points(logits.landmarks)
        truth = batch.landmarks[:, : config.model.landmarks, :2]
        measures["landmark_error"] = landmark_nme(points, truth, outer_interocular(batch.landmarks))
    return measures


def _take(held_out: Example, numbers: Int[np.ndarray, " b"]) -> Example:
    return jax.tree.map(lambda leaf: leaf[numbers], held_out)
