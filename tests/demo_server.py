"""The web app on a real socket, in a thread of the tests' process, and a client for it."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from vrn_jax import Reconstructor
    from vrn_jax.demo.settings import Limits

__all__ = ["Answer", "DemoServer", "encode", "form_of", "running"]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class DemoServer:
    """Where a server listens."""

    def __init__(self, port: int):
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        kind: str | None = "image/jpeg",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own. A body in pieces goes out chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = dict(headers or {})
        if body is not None and kind is not None:
            given["Content-Type"] = kind
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A number of GET /metrics, such as 'vrn_batch_faces_count'; 0 where it is missing."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@contextmanager
def running(
    reconstructor: Reconstructor, photo: np.ndarray, limits: Limits
) -> Iterator[DemoServer]:
    from vrn_jax.demo.app import ExamplePhoto, create_app
    from vrn_jax.demo.server import bind, new_server

    app = create_app(reconstructor, [ExamplePhoto("a face", photo)], limits=limits)
    listening, _ = bind("127.0.0.1", 0)
    server = new_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    there = DemoServer(listening.getsockname()[1])
    try:
        deadline = time.monotonic() + 120
        while there.ask("GET", "/healthz").status != 200:
            assert time.monotonic() < deadline, "not ready in two minutes"
            time.sleep(0.1)
        yield there
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="session")
def demo(reconstructor, astronaut) -> Iterator[DemoServer]:
    """The app as users have it, with the default weights."""
    from vrn_jax.demo.settings import Limits

    with running(reconstructor, astronaut, Limits(upload_bytes=3_000_000)) as server:
        yield server


def encode(photo: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind)
    return buffer.getvalue()


def form_of(name: str, filename: str, data: bytes) -> bytes:
    """A form with one file; its boundary is 'x'."""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + data + b"\r\n--x--\r\n"
