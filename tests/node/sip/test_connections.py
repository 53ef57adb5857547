"""How many connections there may be."""

from chordial_node.config import Transport
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.connections import (
    MOST_PER_ADDRESS,
    MOST_SILENT_PER_ADDRESS,
    Connections,
)
from chordial_node.sip.flow import Flow
from tests.node.sip.flow_rig import OWN, TCP, Rig


def spoken(connections: Connections, number: int, host: str) -> Flow:
    flow = Flow(TCP, Transport.TCP, (host, number), 2 * number + 1)
    connections.add(flow)
    connections.note_spoken(flow)
    return flow


def empty(kernel: Kernel) -> Connections:
    return Connections(kernel, OWN, lambda flow, reason: None)


def test_the_connections_of_one_address_are_bounded() -> None:
    """sip.md 10: also those that have said something."""
    connections = empty(Rig().kernel)
    flows = [spoken(connections, number, "192.0.2.7") for number in range(MOST_PER_ADDRESS)]
    assert not connections.has_room(("192.0.2.7", 1))
    assert connections.has_room(("192.0.2.8", 1))
    connections.remove(flows[0])
    assert connections.has_room(("192.0.2.7", 1))


def test_silent_ones_are_bounded_sooner() -> None:
    connections = empty(Rig().kernel)
    for number in range(MOST_SILENT_PER_ADDRESS):
        connections.add(Flow(TCP, Transport.TCP, ("192.0.2.7", number), 2 * number + 1))
    assert not connections.has_room(("192.0.2.7", 1))
