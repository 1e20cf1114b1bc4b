"""The training loop: what happens in a run, in order."""

import dataclasses
import json
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Example
from vrn_jax.interop.weights import Weights
from vrn_jax.training.checkpoint import Checkpoints
from vrn_jax.training.data import Source, feed, held_out_faces, source_shardings, training_source
from vrn_jax.training.evaluate import best_constant_iou, evaluate
from vrn_jax.training.folder import write, write_weights
from vrn_jax.training.log import RunLog
from vrn_jax.training.parallel import device_mesh, replicated, shardings, whole_on_this_host
from vrn_jax.training.pictures import contact_sheet
from vrn_jax.training.processes import is_main, lost_processes, stop_requests
from vrn_jax.training.profile import StepTrace
from vrn_jax.training.state import TrainState, state_at_start
from vrn_jax.training.step import batch_indices, train_step, weights_info

__all__ = ["compile_step", "lower_step", "placed", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains, or goes on with what it finds in `config.run.folder`, until `config.run.steps`.

    Returns what summary.json says; its "finished" is False if SIGTERM or Ctrl-C came, after which a
    last checkpoint was written.

    Raises:
        TrainingError: if a loss is not a number, or another process of the job has ended.
        InputError: if the settings contradict each other or the run found, or a file is missing.
        WeightsError: if the weights to start from cannot be used.
    """
    folder, run, mesh = _prepared_folder(config), config.run, device_mesh(config.compute)
    with lost_processes(), ExitStack() as stack:
        stop_at = stack.enter_context(stop_requests())
        checkpoints = stack.enter_context(Checkpoints(folder, config))
        state = checkpoints.restore(mesh) or placed(state_at_start(config), mesh)
        first = int(state.step)
        made_of = jax.device_put(training_source(config.data), replicated(mesh))
        batches = feed(config, mesh, made_of, first)
        source = next(batches.sources)
        held_out = held_out_faces(config.data, run.evaluate_samples)
        clock = perf_counter()
        update = compile_step(config, mesh, state, source)
        compile_seconds = perf_counter() - clock
        log = stack.enter_context(RunLog(folder, config, first))
        trace = stack.enter_context(StepTrace(folder, first, enabled=run.profile))
        evaluated = None
        for step in range(first + 1, run.steps + 1):
            trace.before(step)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                state, metrics = update(state, batch_indices(config, step - 1), source)
                source = next(batches.sources)
            log.step(step, metrics)
            evaluated, stopping = None, stop_at(step)
            if step % run.evaluate_every == 0 or step == run.steps:
                evaluated = _evaluate(config, state, mesh, held_out, log)
            if evaluated or step % run.checkpoint_every == 0 or stopping:
                log.flush()  # what is not finite is never saved
                checkpoints.save(state, evaluated)
            if stopping:
                break
        finished = int(state.step) >= run.steps
        if finished:
            evaluated = evaluated or _evaluate(config, state, mesh, held_out, log)
            _write_average(folder, config, state, mesh)
        summary = {
            "finished": finished,
            "step": int(state.step),
            "resumed_at": first,
            "held_out": evaluated,
            "best_constant_iou": float(best_constant_iou(held_out)),
            "best_checkpoint": checkpoints.best(),
            "records_skipped": len(batches.skipped),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "compile_seconds": round(compile_seconds, 1),
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "jax": jax.__version__,
        }
        log.summary(summary)
        return summary


def compile_step(
    config: TrainConfig, mesh: Mesh, state: TrainState, source: Source
) -> jax.stages.Compiled:
    """Compiles `train_step` for a mesh: (state, sample numbers, source) -> (state, metrics).

    The state is donated. `state` and `source` may be arrays or their shapes.
    """
    return lower_step(config, mesh, state, source).compile()


def lower_step(
    config: TrainConfig, mesh: Mesh, state: TrainState, source: Source
) -> jax.stages.Lowered:
    """`compile_step` before its last part.

    Raises:
        InputError: if the loss cannot take so many planes at a time.
    """
    planes, at_once = config.model.depth, config.compute.loss_planes
    if at_once < 1 or planes % at_once:
        raise InputError(
            f"--compute.loss-planes must divide the volume's planes: {at_once} does not divide "
            f"{planes}"
        )
    layout = shardings(state, mesh)
    everywhere = replicated(mesh)
    step = jax.jit(
        partial(train_step, config, mesh=mesh),
        in_shardings=(layout, everywhere, source_shardings(source, mesh)),
        out_shardings=(layout, everywhere),
        donate_argnums=0,
    )
    return step.lower(state, batch_indices(config, 0), source)


def placed(state: TrainState, mesh: Mesh) -> TrainState:
    """The state, laid out over the mesh; every process has to have the same."""
    return jax.device_put(state, shardings(state, mesh))


def _evaluate(
    config: TrainConfig, state: TrainState, mesh: Mesh, held_out: Example, log: RunLog
) -> dict[str, float]:
    """Every process does all of it by itself: nobody waits, and all know the result."""
    metrics, fronts = evaluate(config, whole_on_this_host(state.ema, mesh), held_out)
    images = np.asarray(held_out.image[: len(fronts)])
    log.evaluation(int(state.step), metrics, contact_sheet(images, fronts))
    return metrics


def _write_average(folder: epath.Path, config: TrainConfig, state: TrainState, mesh: Mesh) -> None:
    average = jax.device_get(whole_on_this_host(state.ema, mesh))
    if is_main():
        write_weights(folder / "weights.safetensors", Weights(weights_info(config), average))


def _prepared_folder(config: TrainConfig) -> epath.Path:
    """The run's folder, with the configuration in it."""
    folder = epath.Path(config.run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if is_main():
        text = json.dumps(dataclasses.asdict(config), indent=1)
        write(folder / "config.json", f"{text}\n".encode())
    return folder
