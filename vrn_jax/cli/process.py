"""What commands share: folders to write to, JAX's cache, quiet, and the photo used without one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vrn_jax.errors import InputError

__all__ = ["astronaut", "keep_compiled_programs", "without_info_lines", "writable_folder"]


def writable_folder(path: Path) -> Path:
    """The folder, which may not exist yet but must be possible to write, known before any work."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {path}: {there} is no folder, or not writable")
    return path


def keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles in the user's cache folder, unless the user has said where."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(base, "vrn_jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


@contextlib.contextmanager
def without_info_lines() -> Iterator[None]:
    """Holds back what native code writes to standard error, and drops the "INFO:" lines of it.

    LiteRT announces its CPU kernels in such a line and has no switch for it. Python's own stream is
    not enough: the line goes to the file descriptor.
    """
    with tempfile.TemporaryFile() as held:
        standard_error = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(b"INFO:")))


def astronaut() -> np.ndarray:
    """The portrait that comes with scikit-image, uint8 [512 512 3]: Eileen Collins, by NASA."""
    from skimage.data import astronaut

    return astronaut()
