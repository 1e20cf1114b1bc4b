"""How long the parts of a run take, each in one thread."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self):
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time within for this part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
