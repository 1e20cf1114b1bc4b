"""One training step, from sample numbers to updated weights: a pure function, compiled as a whole.

`train_step` makes the faces, runs the network forth and back, and updates. What it needs beside
the state and the batch is in the configuration, which is static. On a mesh every device does so
with its own share of the batch, down to the gradients; their mean is all that is exchanged.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vrn_jax.config import DataConfig, ModelConfig, TrainConfig
from vrn_jax.faces.sample import Example, sample_key
from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.losses import heatmap_loss, volume_loss
from vrn_jax.models.guidance import landmark_channels
from vrn_jax.models.normalisation import Shared
from vrn_jax.models.vrn import VRN, Logits
from vrn_jax.training.collectives import gathered, mean_over_devices
from vrn_jax.training.data import Source, examples, part_of, source_shardings
from vrn_jax.training.optimizers import make_optimizer
from vrn_jax.training.parallel import AXES, shardings, sharing
from vrn_jax.training.state import TrainState

__all__ = ["batch_indices", "guidance", "network_input", "train_step", "weights_info"]

Metrics = dict[str, Float[Array, ""]]


class _Gradients(NamedTuple):
    params: dict
    batch_stats: dict
    metrics: Metrics


def batch_indices(config: TrainConfig, step: int) -> Int[np.ndarray, " n"]:
    """The sample numbers of an update: every sample of the stream once, in order."""
    count = config.compute.batch_size * config.optim.accumulate
    return np.arange(step * count, (step + 1) * count, dtype=np.int32)


def train_step(
    config: TrainConfig,
    state: TrainState,
    indices: Int[Array, " n"],
    source: Source,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """One update on the samples `indices`, `batch_size * accumulate` of them.

    They are divided among the devices of `mesh`, over which `state` lies as `parallel.shardings`
    says; without a mesh one device has them all. Metrics are the losses and the global norms of
    gradients, parameters and updates.
    """
    batches = indices.reshape(config.optim.accumulate, -1)
    if mesh is None:
        found = _accumulated(config, None, state.params, state.batch_stats, batches, source)
    else:
        found = _divided(config, mesh, state, batches, source)
    optimizer = make_optimizer(config.optim, config.run.steps)
    updates, opt_state = optimizer.update(found.params, state.opt_state, state.params)
    params = cast(dict, optax.apply_updates(state.params, updates))
    norms = {
        "gradient_norm": optax.tree.norm(found.params),
        "parameter_norm": optax.tree.norm(params),
        "update_norm": optax.tree.norm(updates),
    }
    variables = {"params": params, "batch_stats": found.batch_stats}
    ema = _averaged(config.optim.ema_decay, state.step, state.ema, variables)
    step = state.step + 1
    return TrainState(step, params, found.batch_stats, opt_state, ema), found.metrics | norms


def network_input(
    info: WeightsInfo, images: Array, landmarks: Float[Array, "b l 2"], shown: Float[Array, " b"]
) -> Float[Array, "b h w c"]:
    """Bytes to what the network sees; to a guided one also the landmarks of samples `shown`."""
    x = images.astype(jnp.float32) * info.input_scale + info.input_offset
    if info.model.task != "guided":
        return x
    channels = landmark_channels(landmarks, (x.shape[1], x.shape[2]))
    return jnp.concatenate([x, channels * shown[:, None, None, None]], axis=-1)


def weights_info(config: TrainConfig) -> WeightsInfo:
    """What the weights of this run say of themselves."""
    return WeightsInfo(
        name=config.run.folder.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1],
        licence="MIT" if config.data.dataset is None else "as the terms of the training data allow",
        training_data=_training_data(config.data),
        model=config.model,
        grid=VolumeGrid(planes=config.model.depth),
        norm="image" if config.compute.norm == "image" else "running",
    )


def _training_data(data: DataConfig) -> str:
    if data.dataset is not None:
        return f"split {data.split} of the data set {Path(data.dataset).name}, seed {data.seed}"
    head = "the built-in head" if data.head is None else f"head {Path(data.head).name}"
    skin = "drawn skin" if data.textures is None else f"portraits {Path(data.textures).name}"
    return f"made faces of vrn_jax, {head}, {skin}, seed {data.seed}"


def _divided(
    config: TrainConfig,
    mesh: Mesh,
    state: TrainState,
    batches: Int[Array, "a b"],
    source: Source,
) -> _Gradients:
    """Means over the whole batch, of which every device has computed its share."""
    specs, source_specs = (
        jax.tree.map(lambda sharding: sharding.spec, layout)
        for layout in (shardings(state.params, mesh), source_shardings(source, mesh))
    )
    shared, everywhere = sharing(config.compute, mesh), PartitionSpec()

    def on_a_device(
        params: dict, batch_stats: dict, batches: Int[Array, "a b"], source: Source
    ) -> _Gradients:
        whole = gathered(params, specs)
        found = _accumulated(config, shared, whole, batch_stats, batches, source)
        params, rest = mean_over_devices(found.params, specs, (found.batch_stats, found.metrics))
        return _Gradients(params, *rest)

    return jax.shard_map(
        on_a_device,
        mesh=mesh,
        in_specs=(specs, everywhere, PartitionSpec(None, AXES), source_specs),
        out_specs=_Gradients(specs, everywhere, everywhere),  # pyright: ignore[reportArgumentType]
        check_vma=False,  # JAX has no groups of devices, which statistics may need, with the check
    )(state.params, state.batch_stats, batches, source)


def _accumulated(
    config: TrainConfig,
    shared: Shared | None,
    params: dict,
    batch_stats: dict,
    batches: Int[Array, "a b"],
    source: Source,
) -> _Gradients:
    """Mean gradients and metrics over the batches; statistics pass through them."""

    def gradients(batch_stats: dict, number: Int[Array, ""]) -> _Gradients:
        part = part_of(source, number)
        return _gradients(config, shared, params, part, batch_stats, batches[number])

    if len(batches) == 1:
        return gradients(batch_stats, jnp.int32(0))

    def add(total: _Gradients, number: Int[Array, ""]) -> tuple[_Gradients, None]:
        more = gradients(total.batch_stats, number)
        params, metrics = jax.tree.map(
            lambda a, b: a + b / len(batches),
            (total.params, total.metrics),
            (more.params, more.metrics),
        )
        return _Gradients(params, more.batch_stats, metrics), None

    numbers = jnp.arange(len(batches))
    shapes = jax.eval_shape(gradients, batch_stats, numbers[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return lax.scan(add, zeros._replace(batch_stats=batch_stats), numbers)[0]


def _gradients(
    config: TrainConfig,
    shared: Shared | None,
    params: dict,
    source: Source,
    batch_stats: dict,
    indices: Int[Array, " b"],
) -> _Gradients:
    batch = examples(source, config.data, indices)
    landmarks, shown = guidance(config.data, batch, indices)
    x = network_input(weights_info(config), batch.image, landmarks, shown)
    loss = partial(_loss, config, shared, batch_stats=batch_stats, x=x, batch=batch)
    (_, (stats, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    return _Gradients(gradients, stats, metrics)


def _loss(
    config: TrainConfig,
    shared: Shared | None,
    params: dict,
    *,
    batch_stats: dict,
    x: Float[Array, "b h w c"],
    batch: Example,
) -> tuple[Float[Array, ""], tuple[dict, Metrics]]:
    compute = config.compute
    norm = shared if shared and compute.norm == "batch" else compute.norm
    model = VRN(config.model, norm, jnp.dtype(compute.dtype), compute.remat)
    variables = {"params": params, "batch_stats": batch_stats}
    found, updated = model.apply(variables, x, mutable=["batch_stats"])
    # Statistics of single images have no running averages: those of the start remain.
    batch_stats = cast(dict, updated).get("batch_stats", batch_stats)
    logits = cast(Logits, found)
    grid = weights_info(config).grid
    volume: Array = volume_loss(  # pyright: ignore[reportAssignmentType]
        logits.volume, batch.solid, grid, compute.loss_planes, compute.loss_stride
    )
    metrics = {"loss": volume}
    if logits.landmarks is not None:
        heatmaps = _heatmaps(config.model, batch.landmarks)
        landmarks = heatmap_loss(logits.landmarks, heatmaps)
        metrics = {"loss": volume + landmarks, "volume_loss": volume, "landmark_loss": landmarks}
    return metrics["loss"], (batch_stats, metrics)


def _heatmaps(model: ModelConfig, landmarks: Float[Array, "b l 3"]) -> Float[Array, "b h w l"]:
    """Gaussians at the logits' resolution, whose corners are aligned with the crop's."""
    h, w = (size // model.stride for size in VRN_GRID.shape[:2])
    x = landmarks[..., 0] * ((w - 1) / (VRN_GRID.columns - 1))
    y = landmarks[..., 1] * ((h - 1) / (VRN_GRID.rows - 1))
    return landmark_channels(jnp.stack([x, y], -1), (h, w))[..., : model.landmarks]


def guidance(
    data: DataConfig, batch: Example, indices: Int[Array, " b"]
) -> tuple[Float[Array, "b l 2"], Float[Array, " b"]]:
    """Landmarks with errors, and 0 for the samples that get none."""

    def draw(index: Int[Array, ""]) -> tuple[Float[Array, "68 2"], Float[Array, ""]]:
        noise, dropout = jax.random.split(_guidance_key(data.seed, index))
        shown = jax.random.uniform(dropout) >= data.guidance_dropout
        return jax.random.normal(noise, (68, 2)), shown.astype(jnp.float32)

    errors, shown = jax.vmap(draw)(indices)
    return batch.landmarks[..., :2] + data.landmark_noise_px * errors, shown


def _guidance_key(seed: int, index: Int[Array, ""]) -> PRNGKeyArray:
    return jax.random.fold_in(sample_key(seed, index), 1)


def _averaged(decay: float, step: Int[Array, ""], average: dict, variables: dict) -> dict:
    rate = jnp.minimum(decay, (1 + step) / (10 + step)) if decay else 0.0
    return jax.tree.map(lambda old, new: new + rate * (old - new), average, variables)
