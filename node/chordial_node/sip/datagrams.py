"""Which UDP flows are remembered (RFC 5626 §3.1): one for each listener and remote address.

Bounded, the one that has been silent for the longest time is forgotten first, but for those that
keepalives hold open: whoever forges sources must not end them. What a datagram holds is not looked
at here.
"""

from collections.abc import Callable

from chordial_node.boundary.events import Address
from chordial_node.config import Transport
from chordial_node.sip.flow import Flow

MOST_DATAGRAM_FLOWS = 50_000
MOST_PASSED = 16
"""So many kept flows are put to the end for a new one before one of them is forgotten."""


class Datagrams:
    """All UDP flows that are remembered."""

    def __init__(self, on_forgotten: Callable[[Flow], None]) -> None:
        """Remember none yet; `on_forgotten` is told of each one that finds no room."""
        self._on_forgotten = on_forgotten
        self._flows: dict[tuple[int, Address], Flow] = {}

    def get(self, listener: int, remote: Address) -> Flow:
        """Return the flow of a listener and an address; a dead one is dead until it speaks."""
        flow = self._flows.get((listener, remote))
        return self._new(listener, remote) if flow is None else flow

    def heard(self, listener: int, source: Address) -> Flow:
        """Return the live flow from which a datagram came, as the last to be forgotten."""
        flow = self._flows.pop((listener, source), None)
        if flow is None or flow.is_dead:
            return self._new(listener, source)
        self._flows[listener, source] = flow
        return flow

    def at_port(self, flow: Flow, port: int) -> Flow:
        """Return the flow to another port of the same host; an unknown one is not remembered."""
        if port == flow.remote[1]:
            return flow
        remote = (flow.remote[0], port)
        known = self._flows.get((flow.listener, remote))
        return Flow(flow.listener, Transport.UDP, remote) if known is None else known

    def _new(self, listener: int, remote: Address) -> Flow:
        flows = self._flows
        kept = 0
        while len(flows) >= MOST_DATAGRAM_FLOWS:
            place = next(iter(flows))
            oldest = flows.pop(place)
            if oldest.is_kept and kept < MOST_PASSED:
                kept += 1
                flows[place] = oldest
            else:
                self._on_forgotten(oldest)
        flow = Flow(listener, Transport.UDP, remote)
        flows[listener, remote] = flow
        return flow
