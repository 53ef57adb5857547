"""Everything the core can ask of the world.

Each effect has a performer in the node and one in the simulator. Effects that ask something
carry a number which the answering event repeats. No parsed message belongs here.
"""

import msgspec

from chordial_node.boundary.control import Answer
from chordial_node.boundary.events import Address, Record
from chordial_node.ids import NodeId


class Effect(msgspec.Struct, frozen=True):
    """Something the core wants done."""


class OpenLink(Effect, frozen=True):
    """Dial a peer; answered by LinkOpened or LinkFailed within the adapter's dial time-out."""

    link: int
    node: NodeId
    address: Address


class WriteFrame(Effect, frozen=True):
    """Write one frame; answered by FrameWritten, or by the LinkLost that ends the link.

    The core has at most one frame outstanding on each link.
    """

    link: int
    data: bytes


class CloseLink(Effect, frozen=True):
    """End a link; the core has forgotten it, no LinkLost is owed."""

    link: int


class Persist(Effect, frozen=True):
    """Write records durably; answered by Persisted or PersistFailed for this number or more."""

    sequence: int
    records: tuple[Record, ...]


class SendDatagram(Effect, frozen=True):
    """Send a datagram from a SIP listener's own socket; nothing is owed."""

    listener: int
    destination: Address
    data: bytes


class OpenFlow(Effect, frozen=True):
    """Open a SIP connection of the listener's kind; FlowOpened or FlowFailed within a second.

    With a Node-ID it is a peer-to-peer TLS connection, and the certificate must name that peer.
    """

    flow: int
    listener: int
    address: Address
    node: NodeId | None


class WriteFlow(Effect, frozen=True):
    """Write to a SIP connection; one that does not drain is lost, by the adapter's bound."""

    flow: int
    data: bytes


class CloseFlow(Effect, frozen=True):
    """End a SIP connection; the core has forgotten it, no FlowLost is owed."""

    flow: int


class Answered(Effect, frozen=True):
    """Answer a question of the control service."""

    call: int
    answer: Answer


class Stopped(Effect, frozen=True):
    """The core has nothing more to do: the process may end."""

    reason: str
    failed: bool = False
    """The process cannot go on (a later life of its Node-ID runs, say): exit code 1."""


class Notice(Effect, frozen=True):
    """Something that happened: an effect nobody has to act upon."""
