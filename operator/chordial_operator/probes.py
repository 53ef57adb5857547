"""Probes and metrics of the operator over plain HTTP: GET only, one request a connection, bounded.

Liveness is more than "the process runs": that it answers proves the event loop, and the oldest
turn that waits proves the queue. Nothing secret is shown, because nobody is asked who they are.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from chordial_operator.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH

LONGEST_HEAD = 8_192
MOST_CONNECTIONS = 64
REQUEST_SECONDS = 5.0
STUCK_SECONDS = 180.0
"""A turn is ended after two minutes: one that has waited longer than this waits for ever."""
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Health(msgspec.Struct, frozen=True):
    """What the probes are answered from."""

    oldest_seconds: Callable[[], float]
    """For how long the first in the queue has waited."""
    unready: Callable[[], str]
    """Why this operator signs no certificates; empty when it does."""
    metrics: Callable[[], Iterable[str]]
    """The lines of the metrics page."""


class ProbeServer:
    """The plain HTTP port of one operator."""

    def __init__(self, health: Health) -> None:
        """Take what the probes are answered from."""
        self._health = health
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, on all addresses if none is named; return the port."""
        self._server = await asyncio.start_server(
            self._serve, host or None, port, limit=LONGEST_HEAD
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > MOST_CONNECTIONS:
                return
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = self.answer(head.split(b"\r\n", 1)[0].decode("latin-1"))
                writer.write(_response(status, body))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return
        finally:
            self._open -= 1
            writer.close()

    def answer(self, request_line: str) -> tuple[int, str]:
        """Return status and text for the first line of a request."""
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            return 405, "only GET is answered\n"
        if path == LIVENESS_PATH:
            oldest = self._health.oldest_seconds()
            if oldest > STUCK_SECONDS:
                return 503, f"a turn has waited for {oldest:.0f} s\n"
            return 200, "alive\n"
        if path == READINESS_PATH:
            unready = self._health.unready()
            return (503, f"{unready}\n") if unready else (200, "ready\n")
        if path == METRICS_PATH:
            return 200, "".join(f"{line}\n" for line in self._health.metrics())
        return 404, f"{LIVENESS_PATH}, {READINESS_PATH}, {METRICS_PATH}\n"


def _response(status: int, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
