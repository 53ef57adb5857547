"""Spans: exported with the core's ids and times; a collector that is down costs nothing."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from chordial_node.adapters.otel_spans import (
    LONGEST_HEADER,
    STOP_SECONDS,
    OtelSpans,
    otlp_exporter,
    read_headers,
)
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


class Collector(TraceServiceServicer):
    """Keeps what comes, and with which metadata."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.metadata: dict[str, str | bytes] = {}

    def Export(  # noqa: N802  # as the protocol names it
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self.metadata = dict(context.invocation_metadata())
        self.names += [
            span.name
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return ExportTraceServiceResponse()


@on_a_loop
async def test_spans_reach_a_collector_with_the_headers_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()  # as a Secret is mounted
    (tmp_path / "X-Api-Key").write_text("k3y\n")
    (tmp_path / "authorization").write_text("Bearer abc")
    headers, problems = read_headers(str(tmp_path))
    assert problems == []
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    exporter = otlp_exporter(f"http://127.0.0.1:{port}", headers)
    spans = OtelSpans(exporter, NODES[0], "test", lambda: 0.0)
    spans.observers()[SpanEnded](ENDED)
    await spans.close()
    server.stop(0).wait()
    assert collector.names == ["fetch"]
    assert collector.metadata["x-api-key"] == "k3y"
    assert collector.metadata["authorization"] == "Bearer abc"


def test_no_folder_is_no_header() -> None:
    assert read_headers("") == ((), [])


def test_a_secret_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "is there such a Secret" in read_headers(str(tmp_path))[1][0]
    assert "is there such a Secret" in read_headers(str(tmp_path / "none"))[1][0]


def test_what_cannot_be_a_header_is_told_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("value")
    (tmp_path / "grpc-timeout").write_text("secret")
    (tmp_path / "trace-bin").write_text("secret")
    (tmp_path / "long").write_text("secret" * LONGEST_HEADER)
    (tmp_path / "lines").write_text("secret\r\nx: y")
    (tmp_path / "empty").write_text("")
    headers, problems = read_headers(str(tmp_path))
    assert headers == (("good", "value"),)
    assert len(problems) == 5
    assert "secret" not in "".join(problems)


def test_headers_are_bounded(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"x-{number:02d}").write_text("v")
    headers, problems = read_headers(str(tmp_path))
    assert len(headers) == 32
    assert "holds 40 headers: 32 are sent" in problems[0]
