"""A trace backend for tests: takes OTLP over gRPC and keeps the spans."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import msgspec
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


class SinkSpan(msgspec.Struct, frozen=True):
    """What a test looks at of a span."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    """internal, server, client, producer or consumer."""
    peer: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, str]


class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Everything that was exported."""

    def __init__(self) -> None:
        self.spans: list[SinkSpan] = []

    def Export(  # noqa: N802  # the name is OTLP's
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keep the spans of a batch."""
        for resource in request.resource_spans:
            of = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        SinkSpan(
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex().strip("0")
                            and span.parent_span_id.hex(),
                            name=span.name,
                            kind=trace_pb2.Span.SpanKind.Name(span.kind)[10:].lower(),
                            peer=of.get("service.instance.id", ""),
                            started_ns=span.start_time_unix_nano,
                            ended_ns=span.end_time_unix_nano,
                            attributes={each.key: _text(each.value) for each in span.attributes},
                        )
                    )
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[SinkSpan]:
        """Return the spans of one trace, the earliest first."""
        found = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.started_ns)


@contextmanager
def otlp_sink() -> Iterator[tuple[str, Sink]]:
    """Run a sink; gives its endpoint and what it keeps."""
    sink = Sink()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", sink
    finally:
        server.stop(1).wait()


def _text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    return str(getattr(value, kind)) if kind else ""
