"""Probes, metrics and a short page over HTTP/1.1: GET only, one request a connection, bounded.

Plain asyncio: a dependency for four pages would weigh more than they do. Nothing secret is shown,
because nobody is asked who they are.
"""

import asyncio
import html
import socket
from collections.abc import Awaitable, Callable

import msgspec

from chordial_node.boundary.control import Answer, AskStatus, Question, StatusAnswer
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import Ready
from chordial_node.config import Endpoint

LONGEST_HEAD = 8_192
MOST_CONNECTIONS = 64
REQUEST_SECONDS = 5.0
STARTING = "starting"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Page(msgspec.Struct, frozen=True):
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class Content(msgspec.Struct, frozen=True):
    """What the pages of a peer are made of."""

    ask: Callable[[Question], Awaitable[Answer]]
    metrics: Callable[[StatusAnswer], bytes]
    metrics_content_type: str


class HttpServer:
    """The plain HTTP port of one peer."""

    def __init__(self, content: Content | None = None) -> None:
        """Take what the pages are made of, or only probes are answered until `show`."""
        self._content = content
        self._ready = Ready(is_ready=False, reason=STARTING)
        self._servers: list[asyncio.Server] = []
        self._open = 0
        self._pages: dict[str, Callable[[], Awaitable[Page]]] = {
            "/": self._overview_page,
            "/healthz": self._health_page,
            "/readyz": self._ready_page,
            "/metrics": self._metrics_page,
        }

    async def start(self, bind: Endpoint) -> int:
        """Listen there too, and return the port; OSError says why that cannot be."""
        family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        listening = socket.create_server(bind.address, family=family)
        server = await asyncio.start_server(self._serve, sock=listening, limit=LONGEST_HEAD)
        self._servers.append(server)
        return int(listening.getsockname()[1])

    def show(self, content: Content | None) -> None:
        """Make the pages of a peer from now on, or of none any more."""
        self._content = content

    def say_unready(self, reason: str) -> None:
        """Answer readiness with a reason before there is a peer, or after it has ended."""
        self._ready = Ready(is_ready=False, reason=reason)

    def observers(self) -> dict[type[Notice], Callable[[Notice], None]]:
        """Return what is to be told of readiness."""
        return {Ready: self._on_ready}

    def _on_ready(self, notice: Notice) -> None:
        assert isinstance(notice, Ready)
        self._ready = notice

    async def stop(self) -> None:
        """Close every port."""
        while self._servers:
            server = self._servers.pop()
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._answer(reader, writer)
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone, or was too slow
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0]
        except asyncio.LimitOverrunError:
            writer.write(_encoded(Page(400, b"the request is too long\n")))
            return
        page = await self._page(line.split(b" "))
        writer.write(_encoded(page, is_whole=not line.startswith(b"HEAD ")))

    async def _page(self, parts: list[bytes]) -> Page:
        if len(parts) != 3:
            return Page(400, b"this is no HTTP request\n")
        if parts[0] not in (b"GET", b"HEAD"):
            return Page(405, b"only GET is served\n")
        path = parts[1].split(b"?", 1)[0].decode("ascii", "replace")
        page = self._pages.get(path)
        if page is None:
            return Page(404, b"there are /, /healthz, /readyz and /metrics\n")
        return await page()

    async def _health_page(self) -> Page:
        return Page(200, b"ok\n")  # the loop runs: that is all that liveness may depend on

    async def _ready_page(self) -> Page:
        reason = self._ready.reason or "ready"
        if self._content is not None and reason == STARTING:
            status = await self._content.ask(AskStatus())
            if isinstance(status, StatusAnswer) and not status.is_ready:
                reason = f"{status.state}: {status.ready_reason}"
        return Page(200 if self._ready.is_ready else 503, f"{reason}\n".encode())

    async def _metrics_page(self) -> Page:
        content = self._content
        if content is None:
            return Page(200, f"# {self._ready.reason}\nchordial_ready 0\n".encode())
        status = await content.ask(AskStatus())
        if not isinstance(status, StatusAnswer):
            return Page(503, b"this peer stops\n")
        return Page(200, content.metrics(status), content.metrics_content_type)

    async def _overview_page(self) -> Page:
        if self._content is None:
            return Page(503, f"{self._ready.reason}\n".encode())
        status = await self._content.ask(AskStatus())
        if not isinstance(status, StatusAnswer):
            return Page(503, b"this peer stops\n")
        return Page(200, _overview(status).encode(), "text/html; charset=utf-8")


def _encoded(page: Page, *, is_whole: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (page.body if is_whole else b"")


def _overview(status: StatusAnswer) -> str:
    rows = "\n".join(
        f"<tr><td>{html.escape(member.name)}<td><code>{member.node_id.hex()}</code>"
        f"<td>{html.escape(member.state)}<td>{'linked' if member.is_linked else ''}"
        f"<td>{html.escape(member.overlay_address)}"
        for member in status.members
    )
    name = html.escape(status.name)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body{{font:15px system-ui;margin:2rem}}td{{padding:.2rem 1rem .2rem 0}}</style>
<h1>{name}: {html.escape(status.state)}</h1>
<p>Overlay {html.escape(status.overlay_name)}, Node-ID <code>{status.node_id.hex()}</code>,
{status.registrations} registrations, {status.calls} calls, {status.keys} entries.
<table>{rows}</table>
<p><a href="/metrics">metrics</a> · <a href="/readyz">ready</a>
</html>
"""
