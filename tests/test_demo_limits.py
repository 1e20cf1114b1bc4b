"""What the web app does when much is asked of it: queue, rate, time, memory, batches."""

import asyncio
import itertools
import queue
import socket
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from demo_server import encode, running

from vrn_jax.batches import Regressed, Started
from vrn_jax.demo.engine import Engine
from vrn_jax.demo.guard import Guard
from vrn_jax.demo.metrics import Metrics
from vrn_jax.demo.refusal import Refusal
from vrn_jax.demo.sessions import Sessions
from vrn_jax.demo.settings import Limits
from vrn_jax.errors import InputError
from vrn_jax.inference import Reconstructor
from vrn_jax.interop.weights import load_weights
from vrn_jax.types import Face, FaceCrop

BLACK = encode(np.zeros((64, 64, 3), np.uint8))
FACES = "/api/v1/faces"


class HeldDetector:
    """Finds a face in the first photo it sees, to warm up on; then waits until it is let go."""

    def __init__(self, face: Face):
        self.face = face
        self.let_go = threading.Event()
        self.waiting = queue.SimpleQueue()
        self._calls = itertools.count()

    def __call__(self, photo: np.ndarray) -> list[Face]:
        if next(self._calls) > 0:
            self.waiting.put(None)
            assert self.let_go.wait(60)
        return [self.face]


def test_a_full_queue_refuses_at_once_and_health_is_still_told(astronaut, astronaut_face):
    detector = HeldDetector(Face(astronaut_face.box, None, 1.0))
    reconstructor = Reconstructor(load_weights(), detector=detector)
    limits = Limits(queue=2, upload_seconds=1.0)
    answers = []
    with running(reconstructor, astronaut, limits) as server:

        def ask() -> None:
            answers.append(server.ask("POST", FACES, BLACK, "image/png").status)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            detector.waiting.get(timeout=60)
        try:
            busy = server.ask("POST", FACES, BLACK, "image/png")
            assert (busy.status, busy.json["error"]) == (503, "busy")
            assert int(busy.headers["Retry-After"]) >= 1
            assert server.ask("GET", "/healthz").status == 200
            assert server.metric("vrn_working") == 2
        finally:
            detector.let_go.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]
        assert server.metric("vrn_working") == 0
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(
                b"POST /api/v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                b"Content-Length: 50\r\n\r\nabc"
            )
            assert b" 408 " in slow.recv(4096)


def guarded(limits: Limits, client: str, requests: int) -> list[int]:
    """Statuses of requests from one address to an app that answers everything."""

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    statuses = []

    async def receive() -> dict:
        return {"type": "http.request"}

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def ask() -> None:
        guard = Guard(app, hosts=(), policy="", limits=limits, metrics=Metrics())
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/about",
            "headers": [(b"host", b"localhost")],
            "client": (client, 1),
        }
        for _ in range(requests):
            await guard(scope, receive, send)

    asyncio.run(ask())
    return statuses


def test_other_machines_have_a_rate_and_this_one_has_none():
    assert guarded(Limits(rate=5), "192.0.2.1", 7) == [200] * 5 + [429] * 2
    assert guarded(Limits(rate=5), "127.0.0.1", 7) == [200] * 7


def test_sessions_end_by_time_and_by_memory(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    photo = np.zeros((100, 100, 3), np.uint8)
    sessions = Sessions(Limits(session_seconds=10, sessions_bytes=70_000))
    first, second = sessions.add(photo, []), sessions.add(photo, [])
    assert first.id != second.id
    assert len(first.id) >= 32
    clock.now = 6.0
    assert sessions.get(first.id) is first
    third = sessions.add(photo, [])  # 90 kB: one has to go, and that is the one used longest ago
    with pytest.raises(Refusal, match="gone"):
        sessions.get(second.id)
    clock.now = 15.0
    assert sessions.get(first.id) is first
    clock.now = 25.5
    for session in (first, third):
        with pytest.raises(Refusal, match="gone"):
            sessions.get(session.id)
    assert sessions.nbytes == 0


class CountedReconstructor(Reconstructor):
    """Notes the sizes of the batches it gets. A face with score 0 cannot be cut out."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()

    def find_faces(self, pixels, landmarks=None, box=None) -> list[Face]:
        return [Face(np.zeros(4), None, 1.0)]

    def regress(self, faces) -> list[Regressed]:
        if any(face.score == 0 for _, face in faces):
            raise InputError("outside of the photo")
        self.batches.append(len(faces))
        if len(self.batches) == 4:  # the first after three to warm up
            assert self.gate.wait(30)
        crop = FaceCrop(np.zeros((2, 2, 3), np.uint8), np.eye(3))
        return [Regressed(photo, face, crop, ()) for photo, face in faces]

    def clean(self, regressed, *, threshold=None, sigma_px=None) -> Started:
        return Started([], [], [])

    def finish(self, started, indices) -> list:
        return []


def test_requests_that_wait_go_through_the_network_together(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    reconstructor = CountedReconstructor()
    photo = np.zeros((8, 8, 3), np.uint8)

    async def ask_all() -> list:
        engine = Engine(reconstructor, Limits(), Metrics())
        engine.start(photo)
        scores = [1.0, *[0.5] * 20, 0.0]
        asked = []
        for score in scores:
            face = Face(np.zeros(4), None, score)
            asked.append(asyncio.ensure_future(engine.regress(photo, face)))
            while len(asked) == 1 and len(reconstructor.batches) < 4:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        reconstructor.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        engine.stop()
        return answers

    *answers, refused = asyncio.run(ask_all())
    assert [answer.face.score for answer in answers] == [1.0] + [0.5] * 20
    assert isinstance(refused, InputError)
    assert reconstructor.batches[:5] == [1, 4, 16, 1, 16]  # then the four beside the bad one
    assert sum(reconstructor.batches[5:]) == 4
