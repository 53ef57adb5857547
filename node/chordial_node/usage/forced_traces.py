"""Calls whose trace is wanted whatever head sampling says: asked for before the call is placed.

A phone has no say in what is sampled; who may ask the control service has. The table is bounded
and forgets by itself.
"""

from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.message import Message

MOST = 256
KEPT_SECONDS = 60.0


class ForcedTraces:
    """Trace ids given out for calls to come, by their Call-ID."""

    __slots__ = ("_kernel", "_wanted")

    def __init__(self, kernel: Kernel) -> None:
        """Begin with none."""
        self._kernel = kernel
        self._wanted: dict[bytes, tuple[float, bytes]] = {}

    def force(self, call_id: bytes) -> bytes:
        """Return the 16 bytes of the trace that a call will be told in."""
        while len(self._wanted) >= MOST:
            del self._wanted[next(iter(self._wanted))]
        trace_id = self._kernel.new_trace_id()
        self._wanted[call_id] = (self._kernel.now + KEPT_SECONDS, trace_id)
        return trace_id

    def of(self, request: Message) -> bytes | None:
        """Return the trace of an INVITE; one that is about to be challenged is not yet the call."""
        if not self._wanted or request.method != b"INVITE":
            return None
        wanted = self._wanted.get(request.call_id)
        if wanted is None or b"proxy-authorization" not in request:
            return None
        return wanted[1] if self._kernel.now < wanted[0] else None
