"""How good a network is on held-out made faces: IoU, front-surface depth, landmarks.

Beside it stands the best volume that is the same for everybody: what can be had without looking.
"""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import ConvexHull

from vrn_jax.config import TrainConfig
from vrn_jax.faces.sample import Example
from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.resample import upsample
from vrn_jax.geometry.solid import Solid, occupancy
from vrn_jax.models.vrn import STRIDE, VRN, Logits
from vrn_jax.training.data import Faces, make_pool
from vrn_jax.training.step import guidance, network_input, weights_info

__all__ = ["Evaluation", "HeldOut", "best_constant_iou", "evaluate", "make_held_out"]

YAW_BINS_DEG = ((0, 30), (30, 60), (60, 90))
_BATCH = 8
_PICTURES = 8
_LEVELS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


class HeldOut(NamedTuple):
    """Examples no training step sees, and where their depth is measured: within the convex hull
    of the 51 inner landmarks.
    """

    examples: Example
    hull: Bool[np.ndarray, "n h w"]


class Evaluation(NamedTuple):
    """Means over the held-out faces; of the first few also the front surfaces, in crop pixels
    (truth and prediction; -inf where there is none).
    """

    metrics: dict[str, float]
    fronts: Float[np.ndarray, "m 2 h w"]


def make_held_out(config: TrainConfig, faces: Faces) -> HeldOut:
    """Makes the held-out faces of a run."""
    pool = make_pool(faces, config.data, config.run.evaluate_samples, held_out=True)
    landmarks = np.asarray(pool.landmarks[:, 17:, :2])
    return HeldOut(pool, np.stack([_hull(points) for points in landmarks]))


def evaluate(config: TrainConfig, variables: dict, held_out: HeldOut) -> Evaluation:
    """Measures a network with its running statistics.

    Metrics: "iou"; "depth_error" (mean |dz - median dz| over the outer eye distance), also by yaw
    as "depth_error_30_60"; "coverage" (share of the true surface that is predicted);
    "landmark_error" (mean distance over the outer eye distance) for a multitask network.
    """
    count = len(held_out.hull)
    size = min(_BATCH, count)
    parts = []
    for first in range(0, count, size):
        rows = np.arange(first, first + size) % count  # the last batch is filled up
        batch = jax.tree.map(lambda leaf: leaf[rows], held_out)  # noqa: B023
        parts.append(jax.device_get(_measure(config, variables, batch, jnp.asarray(rows))))
    joined: dict[str, np.ndarray] = {
        name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]
    }
    fronts = joined.pop("fronts")[:_PICTURES]
    metrics = {name: float(np.mean(values)) for name, values in joined.items()}
    yaw = np.abs(np.asarray(held_out.examples.attributes.yaw))
    for low, high in YAW_BINS_DEG:
        inside = (yaw >= low) & (yaw < high)
        if inside.any():
            metrics[f"depth_error_{low}_{high}"] = float(joined["depth_error"][inside].mean())
    return Evaluation(metrics, fronts)


@partial(jax.jit, static_argnums=1)
def best_constant_iou(examples: Example, grid: VolumeGrid = VRN_GRID) -> Float[Array, ""]:
    """The highest mean IoU that one volume reaches on all examples.

    The volume is where the share of solids that contain a voxel exceeds a level; of several levels
    the best, chosen on these very examples.
    """
    solids = examples.solid
    total, _ = lax.scan(
        lambda total, solid: (total + occupancy(solid, grid), None), jnp.zeros(grid.shape), solids
    )
    share = total / len(examples.image)

    def ious(solid: Solid) -> Float[Array, " levels"]:
        inside = occupancy(solid, grid)
        return jnp.stack([_iou(share > level, inside) for level in _LEVELS])

    return lax.map(ious, solids).mean(axis=0).max()


@partial(jax.jit, static_argnums=0)
def _measure(
    config: TrainConfig, variables: dict, batch: HeldOut, indices: Int[Array, " b"]
) -> dict[str, Array]:
    """All metrics of every sample of a batch, and its front surfaces."""
    info = weights_info(config)
    examples = batch.examples
    landmarks, _ = guidance(config.data, examples, indices)
    x = network_input(info, examples.image, landmarks, jnp.ones(len(indices)))
    model = VRN(config.model, info.norm, jnp.dtype(config.compute.dtype))
    logits = cast(Logits, model.apply(variables, x))
    eyes = examples.landmarks[:, 36] - examples.landmarks[:, 45]
    eye_distance = jnp.linalg.norm(eyes, axis=-1)

    def one(sample: tuple) -> dict[str, Array]:
        logits, solid, hull, eye_distance = sample
        probability = jax.nn.sigmoid(upsample(logits[None], STRIDE)[0])
        return _measure_volume(probability, solid, hull, eye_distance, info.grid)

    # One by one: enlarged volumes are 30 MB each.
    measures = lax.map(one, (logits.volume, examples.solid, batch.hull, eye_distance))
    if logits.landmarks is not None:
        found = heatmap_points(logits.landmarks)
        truth = examples.landmarks[:, : config.model.landmarks, :2]
        distance = jnp.linalg.norm(found - truth, axis=-1).mean(axis=1)
        measures["landmark_error"] = distance / eye_distance
    return measures


def heatmap_points(logits: Float[Array, "b h w l"]) -> Float[Array, "b l 2"]:
    """Landmarks (x, y) in crop pixels: the centre of mass of what lies around each maximum."""
    h, w = logits.shape[1:3]
    rows, columns = jnp.arange(float(h)), jnp.arange(float(w))
    flat = logits.astype(jnp.float32).reshape(len(logits), h * w, -1)
    row, column = jnp.divmod(flat.argmax(axis=1), w)
    near = jnp.abs(rows[:, None] - row[:, None, None]) <= 2
    near = near[:, :, None] & (jnp.abs(columns[:, None] - column[:, None, None]) <= 2)[:, None]
    heat = jnp.where(near, jax.nn.sigmoid(logits.astype(jnp.float32)), 0)
    heat = heat / heat.sum(axis=(1, 2), keepdims=True)
    x = jnp.einsum("bhwl,w->bl", heat, columns) * ((VRN_GRID.columns - 1) / (w - 1))
    y = jnp.einsum("bhwl,h->bl", heat, rows) * ((VRN_GRID.rows - 1) / (h - 1))
    return jnp.stack([x, y], axis=-1)


def _measure_volume(
    probability: Float[Array, "h w d"],
    solid: Solid,
    hull: Bool[Array, "h w"],
    eye_distance: Float[Array, ""],
    grid: VolumeGrid,
) -> dict[str, Array]:
    """All measures of one predicted volume against the truth; the place for other metrics."""
    inside = occupancy(solid, grid)
    truth, found = front_surface(inside.astype(jnp.float32), grid), front_surface(probability, grid)
    there = hull & jnp.isfinite(truth)
    both = there & jnp.isfinite(found)
    difference = jnp.where(both, found - truth, jnp.nan)
    deviation = jnp.abs(difference - jnp.nanmedian(difference))
    # Where no surface is predicted at all there is no depth: as bad as the grid is deep.
    nothing = grid.planes * grid.plane_depth
    error = jnp.where(both.any(), jnp.nanmean(deviation), nothing)
    return {
        "iou": _iou(probability > 0.5, inside),
        "depth_error": error / eye_distance,
        "coverage": both.sum() / jnp.maximum(there.sum(), 1),
        "fronts": jnp.stack([truth, found]),
    }


def front_surface(volume: Float[Array, "h w d"], grid: VolumeGrid) -> Float[Array, "h w"]:
    """The z, crop pixels, where `volume` last passes 0.5 on the way to the viewer; -inf: never.

    Linear between planes.
    """
    inside = volume > 0.5
    plane = grid.planes - 1 - jnp.argmax(inside[..., ::-1], axis=-1)
    ahead = jnp.minimum(plane + 1, grid.planes - 1)
    at, beyond = (
        jnp.take_along_axis(volume, index[..., None], axis=-1)[..., 0] for index in (plane, ahead)
    )
    part = jnp.where(at > beyond, (at - 0.5) / jnp.maximum(at - beyond, 1e-6), 0.0)
    z = (plane + part - grid.origin_plane) * grid.plane_depth
    return jnp.where(inside.any(axis=-1), z, -jnp.inf)


def _iou(a: Bool[Array, "h w d"], b: Bool[Array, "h w d"]) -> Float[Array, ""]:
    return (a & b).sum() / jnp.maximum((a | b).sum(), 1)


def _hull(points: Float[np.ndarray, "p 2"]) -> Bool[np.ndarray, "h w"]:
    """The pixels within the convex hull of points (x, y)."""
    h, w = VRN_GRID.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1)
    sides = ConvexHull(points).equations
    return np.all(pixels @ sides[:, :2].T + sides[:, 2] <= 0, axis=-1)
