"""This peer: the parts of the overlay joined, and what the usages see of them.

What arrives is handed to `dispatch.py`; lookups are counted and told here. No rule of routing,
ring or storage belongs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from chordial_node.boundary.events import Address
from chordial_node.boundary.notices import LookupFinished, PeerSuspected
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.diagnostics import Diagnostics
from chordial_node.overlay.dispatch import Dispatch
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.links.link import FIRST_LINK_CODE
from chordial_node.overlay.messages import (
    ERROR,
    METHODS,
    Answer,
    Doubt,
    Envelope,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    FindAnswer,
    FindRequest,
    Hello,
    KindData,
    PingRequest,
    Request,
    StatAnswer,
    StatRequest,
    StoreAnswer,
    StoreRequest,
)
from chordial_node.overlay.requests import Answered, Requests, Serving
from chordial_node.overlay.ring.ring import Ring
from chordial_node.overlay.routing import Routing
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.storage import Storage
from chordial_node.overlay.table import Table

RETRY_SECONDS = 4.0
"""A lookup that is refused with a retry time is tried again for so long."""
DETOUR_SECONDS = 0.1
"""Views of the ring differ for a moment: a request that went in circles is tried again."""

_DETOURS = (ErrorCode.LOOP_DETECTED, ErrorCode.TTL_EXCEEDED, ErrorCode.UPSTREAM_MISROUTING)

A = TypeVar("A", bound=Answer)


class Peer:
    """One peer of the overlay."""

    def __init__(
        self, kernel: Kernel, config: OverlayConfig, own: NodeId, name: str, sip_address: Address
    ) -> None:
        self.node_id = own
        self._kernel = kernel
        self.table = Table(own)
        self.links = Links(kernel, config, own, self.table)
        self.routing = Routing(kernel, own, self.table, self.links)
        self.requests = Requests(kernel, config, own, self.table, self.links, self.routing)
        self.journal = Journal(kernel)
        self.ring = Ring(
            kernel,
            config,
            own,
            name,
            sip_address,
            self.links,
            self.requests,
            self.table,
            self.journal,
        )
        self.storage = Storage(kernel, config, own, self.requests, self.ring, self.journal)
        self.diagnostics = Diagnostics(
            kernel, own, self.table, self.links, self.requests, self.routing
        )
        self.on_member_dead: list[Callable[[NodeId], None]] = []
        """Called with each peer that is held dead, or that has left."""
        self._dispatch = Dispatch(
            kernel,
            own,
            self.links,
            self.routing,
            Serving(kernel, self.routing, config.in_flight),
            self.ring,
            self.storage,
            self.diagnostics,
        )
        self.links.user = self
        self.routing.user = self
        self.routing.ring = self.ring
        self.ring.user = _RingEars(self)

    def start(self, records: Mapping[bytes, bytes]) -> None:
        """Begin with what is on disk: values first, then the way into a ring."""
        self.diagnostics.start()
        self.storage.start(records)
        self.ring.start(dict(records))

    def announce_end(self, *, leave: bool) -> None:
        """Tell everybody that this peer is about to end; one that leaves gets no more copies."""
        self.ring.announce_end(can_store=not leave)

    @property
    def has_heirs(self) -> bool:
        """Tell whether anybody lives who is not about to end as well."""
        return self.table.has_lasting()

    async def prepare_leave(self, seconds: float) -> bool:
        """Have others hold everything that is held here, while Stores still come in."""
        return await self.storage.prepare_handover(seconds)

    async def leave(self) -> int:
        """Hand over what is held, then leave the ring; return how many entries were handed over."""
        entries = await self.storage.hand_over()
        await self.ring.leave()
        return entries

    # what usages ask

    async def fetch(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> FetchAnswer:
        """Fetch values of a resource from whoever is responsible; OverlayError when that fails."""
        return await self._lookup(resource, FetchRequest(resource, specifiers), FetchAnswer, trace)

    async def store(
        self, resource: ResourceId, kinds: tuple[KindData, ...], trace: Trace | None = None
    ) -> StoreAnswer:
        """Store values of a resource, all or nothing; OverlayError when that fails."""
        return await self._lookup(resource, StoreRequest(resource, kinds), StoreAnswer, trace)

    async def stat(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> StatAnswer:
        """Ask for digests and times of values instead of the values."""
        return await self._lookup(resource, StatRequest(resource, specifiers), StatAnswer, trace)

    async def find(
        self, resource: ResourceId, kinds: tuple[int, ...], trace: Trace | None = None
    ) -> FindAnswer:
        """Ask for the closest resources that hold values of some Kinds."""
        return await self._lookup(resource, FindRequest(resource, kinds), FindAnswer, trace)

    async def lookup(
        self, resource: ResourceId, request: Request, trace: Trace | None = None
    ) -> Answered:
        """Send a request to whoever is responsible; tell also who that was, and how far away."""
        started = self._kernel.now
        self._kernel.counters.lookups += 1
        try:
            answered = await self._ask_patiently(resource, request, trace)
        except OverlayError as error:
            self._kernel.counters.lookups_failed += 1
            self._tell_lookup(request, 0, started, error.code.name.lower())
            raise
        self._tell_lookup(request, answered.hops, started, None)
        return answered

    async def ping(self, node: NodeId, trace: Trace | None = None) -> float:
        """Return the seconds that a Ping to a peer and back takes (RFC 6940 §6.5.3)."""
        started = self._kernel.now
        await self.requests.ask(node, PingRequest(), to_resource=False, trace=trace)
        return self._kernel.now - started

    def is_alive(self, node: NodeId) -> bool:
        """Tell whether a peer is held alive, and our own link to it is not known broken."""
        return node == self.node_id or self.table.is_alive(node)

    def is_dead(self, node: NodeId) -> bool:
        """Tell whether a peer is known, and held dead or gone."""
        return self.table.is_dead(node)

    def sip_address(self, node: NodeId) -> Address | None:
        """Return where a peer listens for SIP of other peers."""
        record = self.table.get(node)
        return record.sip_address if record else None

    def peer_name(self, node: NodeId) -> str:
        """Return the name of a peer, for people; its Node-ID when it is unknown."""
        record = self.table.get(node)
        return record.name if record else node.hex()

    def find_node(self, prefix: bytes) -> NodeId | None:
        """Return the peer, alive or not, whose Node-ID begins so."""
        return self.table.find(prefix)

    def round_trip(self, node: NodeId) -> float:
        """Return the smoothed round trip to a peer in seconds, a cautious guess without a link."""
        return self.links.round_trip(node).srtt

    def doubt(self, node: NodeId, reason: str) -> None:
        """Tell the failure detector that a peer did not answer in time."""
        record = self.table.get(node)
        if record is not None and not self.table.is_dead(node):
            self._kernel.emit(PeerSuspected(node=node, reason=reason))
            self.ring.on_doubt(self.node_id, Doubt(node, record.incarnation))

    # links and routing report here

    def hello(self) -> Hello:
        """Return what a new link starts with."""
        return self.ring.hello()

    def is_needed(self, node: NodeId) -> bool:
        """Tell whether a link stays whatever the budget: neighbors hold our copies."""
        return self.ring.is_neighbor(node)

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        """Take link control at once, and route everything else."""
        if FIRST_LINK_CODE <= envelope.method < ERROR:
            self._dispatch.on_link_message(node, envelope)
        else:
            self.routing.on_envelope(node, envelope)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """Tell the ring that a neighbor is linked."""
        self.ring.on_link_up(node, hello)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        """Judge first, then send again by what is known now."""
        self.ring.on_link_lost(node, refused, reason)
        self.requests.on_link_lost(node)
        self.routing.on_unsent(node, unsent)

    def on_request(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        """Work on a request that is for us, unless that is done already."""
        self._dispatch.on_request(previous, envelope, stand_in)

    def on_answer(self, envelope: Envelope) -> None:
        """Resolve the request of ours that was answered."""
        self.requests.on_answer(envelope)

    # inside

    async def _lookup(
        self, resource: ResourceId, request: Request, kind: type[A], trace: Trace | None
    ) -> A:
        answer = (await self.lookup(resource, request, trace)).answer
        if not isinstance(answer, kind):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, f"{type(answer).__name__} was answered")
        return answer

    async def _ask_patiently(
        self, resource: ResourceId, request: Request, trace: Trace | None
    ) -> Answered:
        until = self._kernel.now + RETRY_SECONDS
        while True:
            try:
                return await self.requests.ask(resource, request, to_resource=True, trace=trace)
            except OverlayError as error:
                pause = error.retry_after or (DETOUR_SECONDS if error.code in _DETOURS else 0.0)
                pause = self._kernel.jittered(pause)
                if not pause or self._kernel.now + pause > until:
                    raise
            await self._kernel.sleep(pause)

    def _tell_lookup(self, request: Request, hops: int, started: float, error: str | None) -> None:
        method = METHODS[request.CODE]
        seconds = self._kernel.now - started
        self._kernel.emit(LookupFinished(method=method, hops=hops, seconds=seconds, error=error))


class _RingEars:
    """Hands on what the ring tells: storage first, then requests, then who else watches."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def on_neighbors_changed(self) -> None:
        self._peer.storage.on_neighbors_changed()

    def on_member_dead(self, node: NodeId) -> None:
        self._peer.storage.on_member_dead(node)
        self._peer.requests.on_member_dead(node)
        for tell in self._peer.on_member_dead:
            tell(node)
