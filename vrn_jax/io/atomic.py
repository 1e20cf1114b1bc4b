"""Files that are there as a whole or not at all, whatever interrupts the writing."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["writing"]


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a name beside `path` to write to; moved to `path` at the end, removed on any error."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
