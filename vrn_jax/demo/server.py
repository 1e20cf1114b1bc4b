"""Sockets and uvicorn: the app on an address."""

import asyncio
import ipaddress
import socket

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vrn_jax.errors import InputError

__all__ = ["bind", "new_server"]

_HEADER_SECONDS = 10.0
_MAX_HEADER_BYTES = 32_768
_CONNECTIONS = 1000


class _TimedHeaders(H11Protocol):
    """Closes connections whose headers do not arrive in time, which uvicorn does not by itself."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_headers()
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(_HEADER_SECONDS, self.transport.close)


def bind(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket, and the URL that a browser on this machine opens; port 0: any free one.

    Raises:
        InputError: if the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error}; choose another with --host and --port"
        ) from error
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified or host == "localhost":
        address = "localhost"
    return (
        listening,
        f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/",
    )


def new_server(app: ASGIApp) -> uvicorn.Server:
    """A server; `run(sockets=[...])` it, and set its `should_exit` to end it."""
    config = uvicorn.Config(
        app,
        http=_TimedHeaders,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )
    return uvicorn.Server(config)
