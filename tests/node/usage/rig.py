"""Edges, phones and a wire between them in virtual time: the real SIP side over a ring of one dict.

All edges share one advertised address, as behind a Service; a phone chooses which of them its
packets reach. Packets take a millisecond.
"""

import heapq
from collections.abc import Callable
from functools import partial
from random import Random
from typing import cast

from chordial_node.boundary.effects import (
    CloseFlow,
    Effect,
    Notice,
    OpenFlow,
    SendDatagram,
    WriteFlow,
)
from chordial_node.boundary.events import (
    Address,
    DatagramReceived,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.boundary.notices import ProcedureFaulted
from chordial_node.config import (
    Endpoint,
    IdentityConfig,
    ListenerConfig,
    NodeConfig,
    OverlayConfig,
    SipConfig,
    StorageConfig,
    TelemetryConfig,
    Transport,
)
from chordial_node.ids import NodeId, spread_node_ids
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import KindData
from chordial_node.overlay.peer import Peer
from chordial_node.security.credentials import make_credentials, resource_of_user, seal_credentials
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.sip.flows import Flows
from chordial_node.sip.message import Message
from chordial_node.sip.transactions import Transactions
from chordial_node.usage.credentials import credentials_entry
from chordial_node.usage.server import Server
from tests.node.usage.phone import Phone
from tests.node.usage.ring import FakePeer, SharedRing

DOMAIN = "chordial.test"
VIP = ("203.0.113.10", 5060)
HOP = 0.001
WALL = 1_800_000_000.0
KEYS = KeyRing("test", (OverlayKey(1, bytes(range(32))),))


class Wire:
    """The net: everything that moves between edges and phones, and the only clock."""

    def __init__(
        self,
        edges: int = 3,
        sampling: float = 0.0,
        digest: tuple[str, ...] = ("MD5",),
        domains: tuple[str, ...] = (),
    ) -> None:
        self.now = 100.0
        self.shared = SharedRing()
        self.notices: list[tuple[int, Notice]] = []
        self.edges: list[Edge] = []
        self.phones: dict[Address, Phone] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        for number, own in enumerate(spread_node_ids(edges)):
            self.shared.addresses[own] = (f"10.244.0.{number + 1}", 5081)
            self.edges.append(Edge(self, number, own, sampling, digest, domains))
        for edge in self.edges:
            edge.begin()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after a time."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + seconds, self._order, what))

    def run(self, seconds: float = 0.2) -> None:
        """Let virtual time pass."""
        until = self.now + seconds
        while True:
            due = min((edge.deadline for edge in self.edges if not edge.is_dead), default=until)
            if self._heap and self._heap[0][0] <= min(due, until):
                at, _, what = heapq.heappop(self._heap)
                self.now = max(self.now, at)
                what()
            elif due <= until:
                self.now = max(self.now, due)
                for edge in self.edges:
                    if edge.deadline <= self.now:
                        edge.turn(lambda: None)
            else:
                self.now = until
                return

    def kill(self, number: int, *, is_known: bool = True) -> None:
        """End an edge: its connections break, and others may learn that it is dead."""
        victim = self.edges[number]
        victim.is_dead = True
        for flow, (other, theirs) in list(victim.ends.items()):
            other.lose(theirs)
            del victim.ends[flow]
        if is_known:
            self.learn_death(number)

    def learn_death(self, number: int) -> None:
        """Tell every other edge that one is dead."""
        victim = self.edges[number]
        self.shared.dead.append(victim.own)
        for edge in self.edges:
            if edge is not victim and not edge.is_dead:
                edge.turn(partial(edge.tell_death, victim.own))

    def add_user(self, user: str, domain: str = DOMAIN) -> None:
        """Store a user's credentials; the password is the name and `pw`."""
        sealed = seal_credentials(KEYS, make_credentials(user, domain, f"{user}pw"), bytes(12))
        entry = credentials_entry(sealed, int((WALL + self.now) * 1000), self.edges[0].own)
        resource = resource_of_user(user, domain)
        data = KindData(KindId.CREDENTIALS, 0, (entry,))
        self.shared.store(resource, (data,), int((WALL + self.now) * 1000), self.edges[0].own)


class Edge:
    """One peer's SIP side."""

    def __init__(
        self,
        wire: Wire,
        number: int,
        own: NodeId,
        sampling: float,
        digest: tuple[str, ...],
        domains: tuple[str, ...],
    ) -> None:
        self.wire = wire
        self.number = number
        self.own = own
        self.is_dead = False
        self.answers: list[Effect] = []
        self.ends: dict[int, tuple[Edge | Phone, int]] = {}
        """Connections: our number → who is at the other end, and its number."""
        self.sent: list[tuple[str, Message]] = []
        """Everything written, with where to."""
        self._accepted = 1
        self._random = Random(number)
        self._sampling = sampling
        self.config = _config(number, digest, domains)

    def begin(self) -> None:
        """Build the SIP side; again after a restart."""
        self.kernel = Kernel(self._random, self._sampling)
        self.kernel.begin(self.wire.now)
        self.kernel.set_wall_offset(WALL)
        self.peer = FakePeer(self.kernel, self.own, self.wire.shared)
        self.flows = Flows(self.kernel, self.config.sip.listeners, self.own, b"t" * 32)
        self.transactions = Transactions(self.kernel, self.config.sip, self.own, self.flows)
        peer = cast(Peer, self.peer)
        self.server = Server(self.kernel, self.config, peer, KEYS, self.flows, self.transactions)

    @property
    def deadline(self) -> float:
        """When this edge wants a turn."""
        due = self.kernel.deadline()
        return float("inf") if due is None or self.is_dead else due

    def turn(self, what: Callable[[], None]) -> None:
        """Let the core do something, and carry out what it wants."""
        if self.is_dead:
            return
        self.kernel.begin(self.wire.now)
        what()
        self.kernel.procedures.run()
        for effect in self.kernel.take():
            self._perform(effect)

    def tell_death(self, node: NodeId) -> None:
        """Be told by the failure detector."""
        for tell in self.peer.on_member_dead:
            tell(node)

    def receive_datagram(self, listener: int, source: Address, data: bytes) -> None:
        """Take a datagram of a phone."""
        self.turn(lambda: self.flows.on_datagram(DatagramReceived(listener, source, data)))

    def accept(self, other: "Edge | Phone", theirs: int, listener: int, remote: Address) -> int:
        """Take a connection; the other end has opened it."""
        number, self._accepted = self._accepted, self._accepted + 2
        self.ends[number] = (other, theirs)
        node = other.own if isinstance(other, Edge) else None
        self.turn(lambda: self.flows.on_opened(FlowOpened(number, listener, remote, node)))
        return number

    def receive(self, flow: int, data: bytes) -> None:
        """Take bytes of a connection."""
        self.turn(lambda: self.flows.on_received(FlowReceived(flow, data)))

    def lose(self, flow: int) -> None:
        """Learn that a connection ended."""
        self.ends.pop(flow, None)
        self.turn(lambda: self.flows.on_lost(FlowLost(flow, "reset")))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendDatagram(_, destination, data):
                self._note(f"udp/{destination[0]}:{destination[1]}", data)
                phone = self.wire.phones.get(destination)
                if phone is not None:
                    self.wire.later(HOP, lambda: phone.receive(0, data))
            case OpenFlow(flow, listener, address, node):
                self.wire.later(HOP, lambda: self._open(flow, listener, address, node))
            case WriteFlow(flow, data):
                if flow in self.ends:
                    other, theirs = self.ends[flow]
                    self._note(other.name, data)
                    self.wire.later(HOP, lambda: other.receive(theirs, data))
            case CloseFlow(flow):
                if flow in self.ends:
                    other, theirs = self.ends.pop(flow)
                    self.wire.later(HOP, lambda: other.lose(theirs))
            case ProcedureFaulted(procedure, error, where):
                raise AssertionError(f"{procedure}: {error} at {where}")
            case Notice():
                self.wire.notices.append((self.number, effect))
            case _:
                self.answers.append(effect)

    @property
    def name(self) -> str:
        """What the others' `sent` calls this edge."""
        return f"E{self.number + 1}"

    def _note(self, where: str, data: bytes) -> None:
        if data.strip():
            self.sent.append((where, Message.parse(data)))

    def _open(self, flow: int, listener: int, address: Address, node: NodeId | None) -> None:
        if node is None:
            phone = self.wire.phones.get(address)
            if phone is None:
                self.turn(lambda: self.flows.on_failed(FlowFailed(flow, "refused")))
                return
            self.ends[flow] = (phone, phone.accept(self, flow))
        else:
            other = next(each for each in self.wire.edges if each.own == node)
            if other.is_dead:
                if node in self.wire.shared.dead:
                    self.turn(lambda: self.flows.on_failed(FlowFailed(flow, "unreachable")))
                return  # a dead pod's address gives no RST
            remote = (f"10.244.0.{self.number + 1}", 40_000 + flow)
            self.ends[flow] = (other, other.accept(self, flow, PEER, remote))
        self.turn(lambda: self.flows.on_opened(FlowOpened(flow, listener, address, node)))


UDP, TCP, PEER = 0, 1, 2
"""Numbers of the listeners."""


def _config(number: int, digest: tuple[str, ...], domains: tuple[str, ...]) -> NodeConfig:
    vip = Endpoint(*VIP)
    bind = Endpoint(f"10.244.0.{number + 1}", 5060)
    listeners = (
        ListenerConfig(Transport.UDP, bind, vip),
        ListenerConfig(Transport.TCP, bind, vip),
        ListenerConfig(Transport.PEER, Endpoint(bind.host, 5081)),
        ListenerConfig(Transport.TLS, Endpoint(bind.host, 5061), Endpoint(VIP[0], 5061)),
    )
    return NodeConfig(
        name=f"p{number + 1}",
        overlay=OverlayConfig("test", Endpoint(bind.host, 6084), Endpoint(bind.host, 6084), ()),
        sip=SipConfig(DOMAIN, listeners, domains, digest=digest),
        identity=IdentityConfig("", "", "", ""),
        storage=StorageConfig(""),
        telemetry=TelemetryConfig(),
    )
