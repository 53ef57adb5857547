"""Spans: exported with the core's ids and times; a collector that is down costs nothing."""

import socket
import time

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from chordial_node.adapters.otel_spans import STOP_SECONDS, OtelSpans, otlp_exporter
from chordial_node.boundary.notices import SpanEnded
from tests.node.adapters.overlay_rig import NODES, on_a_loop

ENDED = SpanEnded(
    name="fetch",
    kind="client",
    trace_id=b"\1" * 16,
    span_id=b"\2" * 8,
    parent_id=b"\3" * 8,
    started=10.0,
    ended=10.5,
    error="busy",
    attributes={"chordial_overlay_hop__number": 2},
)


@on_a_loop
async def test_a_span_leaves_as_the_core_told_it() -> None:
    exporter = InMemorySpanExporter()
    spans = OtelSpans(exporter, NODES[0], "test", lambda: 1_000.0)
    spans.observers()[SpanEnded](ENDED)
    await spans.close()
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("fetch", SpanKind.CLIENT)
    assert span.context is not None
    assert span.context.trace_id == int("01" * 16, 16)
    assert span.parent is not None
    assert span.parent.span_id == int("03" * 8, 16)
    assert (span.start_time, span.end_time) == (1_010_000_000_000, 1_010_500_000_000)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"chordial.overlay.hop_number": 2}
    assert span.resource.attributes["service.instance.id"] == NODES[0].hex()


@pytest.mark.filterwarnings("ignore")
@on_a_loop
async def test_a_collector_that_is_down_costs_bounded_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        spans = OtelSpans(otlp_exporter(endpoint), NODES[0], "test", lambda: 0.0)
        begun = time.monotonic()
        for _ in range(5_000):
            spans.observers()[SpanEnded](ENDED)
        assert time.monotonic() - begun < 2.0
        await spans.close()
        assert time.monotonic() - begun < STOP_SECONDS + 3.0
