"""What every request passes before the app, and every answer after it.

Hosts: a page elsewhere may have its own name point here ("DNS rebinding") and then read what is
answered, so only names that are ours are answered. Origins: it may also send pictures here without
reading the answer; browsers say where a request comes from, and such are refused. Nothing is shared
with other origins (no CORS).
"""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vrn_jax.demo.metrics import Metrics
from vrn_jax.demo.refusal import Refusal, answer
from vrn_jax.demo.settings import Limits

__all__ = ["Guard"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_DRAIN_SECONDS = 2.0
_CLIENTS = 4096


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: what is guarded.
        hosts: names that may stand in the Host header besides addresses and localhost.
        policy: the Content-Security-Policy of every answer.
        limits: rate, and time for an answer to be taken.
        metrics: where answers are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        policy: str,
        limits: Limits,
        metrics: Metrics,
    ):
        self._app = app
        self._hosts = {"localhost", *(name.lower() for name in hosts)}
        self._headers = {**_HEADERS, "Content-Security-Policy": policy}
        self._limits = limits
        self._metrics = metrics
        self._rate = _Rate(limits.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._headers, self._limits.work_seconds)
        try:
            self._check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await answer(refusal)(scope, exchange.receive, exchange.send)
        except TimeoutError:
            exchange.status = exchange.status or 408  # the answer was not taken: nobody to tell
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(exchange.status)).inc()

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _host_name(headers.get("host", ""))
        if not (host in self._hosts or _is_address(host)):
            raise Refusal(
                421,
                "wrong_host",
                f"this server does not answer for the host {host[:80]!r}; allow it with "
                "--allow-host if it is yours",
            )
        if scope["method"] not in _SAFE_METHODS:
            origin = headers.get("origin")
            foreign = origin is not None and urlsplit(origin).netloc != headers.get("host", "")
            if foreign or headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
                raise Refusal(403, "wrong_origin", "pages of other origins may not use this server")
        if scope["path"].startswith("/api/"):
            client = (scope.get("client") or ("",))[0]
            self._rate.check(client)


class _Exchange:
    """One request and its answer: adds headers, limits the time of sending, ends uploads."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[str, str],
        seconds: float,
    ):
        self.status = 0
        self._receive = receive
        self._send = send
        self._headers = headers
        self._seconds = seconds
        given = Headers(scope=scope)
        self._arrived = "content-length" not in given and "transfer-encoding" not in given
        self._held_back = given.get("expect", "").lower() == "100-continue"  # until we receive

    async def receive(self) -> Message:
        message = await self._receive()
        self._held_back = False
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._arrived = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
            if self.status >= 400 and not self._arrived:
                await self._drain()
                headers["Connection"] = "close"
        async with asyncio.timeout(self._seconds):
            await self._send(message)

    async def _drain(self) -> None:
        """Takes the rest of an upload for a moment: clients that are cut off miss the answer."""
        if self._held_back:
            return
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._arrived:
                    await self.receive()
        except TimeoutError:
            return


class _Rate:
    """So many requests a minute for each client, at once or spread; loopback is not counted."""

    def __init__(self, per_minute: int):
        self._per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def check(self, client: str) -> None:
        """Counts a request. Raises Refusal 429 if it is one too many."""
        if _is_address(client) and ipaddress.ip_address(client).is_loopback:
            return
        now = time.monotonic()
        tokens, before = self._left.pop(client, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - before) * self._per_minute / 60)
        self._left[client] = (max(tokens - 1, 0.0), now)
        while len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        if tokens < 1:
            wait = 60 * (1 - tokens) / self._per_minute
            raise Refusal(
                429,
                "rate",
                f"{self._per_minute} requests a minute are allowed; try again in a moment",
                {"Retry-After": str(int(wait) + 1)},
            )


def _host_name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
