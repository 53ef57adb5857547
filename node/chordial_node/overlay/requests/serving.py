"""Requests of others: each is worked on once, however often it arrives.

RFC 6940 §6.2.1: a re-sent request keeps its transaction id, and the receiver keeps the answers to
requests that are not idempotent for 15 seconds. A duplicate of one that is still worked on starts
nothing; its way back is remembered, for the first may be broken. What is answered is decided
elsewhere.
"""

import msgspec

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    Envelope,
    FormRequest,
    JoinRequest,
    LeaveRequest,
    Message,
    ProposeRequest,
    StoreRequest,
)
from chordial_node.overlay.routing import BUSY_RETRY_SECONDS, Routing

KEPT_SECONDS = 15.0
WORKING_SECONDS = 60.0
"""A request worked on for longer has failed by a fault of ours: it is forgotten."""
MOST_KEPT = 8192
MOST_WAYS = 3

NOT_IDEMPOTENT = (
    StoreRequest.CODE,
    JoinRequest.CODE,
    LeaveRequest.CODE,
    ProposeRequest.CODE,
    FormRequest.CODE,
)

Key = tuple[NodeId, int]


class RequestContext(msgspec.Struct):
    """What a handler of a request may know beside the request."""

    source: NodeId
    """Who asks."""
    trace: Trace | None
    hops: int
    """Links that the request crossed; 0: our own."""
    stand_in: bool
    """We serve for an owner that is held dead, or that the asker wants avoided."""


class _Work:
    __slots__ = ("since", "ways")

    def __init__(self, since: float, previous: NodeId, envelope: Envelope) -> None:
        self.since = since
        self.ways = [(previous, envelope)]


class Serving:
    """The requests being worked on, and the answers kept."""

    def __init__(self, kernel: Kernel, routing: Routing, most: int) -> None:
        self._kernel = kernel
        self._routing = routing
        self._most = most
        self._working: dict[Key, _Work] = {}
        self._kept: dict[Key, tuple[float, Message]] = {}

    def __len__(self) -> int:
        return len(self._working)

    def begin(self, previous: NodeId, envelope: Envelope) -> bool:
        """Tell whether a request is new; OverlayError(BUSY) when too many are worked on."""
        key = (envelope.source, envelope.transaction)
        kept = self._kept.get(key)
        if kept is not None and self._kernel.now - kept[0] <= KEPT_SECONDS:
            self._routing.answer(envelope, previous, kept[1])
            return False
        work = self._working.get(key)
        if work is not None:
            if len(work.ways) < MOST_WAYS:
                work.ways.append((previous, envelope))
            return False
        self._expire()
        if len(self._working) >= self._most:
            self._kernel.counters.requests_busy += 1
            reason = "too many requests are being worked on"
            raise OverlayError(ErrorCode.BUSY, reason, BUSY_RETRY_SECONDS)
        self._working[key] = _Work(self._kernel.now, previous, envelope)
        return True

    def end(self, envelope: Envelope, answer: Message) -> None:
        """Answer a request on each way that it came, and keep the answer if it must be kept."""
        key = (envelope.source, envelope.transaction)
        work = self._working.pop(key, None)
        if work is None:
            return
        if envelope.method in NOT_IDEMPOTENT:
            self._kept.pop(key, None)  # the oldest is to stand first
            self._kept[key] = (self._kernel.now, answer)
        for previous, request in work.ways:
            self._routing.answer(request, previous, answer)

    def _expire(self) -> None:
        now = self._kernel.now
        while self._kept:
            key = next(iter(self._kept))
            if now - self._kept[key][0] <= KEPT_SECONDS and len(self._kept) <= MOST_KEPT:
                break
            del self._kept[key]
        while self._working:
            key = next(iter(self._working))
            if now - self._working[key].since <= WORKING_SECONDS:
                break
            del self._working[key]
