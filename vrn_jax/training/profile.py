"""A trace of a few steps, for xprof."""

import jax
from etils import epath

__all__ = ["StepTrace"]

_SKIPPED, _TRACED = 2, 3


class StepTrace:
    """Traces steps 3 to 5 of this process into `folder`/profile; a context manager.

    The first two are left out, since they wait for memory and for each other.
    """

    def __init__(self, folder: epath.Path, first: int, *, enabled: bool):
        self._folder = folder / "profile"
        self._begin, self._end = first + _SKIPPED + 1, first + _SKIPPED + _TRACED + 1
        self._enabled, self._running = enabled, False

    def __enter__(self) -> "StepTrace":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Starts or stops the trace if it is time; call it before every step."""
        if self._enabled and step == self._begin:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # millions of events that say nothing of the device
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True
        elif step == self._end:
            self._stop()

    def _stop(self) -> None:
        if self._running:
            jax.effects_barrier()
            jax.profiler.stop_trace()
            self._running = False
