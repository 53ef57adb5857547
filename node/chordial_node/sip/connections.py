"""Which SIP connections exist, and which of them are ended for silence.

RFC 3261 §18: found by number, by address, and by the peer that is proven at the other end. One
wheel ends accepted connections that say nothing and connections between peers that nobody uses
(`sip.md` 8 and 10). What goes over a connection is not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable

from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.sip.flow import Flow

FIRST_MESSAGE_SECONDS = 10.0
PEER_IDLE_SECONDS = 120.0
MOST_CONNECTIONS = 40_000
MOST_PER_ADDRESS = 10_000
"""Accepted connections of one address; phones behind one NAT share an address."""
MOST_SILENT_PER_ADDRESS = 1_000
"""Those of them without a message yet."""
_TICK_SECONDS = 2.0


class Connections:
    """All connections that are open or being opened."""

    def __init__(
        self, kernel: Kernel, node_id: NodeId, on_useless: Callable[[Flow, str], None]
    ) -> None:
        """Know none yet; `on_useless` is told which one to end, and why."""
        self._kernel = kernel
        self._node_id = node_id
        self._on_useless = on_useless
        self._by_number: dict[int, Flow] = {}
        self._by_address: dict[tuple[int, Address], Flow] = {}
        self._by_node: dict[NodeId, list[Flow]] = {}
        self._silent: dict[Flow, float] = {}
        self._silent_by_host: dict[str, int] = {}
        self._by_host: dict[str, int] = {}
        self._last_number = 0
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._by_number)

    def next_number(self) -> int:
        """Return the number of a connection that we dial: even, never used before."""
        self._last_number += 2
        return self._last_number

    def has_room(self, remote: Address) -> bool:
        """Tell whether one more connection may be accepted from an address."""
        return (
            len(self._by_number) < MOST_CONNECTIONS
            and self._by_host.get(remote[0], 0) < MOST_PER_ADDRESS
            and self._silent_by_host.get(remote[0], 0) < MOST_SILENT_PER_ADDRESS
        )

    def add(self, flow: Flow) -> None:
        """Know a connection, dialed or accepted."""
        assert flow.connection is not None
        assert flow.connection not in self._by_number
        self._by_number[flow.connection] = flow
        self._by_address[flow.listener, flow.remote] = flow
        flow.used_at = self._kernel.now
        if flow.node is not None:
            self._by_node.setdefault(flow.node, []).append(flow)
        elif not flow.is_dialed:
            self._silent[flow] = self._kernel.now + FIRST_MESSAGE_SECONDS
            _count(self._by_host, flow.remote[0], 1)
            _count(self._silent_by_host, flow.remote[0], 1)
        if self._timer is None and (self._silent or self._by_node):
            self._timer = self._kernel.after(_TICK_SECONDS, self._tick)

    def remove(self, flow: Flow) -> None:
        """Forget a connection that has ended."""
        if flow.connection is None or self._by_number.pop(flow.connection, None) is None:
            return
        if self._by_address.get((flow.listener, flow.remote)) is flow:
            del self._by_address[flow.listener, flow.remote]
        if flow.node is not None:
            flows = self._by_node[flow.node]
            flows.remove(flow)
            if not flows:
                del self._by_node[flow.node]
        elif not flow.is_dialed:
            _count(self._by_host, flow.remote[0], -1)
        self.note_spoken(flow)

    def note_spoken(self, flow: Flow) -> None:
        """Note that a connection has carried a message: it is not ended for silence."""
        if self._silent.pop(flow, None) is not None:
            _count(self._silent_by_host, flow.remote[0], -1)

    def get(self, number: int) -> Flow | None:
        """Return the connection of a number."""
        return self._by_number.get(number)

    def find(self, listener: int, remote: Address) -> Flow | None:
        """Return the connection of a listener with an address."""
        return self._by_address.get((listener, remote))

    def of_phones(self) -> list[Flow]:
        """Return all connections at whose other end no peer is proven."""
        return [flow for flow in self._by_number.values() if flow.node is None]

    def find_peer(self, node: NodeId) -> Flow | None:
        """Return the connection with a peer: of two open ones that of the lower Node-ID's dial."""
        flows = self._by_node.get(node)
        if not flows:
            return None
        ours_first = self._node_id < node
        return min(flows, key=lambda flow: (not flow.is_open, flow.is_dialed != ours_first))

    def _tick(self) -> None:
        self._timer = None
        now = self._kernel.now
        late = []
        for flow, until in self._silent.items():
            if until > now:
                break  # they stand in the order of their opening
            late.append(flow)
        idle = [
            flow
            for flows in self._by_node.values()
            for flow in flows
            if flow.is_open and not flow.holds and now - flow.used_at >= PEER_IDLE_SECONDS
        ]
        for flow in late:
            self._on_useless(flow, "no message came")
        for flow in idle:
            self._on_useless(flow, "idle")
        if self._timer is None and (self._silent or self._by_node):
            self._timer = self._kernel.after(_TICK_SECONDS, self._tick)


def _count(counts: dict[str, int], host: str, change: int) -> None:
    number = counts.get(host, 0) + change
    if number:
        counts[host] = number
    else:
        del counts[host]
