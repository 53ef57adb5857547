"""Simulated SIP connections between peers: opened, read and lost, each as the adapter tells it.

A connection between peers proves both Node-IDs, one to a listener for phones proves none.
Bytes come in the pieces in which they were written; no SIP is read here.
"""

from __future__ import annotations

from chordial_node.boundary.events import Address, FlowFailed, FlowLost, FlowOpened, FlowReceived
from chordial_node.ids import NodeId
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.hosts import Host, Process
from chordial_node.simulation.network import Network

_OPEN_LIMIT = 1.0
"""Seconds after which an adapter gives up to connect."""
_OPEN_ONE_WAYS = 3


class FlowEnd:
    """One end of a SIP connection."""

    __slots__ = ("arrives_us", "is_open", "number", "other", "process")

    def __init__(self, process: Process, number: int) -> None:
        self.process = process
        self.number = number
        self.other: FlowEnd = self
        self.is_open = True
        self.arrives_us = 0


class SimulatedFlows:
    """All SIP connections of the network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._agenda = network.agenda

    def open(
        self, process: Process, flow: int, listener: int, address: Address, node: NodeId | None
    ) -> None:
        """Connect to a SIP listener."""
        assert flow % 2 == 0, "the core numbers its flows evenly"
        process.dialing[-1 - flow] = None
        host, there = self._network.listeners.get(address, (None, 0))
        if host is None or not self._network.reaches(process.host, host):
            self._fail(process, flow, "timed out", int(_OPEN_LIMIT * MICROSECONDS))
            return
        one_way = self._network.delay_us(process.host, host)

        def accept() -> None:
            if process.is_running and -1 - flow in process.dialing:
                self._accept(process, flow, (listener, there), node, host, one_way)

        self._agenda.do(self._agenda.now_us + _OPEN_ONE_WAYS * one_way, accept)

    def _accept(
        self,
        process: Process,
        flow: int,
        listeners: tuple[int, int],
        node: NodeId | None,
        host: Host,
        one_way: int,
    ) -> None:
        here, there = listeners
        if host.process is None or not self._network.reaches(process.host, host):
            self._fail(process, flow, "connection refused", one_way)
            return
        if node is not None and node != host.node_id:
            reason = f"the certificate names {host.node_id.hex()}"
            self._fail(process, flow, reason, one_way)
            return
        near, far = FlowEnd(process, flow), FlowEnd(host.process, host.process.accept())
        near.other, far.other = far, near
        process.flows[flow] = near
        host.process.flows[far.number] = far
        now_us = self._agenda.now_us
        far.arrives_us = now_us + one_way
        asker = process.host
        remote = asker.listeners[here]
        accepted = FlowOpened(far.number, there, remote, asker.node_id if node else None)
        self._agenda.tell(now_us, host.process, accepted)
        opened = FlowOpened(flow, here, host.listeners[there], node)
        self._agenda.tell(now_us + one_way, process, opened)

    def write(self, process: Process, flow: int, data: bytes) -> None:
        """Take bytes for the other end; they are gone when it cannot be reached."""
        end = process.flows.get(flow)
        if end is None or not end.is_open:
            return
        other = end.other
        if not self._network.reaches(process.host, other.process.host):
            self._lose(end, "timed out")
            return
        us = self._agenda.now_us + self._network.delay_us(process.host, other.process.host)
        end.arrives_us = max(us + self._network.repeats_us(), end.arrives_us)
        self._agenda.tell(end.arrives_us, other.process, FlowReceived(other.number, data))

    def close(self, process: Process, flow: int) -> None:
        """End a connection from one side."""
        process.dialing.pop(-1 - flow, None)
        end = process.flows.pop(flow, None)
        if end is not None and end.is_open:
            end.is_open = False
            self._hang_up(end)

    def cut_off(self, process: Process, *, silently: bool) -> None:
        """A process is gone; others hear of it, unless its whole host went silent."""
        ends = list(process.flows.values())
        process.flows.clear()
        for end in ends:
            was_open, end.is_open = end.is_open, False
            if was_open and not silently:
                self._hang_up(end)

    def _hang_up(self, end: FlowEnd) -> None:
        other = end.other
        us = self._agenda.now_us + self._network.delay_us(end.process.host, other.process.host)
        self._agenda.do(max(us, end.arrives_us), lambda: self._lose(other, "closed"))

    def _fail(self, process: Process, flow: int, reason: str, after_us: int) -> None:
        self._agenda.tell(self._agenda.now_us + after_us, process, FlowFailed(flow, reason))

    def _lose(self, end: FlowEnd, reason: str) -> None:
        if end.is_open:
            end.is_open = False
            if end.process.is_running:
                self._agenda.tell(self._agenda.now_us, end.process, FlowLost(end.number, reason))
