"""Liveness, readiness and metrics of the operator."""

import asyncio
from random import Random

from chordial_operator.probes import STUCK_SECONDS, Health, ProbeServer
from chordial_operator.queue import SETTLED, Key, Next, WorkQueue


def answer(line: str, oldest: float = 0.0, unready: str = "") -> tuple[int, str]:
    server = ProbeServer(Health(lambda: oldest, lambda: unready, lambda: ["a 1", "b 2"]))
    return server.answer(line)


def test_liveness_notices_a_turn_that_waits_for_ever() -> None:
    assert answer("GET /healthz HTTP/1.1")[0] == 200
    status, text = answer("GET /healthz HTTP/1.1", oldest=STUCK_SECONDS + 1)
    assert status == 503
    assert "181" in text


def test_liveness_notices_a_turn_that_will_not_even_be_cancelled() -> None:
    """What the queue does with such a turn is to wait: only a new process helps."""

    async def run() -> list[int]:
        now = 0.0
        began, may_end = asyncio.Event(), asyncio.Event()

        async def turn(key: Key) -> Next:
            began.set()
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue
            return SETTLED

        queue = WorkQueue(turn, Random(1), lambda: now, turn_seconds=0.01)
        health = Health(lambda: queue.oldest_seconds, lambda: "", list)
        running = asyncio.create_task(queue.run())
        queue.wake(Key("Overlay", "calls", "a"))
        await began.wait()
        seen = []
        for now in (STUCK_SECONDS, STUCK_SECONDS + 1.0):  # noqa: B007 - the clock reads it
            seen.append(ProbeServer(health).answer("GET /healthz HTTP/1.1")[0])
        may_end.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return seen

    assert asyncio.run(run()) == [200, 503]


def test_liveness_notices_a_queue_that_takes_nothing_any_more() -> None:
    now = 0.0

    async def turn(key: Key) -> Next:
        return SETTLED

    queue = WorkQueue(turn, Random(1), lambda: now)  # nobody runs it
    queue.wake(Key("Overlay", "calls", "a"))
    server = ProbeServer(Health(lambda: queue.oldest_seconds, lambda: "", list))
    assert server.answer("GET /healthz HTTP/1.1")[0] == 200
    now = STUCK_SECONDS + 1.0
    assert server.answer("GET /healthz HTTP/1.1")[0] == 503


def test_readiness_says_why_not() -> None:
    assert answer("GET /readyz HTTP/1.1")[0] == 200
    assert answer("GET /readyz HTTP/1.1", unready="no") == (503, "no\n")


def test_metrics_are_lines() -> None:
    assert answer("GET /metrics?x=1 HTTP/1.1") == (200, "a 1\nb 2\n")


def test_nothing_else_is_answered() -> None:
    assert answer("POST /healthz HTTP/1.1")[0] == 405
    assert answer("GET / HTTP/1.1")[0] == 404


def test_it_serves_one_request_a_connection() -> None:
    async def run() -> bytes:
        server = ProbeServer(Health(lambda: 0.0, lambda: "", list))
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        said = await reader.read()
        writer.close()
        await server.stop()
        return said

    assert asyncio.run(run()).endswith(b"Connection: close\r\n\r\nready\n")
