"""Spans: started where the work is done, told once, at their end (RFC-free; W3C trace context).

A span holds ids and times of the core. Its context is a parameter, never ambient; an unsampled
span is one shared object that does nothing. No OpenTelemetry type belongs here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from chordial_node.boundary.notices import SpanEnded

Attribute = str | int | float | bool


class Trace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The context of a sampled trace, as it travels in an envelope; None stands for unsampled."""

    trace_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    span_id: Annotated[bytes, Meta(min_length=8, max_length=8)]
    """The parent of what the receiver does."""

    @property
    def traceparent(self) -> bytes:
        """The W3C header value."""
        return b"00-%s-%s-01" % (self.trace_id.hex().encode(), self.span_id.hex().encode())


def parse_traceparent(value: bytes) -> Trace | None:
    """Return the context of a sampled W3C header; None when it is unsampled or malformed."""
    parts = value.strip().split(b"-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        is_sampled = int(parts[3], 16) & 1
        trace = Trace(bytes.fromhex(parts[1].decode()), bytes.fromhex(parts[2].decode()))
    except ValueError:
        return None
    return trace if is_sampled and any(trace.trace_id) and any(trace.span_id) else None


class Span:
    """Work of a sampled trace, from its making to `end`."""

    __slots__ = ("_emit", "_ended", "_kind", "_name", "_parent_id", "_started", "trace")

    def __init__(
        self,
        emit: Callable[[SpanEnded], None],
        name: str,
        kind: str,
        trace: Trace,
        parent_id: bytes,
        started: float,
    ) -> None:
        self.trace: Trace | None = trace
        self._emit = emit
        self._name = name
        self._kind = kind
        self._parent_id = parent_id
        self._started = started
        self._ended = False

    def end(self, now: float, error: str | None = None, **attributes: Attribute) -> None:
        """Tell the span; a second call changes nothing. Keys: `_` stands for the dot."""
        if self._ended or self.trace is None:
            return
        self._ended = True
        self._emit(
            SpanEnded(
                name=self._name,
                kind=self._kind,
                trace_id=self.trace.trace_id,
                span_id=self.trace.span_id,
                parent_id=self._parent_id,
                started=self._started,
                ended=now,
                error=error,
                attributes=attributes,
            )
        )


class _Unsampled(Span):
    __slots__ = ()

    def __init__(self) -> None:
        self.trace = None
        self._ended = True


UNSAMPLED: Span = _Unsampled()
"""The span of everything that is not sampled."""
