"""All SIP flows of this peer: datagrams and connections behind one object each.

RFC 3261 §18, RFC 3581, RFC 5626. Bytes of the world become messages here, and messages bytes.
Which flow a request takes, and what a message means, is never decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chordial_node.boundary.events import (
    Address,
    DatagramReceived,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.config import ListenerConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.flow import Flow
from chordial_node.sip.message import Message

__all__ = ["Flow", "FlowUser", "Flows"]


class FlowUser(Protocol):
    """Who is told what comes over flows: the transaction layer."""

    def on_message(self, flow: Flow, message: Message) -> None:
        """Take a checked message; a request's topmost Via says where it came from."""

    def on_flow_lost(self, flow: Flow, reason: str) -> None:
        """Note that a flow is dead; told once for each flow."""


class Flows:
    """Every flow that is known, by what it is found by."""

    user: FlowUser
    """Set once, by the transaction layer."""
    watchers: list[Callable[[Flow, str], None]]
    """Others that are told of each dead flow and why, after the user."""

    def __init__(
        self, kernel: Kernel, listeners: tuple[ListenerConfig, ...], node_id: NodeId
    ) -> None: ...

    def send(self, flow: Flow, data: bytes) -> None:
        """Send a message; it waits while a connection opens, and is dropped on a dead flow."""
        raise NotImplementedError

    def datagram(self, listener: int, remote: Address) -> Flow:
        """Return the UDP flow of a listener and an address; a dead one stays dead until it hears."""
        raise NotImplementedError

    def find_connection(self, listener: int, remote: Address) -> Flow | None:
        """Return the live connection with an address, or None."""
        raise NotImplementedError

    def find_peer(self, node: NodeId) -> Flow | None:
        """Return a live connection with a peer, whoever dialed it, or None."""
        raise NotImplementedError

    def to_peer(self, node: NodeId, address: Address) -> Flow:
        """Return the connection with a peer, dialing it when there is none."""
        raise NotImplementedError

    def connect(self, listener: int, address: Address) -> Flow:
        """Return a connection with an address, dialed from a TCP or TLS listener if need be."""
        raise NotImplementedError

    def close(self, flow: Flow, reason: str) -> None:
        """End a flow: its connection is closed, and everybody is told."""
        raise NotImplementedError

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Return the Via value of a request that leaves by a flow."""
        raise NotImplementedError

    def keep_alive(self, flow: Flow, uri: bytes) -> None:
        """Send OPTIONS for a URI down a UDP flow from now on; a silent phone's flow dies."""
        raise NotImplementedError

    def forget(self, flow: Flow) -> None:
        """Send no more keepalives down a flow."""
        raise NotImplementedError

    def on_datagram(self, event: DatagramReceived) -> None:
        """Take a datagram."""
        raise NotImplementedError

    def on_opened(self, event: FlowOpened) -> None:
        """Take a connection that is open."""
        raise NotImplementedError

    def on_failed(self, event: FlowFailed) -> None:
        """Take a connection that could not be opened."""
        raise NotImplementedError

    def on_received(self, event: FlowReceived) -> None:
        """Take bytes of a connection."""
        raise NotImplementedError

    def on_lost(self, event: FlowLost) -> None:
        """Take the end of a connection."""
        raise NotImplementedError
