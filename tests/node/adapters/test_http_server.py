"""Probes and pages over a real socket, asked with the standard library and with nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chordial_node.adapters.http_server import Content, HttpServer
from chordial_node.boundary.control import Answer, Question, Refused, StatusAnswer
from chordial_node.boundary.notices import Ready
from chordial_node.config import Endpoint
from tests.node.adapters.overlay_rig import on_a_loop
from tests.node.adapters.test_prometheus_metrics import STATUS


class Asked:
    def __init__(self) -> None:
        self.answer: Answer = STATUS

    async def __call__(self, _: Question) -> Answer:
        return self.answer


def metrics(status: StatusAnswer) -> bytes:
    return b"lookups %d\n" % status.counters["lookups"]


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[HttpServer, Asked, int]]:
    asked = Asked()
    server = HttpServer(Content(asked, metrics, "text/plain"))
    port = await server.start(Endpoint("127.0.0.1", 0))
    try:
        yield server, asked, port
    finally:
        await server.stop()


async def get(port: int, request: bytes) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


def path(text: str) -> bytes:
    return f"GET {text} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@on_a_loop
async def test_readiness_follows_the_core_and_liveness_does_not() -> None:
    async with serving() as (server, _, port):
        assert await get(port, path("/healthz")) == (200, "ok\n")
        assert await get(port, path("/readyz")) == (503, "starting\n")
        server.observers()[Ready](Ready(is_ready=True, reason=""))
        assert await get(port, path("/readyz?verbose")) == (200, "ready\n")
        server.observers()[Ready](Ready(is_ready=False, reason="draining"))
        assert await get(port, path("/readyz")) == (503, "draining\n")


@on_a_loop
async def test_the_pages_show_the_peers_own_status() -> None:
    async with serving() as (_, asked, port):
        assert await get(port, path("/metrics")) == (200, "lookups 9\n")
        status, page = await get(port, path("/"))
        assert status == 200
        assert "&lt;p1&gt;" in page
        asked.answer = Refused("stopped", "gone")
        assert (await get(port, path("/metrics")))[0] == 503


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\n\r\n", 405),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 400),
    ],
    ids=["unknown", "post", "not HTTP", "too long"],
)
@on_a_loop
async def test_what_is_not_served_is_answered_as_such(request_bytes: bytes, status: int) -> None:
    async with serving() as (_, _, port):
        assert (await get(port, request_bytes))[0] == status


@on_a_loop
async def test_head_is_answered_without_the_page() -> None:
    async with serving() as (_, _, port):
        assert await get(port, b"HEAD /healthz HTTP/1.1\r\n\r\n") == (200, "")


@on_a_loop
async def test_before_there_is_a_peer_the_probes_are_answered_and_say_why() -> None:
    server = HttpServer()
    ports = [await server.start(Endpoint("127.0.0.1", 0)) for _ in range(2)]
    try:
        server.say_unready("waiting for a certificate: nobody answers")
        for port in ports:
            assert await get(port, path("/healthz")) == (200, "ok\n")
            told = "waiting for a certificate: nobody answers\n"
            assert await get(port, path("/readyz")) == (503, told)
            assert await get(port, path("/")) == (503, told)
            assert await get(port, path("/metrics")) == (200, f"# {told}chordial_ready 0\n")
        server.show(Content(Asked(), metrics, "text/plain"))
        assert (await get(ports[0], path("/metrics")))[1].startswith("lookups")
    finally:
        await server.stop()
