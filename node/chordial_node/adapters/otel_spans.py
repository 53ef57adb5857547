"""Spans to an OpenTelemetry collector: `SpanEnded` becomes a finished span, queued for export.

The core has drawn the ids and taken the times; nothing of OpenTelemetry is loaded unless an
endpoint is configured. A collector that is down costs the spans, never the node's time.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from chordial_node import __version__
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import SpanEnded
from chordial_node.ids import NodeId

LONGEST_QUEUE = 4_096
EXPORT_SECONDS = 5.0
EVERY_SECONDS = 1.0
STOP_SECONDS = 3.0
MOST_HEADERS = 32
LONGEST_HEADER = 8_192
_NAME = re.compile(r"[a-z0-9._-]+")
_PRINTABLE = re.compile(rb"[\x20-\x7e]+")
Headers = tuple[tuple[str, str], ...]
"""Names in lower case, as gRPC has them, and values."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_SCOPE = InstrumentationScope("chordial", __version__)


class OtelSpans:
    """Exports the spans of one node."""

    def __init__(
        self,
        exporter: SpanExporter,
        node: NodeId,
        overlay_name: str,
        wall_offset: Callable[[], float],
    ) -> None:
        """Take where spans go, whose they are, and what makes Unix time of the core's time."""
        self._wall_offset = wall_offset
        self._resource = Resource.create(
            {
                "service.name": "chordial",
                "service.version": __version__,
                "service.instance.id": node.hex(),
                "chordial.overlay.name": overlay_name,
            }
        )
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=LONGEST_QUEUE,
            schedule_delay_millis=EVERY_SECONDS * 1_000,
            export_timeout_millis=EXPORT_SECONDS * 1_000,
        )

    def observers(self) -> dict[type[Notice], Callable[[Notice], None]]:
        """Return what is to be told of each ended span."""
        return {SpanEnded: self._on_ended}

    def _on_ended(self, notice: Notice) -> None:
        assert isinstance(notice, SpanEnded)
        self._processor.on_end(self._span(notice))

    async def close(self) -> None:
        """Send what waits, for so long at the most; a thread that takes longer is left behind."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="spans", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), STOP_SECONDS)

    def _span(self, ended: SpanEnded) -> ReadableSpan:
        offset = self._wall_offset()
        trace_id = int.from_bytes(ended.trace_id, "big")
        parent = int.from_bytes(ended.parent_id, "big")
        return ReadableSpan(
            name=ended.name,
            context=_context(trace_id, int.from_bytes(ended.span_id, "big"), is_remote=False),
            parent=_context(trace_id, parent, is_remote=True) if parent else None,
            resource=self._resource,
            attributes={_dotted(name): value for name, value in ended.attributes.items()},
            kind=_KINDS.get(ended.kind, SpanKind.INTERNAL),
            status=Status(StatusCode.ERROR, ended.error) if ended.error else Status(),
            start_time=int((ended.started + offset) * 1e9),
            end_time=int((ended.ended + offset) * 1e9),
            instrumentation_scope=_SCOPE,
        )


def otlp_exporter(endpoint: str, headers: Headers = ()) -> SpanExporter:
    """Return an exporter to a collector, `http://HOST:PORT` in the clear, `https://` over TLS."""
    return OTLPSpanExporter(
        endpoint=endpoint,
        insecure=not endpoint.startswith("https:"),
        headers=headers,
        timeout=EXPORT_SECONDS,
    )


def read_headers(folder: str) -> tuple[Headers, list[str]]:
    """Return the headers of a folder, a file each, and what is wrong with it; never a value."""
    if not folder:
        return (), []
    try:
        files = sorted(each for each in Path(folder).iterdir() if not each.name.startswith("."))
    except OSError as error:
        return (), [f"{folder} cannot be read: {error.strerror}: is there such a Secret?"]
    headers, problems = [], []
    if len(files) > MOST_HEADERS:
        problems.append(f"{folder} holds {len(files)} headers: {MOST_HEADERS} are sent")
    for file in files[:MOST_HEADERS]:
        name = file.name.lower()
        try:
            with file.open("rb") as opened:
                value = opened.read(LONGEST_HEADER + 1).strip()
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}")
            continue
        if not _NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            problems.append(f"{file}: no name for a header, or one that gRPC keeps for itself")
        elif len(value) > LONGEST_HEADER or not _PRINTABLE.fullmatch(value):
            problems.append(f"{file} must hold at most {LONGEST_HEADER} printable characters")
        else:
            headers.append((name, value.decode("ascii")))
    if not files:
        problems.append(f"{folder} holds no header: is there such a Secret?")
    return tuple(headers), problems


def _context(trace_id: int, span_id: int, *, is_remote: bool) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=is_remote, trace_flags=_SAMPLED)


def _dotted(name: str) -> str:
    """Return an attribute's name: `_` stands for the dot, two of them for one that is meant."""
    return ".".join(part.replace("\0", "_") for part in name.replace("__", "\0").split("_"))
