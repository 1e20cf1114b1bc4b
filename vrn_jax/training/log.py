"""What a run says of itself: progress bar, TensorBoard events, JSON lines, pictures, summary."""

import io
import json
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Array, UInt8
from PIL import Image
from tensorboardX import SummaryWriter
from tqdm import tqdm

from vrn_jax.config import TrainConfig
from vrn_jax.errors import TrainingError
from vrn_jax.training.folder import is_remote, write
from vrn_jax.training.processes import is_main
from vrn_jax.training.step import batch_indices

__all__ = ["RunLog"]

_STEPS_IN_FLIGHT = 2


class RunLog:
    """Writes the logs of one run into its folder; a context manager.

    Lines of steps after `first_step`, left there by a run that was killed, are dropped: the resumed
    run writes them again. Of several processes only the first one writes; all look at the numbers.
    """

    def __init__(self, folder: epath.Path, config: TrainConfig, first_step: int):
        self._config, self._folder = config, folder
        self._writes = is_main()
        self._images_a_step = config.compute.batch_size * config.optim.accumulate
        self._lines = _lines_until(folder / "metrics.jsonl", first_step)
        self._events = SummaryWriter(
            str(folder / "events"), purge_step=first_step + 1, write_to_disk=self._writes
        )
        self._write_lines()
        self._bar = tqdm(
            initial=first_step * self._images_a_step,
            total=config.run.steps * self._images_a_step,
            unit=" images",
            disable=None if self._writes else True,
        )
        self._waiting: deque[tuple[int, dict[str, Array]]] = deque()
        self._first, self._last = first_step, {}
        self._start = time.perf_counter()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._write_lines()
        self._events.close()

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return time.perf_counter() - self._start

    def step(self, step: int, metrics: dict[str, Array]) -> None:
        """Takes note of the metrics of update `step`, without waiting for the device.

        They are looked at two steps later, all of them.

        Raises:
            TrainingError: if a loss was not a number, with what is needed to see it again.
        """
        self._waiting.append((step, metrics))
        while len(self._waiting) > _STEPS_IN_FLIGHT:
            self._note(*self._waiting.popleft())

    def flush(self) -> None:
        """Waits for the metrics of all steps so far. Raises as `step` does."""
        while self._waiting:
            self._note(*self._waiting.popleft())

    def evaluation(
        self, step: int, metrics: dict[str, float], picture: UInt8[np.ndarray, "h w 3"]
    ) -> None:
        """Notes an evaluation of the weights after update `step`, and writes the picture."""
        self.flush()
        if not self._writes:
            return
        self._write(step, {f"held_out/{name}": value for name, value in metrics.items()})
        self._write_lines()
        self._events.add_image("held_out", picture, step, dataformats="HWC")
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "png")
        write(self._folder / "preview.png", png.getvalue())
        self._bar.write(f"step {step}: held-out IoU {metrics['iou']:.3f}", file=sys.stderr)

    def summary(self, values: dict[str, Any]) -> None:
        """Writes summary.json."""
        if self._writes:
            write(self._folder / "summary.json", f"{json.dumps(values, indent=1)}\n".encode())

    def _note(self, step: int, metrics: dict[str, Array]) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not all(map(math.isfinite, values.values())):
            raise TrainingError(_what_to_do(self._config, step, values))
        self._bar.update(self._images_a_step)
        self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
        if step == self._first + 1 or step % self._config.run.log_every == 0:
            rate = (step - self._first) * self._images_a_step / max(self.seconds, 1e-9)
            self._write(step, values | {"images_per_second": rate})

    def _write_lines(self) -> None:
        if self._writes:
            write(self._folder / "metrics.jsonl", "".join(self._lines).encode())

    def _write(self, step: int, values: dict[str, float]) -> None:
        line = json.dumps({"step": step} | values) + "\n"
        self._lines.append(line)
        if self._writes and not is_remote(self._folder):
            with Path(self._folder, "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(line)
        for name, value in values.items():
            self._events.add_scalar(name if "/" in name else f"train/{name}", value, step)


def _lines_until(path: epath.Path, step: int) -> list[str]:
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:  # a line that a kill cut off
            continue
    return kept


def _what_to_do(config: TrainConfig, step: int, values: dict[str, float]) -> str:
    samples = batch_indices(config, step - 1)
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return (
        f"step {step} is not finite ({numbers}), on samples {samples[0]} to {samples[-1]} of seed "
        f"{config.data.seed}. The checkpoints in {config.run.folder} are from before it: the same "
        "command resumes there and meets the same batch again. Try a lower --optim.learning-rate "
        "or --optim.clip-norm 1"
    )
