"""The core: all parts of one peer behind `handle(now, event) -> [effect]` and `deadline()`.

One table says which method of which part takes each event. Only here is the time of a turn set,
what is due fired before what has just arrived, and the queues of links turned into frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from chordial_node import __version__
from chordial_node.boundary.control import AskStatus, MemberStatus, StatusAnswer
from chordial_node.boundary.effects import Answered, Effect
from chordial_node.boundary.events import (
    AdvertiseChanged,
    Asked,
    ClockStepped,
    DatagramReceived,
    DeadlineReached,
    Event,
    FaultFound,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
    FrameReceived,
    FrameWritten,
    IdentityTaken,
    LinkFailed,
    LinkLost,
    LinkOpened,
    LoopLagged,
    Persisted,
    PersistFailed,
    SeedsFound,
    Started,
    StopAsked,
)
from chordial_node.config import NodeConfig, Transport
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.messages import MemberRecord, Rank
from chordial_node.overlay.peer import Peer
from chordial_node.security.derived_keys import KeyRing
from chordial_node.sip.flows import Flows
from chordial_node.sip.transactions import Transactions
from chordial_node.usage.server import Server

if TYPE_CHECKING:
    from random import Random

E = TypeVar("E", bound=Event)
Taker = Callable[[Event], None]


class Core:
    """One peer: overlay, SIP and what joins them, without a socket, clock or task."""

    def __init__(self, config: NodeConfig, own: NodeId, keys: KeyRing, random: Random) -> None:
        self._config = config
        self._started = 0.0
        self._identity = IdentityTaken(not_after=0.0, bundle_hash="")
        sampling = config.telemetry.sampling_ratio if config.telemetry.otlp_endpoint else 0.0
        self._kernel = kernel = Kernel(random, sampling)
        listeners = config.sip.listeners
        hop = next(each for each in listeners if each.transport is Transport.PEER)
        self._peer = Peer(kernel, config.overlay, own, config.name, hop.advertised.address)
        tag_key = keys.current.nonce
        self._flows = Flows(
            kernel, listeners, own, tag_key, keepalive_seconds=config.sip.keepalive_seconds
        )
        self._transactions = Transactions(kernel, config.sip, own, self._flows)
        self._server = Server(kernel, config, self._peer, keys, self._flows, self._transactions)
        self._takers = self._table()

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take one event and return what is to be done, in this order."""
        kernel = self._kernel
        kernel.begin(now)
        self._takers[type(event)](event)
        kernel.procedures.run()
        self._peer.links.flush()
        return kernel.take()

    def deadline(self) -> float | None:
        """Return when the core wants a turn even if nothing happens, or None."""
        return self._kernel.deadline()

    def status(self) -> StatusAnswer:
        """Return this peer's own view of itself and the overlay."""
        peer, server = self._peer, self._server
        ring, storage = peer.ring, peer.storage
        return StatusAnswer(
            node_id=peer.node_id,
            name=self._config.name,
            overlay_name=self._config.overlay.name,
            state=server.state,
            incarnation=ring.incarnation,
            predecessor=ring.predecessor,
            successors=tuple(ring.successors),
            members=tuple(self._member(record) for record in peer.table.records()),
            links=len(peer.links.up()),
            keys=storage.keys,
            owned_keys=storage.owned_keys,
            registrations=server.registrations,
            calls=server.calls,
            copies=self._config.overlay.copies,
            in_step=storage.in_step,
            is_degraded=storage.is_degraded,
            uptime_seconds=self._kernel.now - self._started,
            counters=self._kernel.counters.snapshot(),
            is_ready=server.is_ready,
            ready_reason=server.ready_reason,
            version=__version__,
            failure_domain=self._config.overlay.failure_domain,
            not_after=self._identity.not_after,
            bundle_hash=self._identity.bundle_hash,
            membership_digest=peer.table.live_digest(),
            copies_missing=storage.copies_missing,
            phones_waiting=server.phones_waiting,
        )

    def _table(self) -> dict[type[Event], Taker]:
        links, journal = self._peer.links, self._peer.journal
        flows = self._flows
        return dict(
            (
                _takes(Started, self._on_started),
                _takes(DeadlineReached, _only_time),
                _takes(IdentityTaken, self._on_identity_taken),
                _takes(SeedsFound, self._on_seeds_found),
                _takes(AdvertiseChanged, self._on_advertise_changed),
                _takes(FaultFound, self._server.on_fault_found),
                _takes(ClockStepped, self._on_clock_stepped),
                _takes(LoopLagged, self._on_loop_lagged),
                _takes(LinkOpened, links.on_opened),
                _takes(LinkFailed, links.on_failed),
                _takes(LinkLost, links.on_lost),
                _takes(FrameReceived, links.on_received),
                _takes(FrameWritten, links.on_written),
                _takes(Persisted, journal.on_persisted),
                _takes(PersistFailed, journal.on_persist_failed),
                _takes(DatagramReceived, flows.on_datagram),
                _takes(FlowOpened, flows.on_opened),
                _takes(FlowFailed, flows.on_failed),
                _takes(FlowReceived, flows.on_received),
                _takes(FlowLost, flows.on_lost),
                _takes(Asked, self._on_asked),
                _takes(StopAsked, self._server.on_stop_asked),
            )
        )

    def _on_started(self, event: Started) -> None:
        self._started = self._kernel.now
        self._kernel.set_wall_offset(event.wall_offset)
        self._peer.start(dict(event.records))
        self._server.start()

    def _on_advertise_changed(self, event: AdvertiseChanged) -> None:
        self._flows.advertise(event.listeners)
        self._server.advertise(event.listeners)

    def _on_seeds_found(self, event: SeedsFound) -> None:
        for take in self._peer.ring.seed_takers:
            take(event.addresses)

    def _on_identity_taken(self, event: IdentityTaken) -> None:
        self._identity = event
        for node in event.revoked:
            self._peer.links.close(node, "its certificate was revoked")
        for node in event.rekeyed:
            self._peer.links.close(node, "its key was superseded")

    def _on_clock_stepped(self, event: ClockStepped) -> None:
        self._kernel.set_wall_offset(event.wall_offset)

    def _on_loop_lagged(self, event: LoopLagged) -> None:
        self._kernel.lag = event.seconds

    def _on_asked(self, event: Asked) -> None:
        if isinstance(event.question, AskStatus):
            self._kernel.emit(Answered(call=event.call, answer=self.status()))
        else:
            self._server.on_asked(event.call, event.question)

    def _member(self, record: MemberRecord) -> MemberStatus:
        host, port = record.overlay_address
        links = self._peer.links
        return MemberStatus(
            node_id=record.node_id,
            name=record.name,
            state="alive" if record.rank == Rank.BACK else Rank(record.rank).name.lower(),
            overlay_address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            is_linked=links.is_up(record.node_id),
            round_trip_ms=links.round_trip(record.node_id).srtt * 1000,
        )


def _takes(event: type[E], method: Callable[[E], None]) -> tuple[type[Event], Taker]:
    """Pair an event with its taker; the table is only ever asked by the event's own type."""
    return event, cast(Taker, method)


def _only_time(_event: DeadlineReached) -> None:
    """Do nothing: what is due has fired before."""
