"""One flow: the way on which messages of one remote side come and go (RFC 5626 §3.1).

A UDP flow is a listener and a remote address, any other flow is one connection. The object is
plain state that only the flow layer changes. What is sent over it is not looked at here.
"""

from chordial_node.boundary.events import Address
from chordial_node.config import Transport
from chordial_node.ids import NodeId
from chordial_node.sip.framing import Framing


class Flow:
    """A way to one remote side; the same object for as long as the way exists."""

    __slots__ = (
        "bindings",
        "connection",
        "framing",
        "has_spoken",
        "holds",
        "is_dead",
        "is_kept",
        "is_open",
        "listener",
        "node",
        "queue",
        "queued",
        "remote",
        "transport",
        "used_at",
    )

    def __init__(
        self,
        listener: int,
        transport: Transport,
        remote: Address,
        connection: int | None = None,
        node: NodeId | None = None,
    ) -> None:
        """A flow that carries nothing yet; a UDP flow is open from the start."""
        self.listener = listener
        """Number of the listener: its place in the configuration."""
        self.transport = transport
        self.remote = remote
        self.connection = connection
        """Number of the connection: even when we dialed it; None for a UDP flow."""
        self.node = node
        """The peer that the certificate has proven, on a flow between peers only."""
        self.is_open = connection is None
        """Messages leave at once; else they wait for the connection to open."""
        self.is_dead = False
        """Nothing is sent or received any more, and never will be."""
        self.is_kept = False
        """Keepalives go down this flow."""
        self.has_spoken = False
        """A whole SIP message came over it."""
        self.bindings: dict[bytes, None] = {}
        """What was registered over this connection: another one may get its address later."""
        self.holds = 0
        """How many transactions want this flow to stay."""
        self.used_at = 0.0
        """When the last message came or went, on a connection."""
        self.framing: Framing | None = None if connection is None else Framing()
        self.queue: list[bytes] = []
        """What waits for the connection to open."""
        self.queued = 0
        """Its length in bytes."""

    @property
    def is_reliable(self) -> bool:
        """Whether the transport itself repeats what was lost: timers of RFC 3261 §17 are zero."""
        return self.connection is not None

    @property
    def is_dialed(self) -> bool:
        """Whether the connection was opened by us."""
        return self.connection is not None and self.connection % 2 == 0

    @property
    def is_peer(self) -> bool:
        """Whether another peer of the overlay is at the other end, proven by mutual TLS."""
        return self.node is not None

    @property
    def host(self) -> bytes:
        """The address of the other side as SIP writes it: no brackets, no zone."""
        return self.remote[0].partition("%")[0].encode("ascii")

    def __repr__(self) -> str:
        host, port = self.remote
        end = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{self.transport.value}/{end}"
