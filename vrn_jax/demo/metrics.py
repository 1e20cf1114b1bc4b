"""What the server counts, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server; thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "vrn_requests",
            "Answers by route and status",
            ("route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "vrn_seconds",
            "Time of each stage of the work",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch = Histogram(
            "vrn_batch_faces",
            "Faces that went through the network together",
            buckets=(1, 2, 4, 8, 16),
            registry=self._registry,
        )
        self.working = Gauge("vrn_working", "Requests in work or waiting", registry=self._registry)
        self.sessions = Gauge("vrn_sessions", "Photos kept for the page", registry=self._registry)
        self.session_bytes = Gauge(
            "vrn_session_bytes", "Memory that they take", registry=self._registry
        )

    def text(self) -> bytes:
        """All of them, as `GET /metrics` gives them."""
        return generate_latest(self._registry)
