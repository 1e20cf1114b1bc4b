"""The processes of one job: how they find each other, and how they agree to stop."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from vrn_jax.errors import InputError, TrainingError

__all__ = ["is_alone", "is_main", "join", "lost_processes", "stop_requests"]

_CLUSTER_VARIABLES = (
    "JAX_COORDINATOR_ADDRESS",
    "TPU_WORKER_HOSTNAMES",  # GKE
    "MEGASCALE_COORDINATOR_ADDRESS",  # several TPU slices
)
_HEARTBEAT_S = 20


def join(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Connects this process with the others of its job; before anything else of JAX is used.

    With nothing given it looks whether it is on a TPU host, or under SLURM, Open MPI or GKE with
    several tasks, where JAX finds out all by itself; elsewhere it is alone.

    Raises:
        InputError: if the others cannot be reached.
    """
    if coordinator is None and not _in_a_cluster():
        return
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=_HEARTBEAT_S
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot join the other processes: {error}. Every process needs the same --coordinator "
            "HOST:PORT and --processes, and a --process number of its own from 0 on"
        ) from error


def is_alone() -> bool:
    """Whether the job is this process."""
    return jax.process_count() == 1


def is_main() -> bool:
    """Whether this process is the one that says and writes what needs to be said once."""
    return jax.process_index() == 0


@contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Yields a function that tells after each step whether to save and stop.

    SIGTERM and Ctrl-C ask for it; a second one does what it always did. Of several processes it is
    enough that one is asked: JAX's coordination service agrees on a step that none has passed, and
    asking it costs no exchange between the devices.
    """
    several = not is_alone()
    received: list[int] = []
    previous = {}

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        if several:
            os.kill(os.getpid(), signal.SIGTERM)  # which the service listens to

    # Python would hide SIGTERM from the coordination service.
    for number in (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield multihost_utils.reached_preemption_sync_point if several else lambda _: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def lost_processes() -> Iterator[None]:
    """Turns the error that a step ends with when another process is gone into one that says so.

    Raises:
        TrainingError: in that case.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if is_alone():
            raise
        raise TrainingError(
            f"process {jax.process_index()} of {jax.process_count()} cannot go on, most likely "
            "because another one has ended. Start the job again, with as many processes as there "
            f"are: it goes on from its last checkpoint. JAX says: {str(error).splitlines()[0]}"
        ) from error


def _in_a_cluster() -> bool:
    tasks = [os.environ.get(name, "1") for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")]
    on_tpu = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()
    return on_tpu or any(n != "1" for n in tasks) or any(map(os.environ.get, _CLUSTER_VARIABLES))
