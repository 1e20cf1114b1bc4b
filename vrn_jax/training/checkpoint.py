"""Checkpoints: the whole state, where the data stands, and the configuration, by Orbax.

Written in the background and complete or not there at all, so a run that is killed at any moment
goes on from the last one.
"""

import dataclasses
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError
from vrn_jax.presets import from_dict
from vrn_jax.training.parallel import shardings
from vrn_jax.training.processes import is_alone
from vrn_jax.training.state import TrainState, initial_state

__all__ = ["Checkpoints"]

BEST_BY = "iou"


class Checkpoints:
    """The checkpoints of one run: the last few, and the best one by held-out IoU.

    A context manager; leaving it waits for what is being written.
    """

    def __init__(self, folder: epath.PathLike, config: TrainConfig):
        self._config = config
        self._manager = ocp.CheckpointManager(
            epath.Path(folder).resolve() / "checkpoints",
            item_names=("state", "position", "config"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(
                    [
                        preservation_policy.LatestN(config.run.keep_last),
                        preservation_policy.BestN(
                            get_metric_fn=_score,
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                best_fn=_score,  # without it metrics are not stored
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After a failure another process may be gone, for which closing would wait.
        if kind is None or is_alone():
            self._manager.close()

    def save(self, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Starts writing; `metrics` are those of an evaluation of this very state."""
        step = int(state.step)
        if step == self._manager.latest_step():
            return
        compute, optim = self._config.compute, self._config.optim
        position = {
            "step": step,
            "next_sample": step * compute.batch_size * optim.accumulate,
            "seed": self._config.data.seed,
        }
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),  # pyright: ignore[reportCallIssue]
            position=ocp.args.JsonSave(position),  # pyright: ignore[reportCallIssue]
            config=ocp.args.JsonSave(dataclasses.asdict(self._config)),  # pyright: ignore[reportCallIssue]
        )
        kept = {BEST_BY: metrics[BEST_BY]} if metrics else None
        self._manager.save(step, args=items, metrics=kept)

    def restore(self, mesh: Mesh) -> TrainState | None:
        """The last complete checkpoint, laid out over `mesh`; None where there is none.

        Raises:
            InputError: if it is of a run with another network, data, optimizer or arithmetic.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        saved = self._manager.restore(step, args=_json_item("config"))["config"]
        _check_same(from_dict(TrainConfig, saved), self._config)
        shapes = jax.eval_shape(lambda: initial_state(self._config))
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            shardings(shapes, mesh),
        )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))  # pyright: ignore[reportCallIssue]
        return self._manager.restore(step, args=items)["state"]

    def best(self) -> tuple[int, float] | None:
        """Step and IoU of the best checkpoint that was evaluated; None before the first."""
        scored = [
            (metrics[BEST_BY], step)
            for step in self._manager.all_steps()
            if (metrics := self._manager.metrics(step))
        ]
        if not scored:
            return None
        value, step = max(scored)
        return step, value


def _score(metrics: dict[str, float]) -> float:
    return metrics[BEST_BY]


def _json_item(name: str) -> ocp.args.Composite:
    return ocp.args.Composite(**{name: ocp.args.JsonRestore()})  # pyright: ignore[reportCallIssue]


def _check_same(saved: TrainConfig, wanted: TrainConfig) -> None:
    """All but `run` and the mesh must agree: the checkpoint would mean something else."""
    before, now = (_leaves(dataclasses.asdict(c)) for c in (saved, wanted))
    changed = [
        f"{name} was {before[name]!r}, is {now[name]!r}"
        for name in before
        if before[name] != now[name] and not name.startswith(("run.", "compute.fsdp"))
    ]
    if changed:
        raise InputError(
            f"the run in {wanted.run.folder} was started with other settings: "
            f"{'; '.join(changed)}. Set them back, or give another --run.folder"
        )


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves
