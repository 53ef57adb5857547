"""A pair rig for the overlay: peers, or parts of them, wired over virtual time by one heap."""

import heapq
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol, TypeVar

from chordial_node.boundary.effects import (
    CloseLink,
    Effect,
    Notice,
    OpenLink,
    Persist,
    WriteFrame,
)
from chordial_node.boundary.events import (
    Address,
    DeadlineReached,
    Event,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
    Persisted,
)
from chordial_node.boundary.notices import ProcedureFaulted
from chordial_node.config import Endpoint, OverlayConfig
from chordial_node.ids import WILDCARD, NodeId, ResourceId, within
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    PROTOCOL_VERSION,
    Answer,
    Envelope,
    Hello,
    MemberRecord,
    Rank,
    Request,
    decode_body,
    decode_frame,
)
from chordial_node.overlay.requests import RequestContext, Requests, Serving
from chordial_node.overlay.routing import Routing, error_answer
from chordial_node.overlay.table import Table

T = TypeVar("T")
E = TypeVar("E", bound=Effect)


def node(number: int) -> NodeId:
    """The Node-ID that starts with a byte: 1 to 255, in ring order."""
    return NodeId(bytes([number]) + bytes(15))


def resource(number: int) -> ResourceId:
    """A Resource-ID just after the Node-ID of that byte."""
    return ResourceId(bytes([number]) + bytes([1] * 15))


def address_of(own: NodeId) -> Address:
    return ("10.0.0.1", 6000 + own[0])


def config_of(
    own: NodeId,
    overlay: str = "ring",
    max_links: int = 64,
    link_queue: int = 4096,
    in_flight: int = 8192,
) -> OverlayConfig:
    host, port = address_of(own)
    return OverlayConfig(
        name=overlay,
        bind=Endpoint(host, port),
        advertise=Endpoint(host, port),
        founders=(own.hex(),),
        max_links=max_links,
        link_queue=link_queue,
        in_flight=in_flight,
    )


def member(own: NodeId, incarnation: int = 1, rank: int = Rank.ALIVE) -> MemberRecord:
    name = f"peer-{own[0]}"
    return MemberRecord(own, incarnation, rank, name, address_of(own), ("10.0.0.1", 1), "", True)


class Driven(Protocol):
    """What the wire drives: the contract of the core."""

    own: NodeId

    def handle(self, now: float, event: Event) -> list[Effect]: ...
    def deadline(self) -> float | None: ...


class End:
    """One end of a link on the wire."""

    def __init__(self, owner: NodeId, number: int) -> None:
        self.owner = owner
        self.number = number
        self.other: End | None = None
        self.is_open = True
        self.busy_until = 0.0


class Wire:
    """Carries effects of one peer as events to the others; faults are attributes."""

    def __init__(self, delay: Callable[[], float] = lambda: 0.001) -> None:
        self.now = 0.0
        self.delay = delay
        self.effects: list[tuple[NodeId, Effect]] = []
        self.stuck: list[NodeId] = []
        """Peers that do not read: what is written to them is never written."""
        self.silent: list[NodeId] = []
        """Peers from which nothing comes, and to which nothing gets."""
        self._driven: dict[NodeId, Driven] = {}
        self._ends: dict[tuple[NodeId, int], End] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._accepted = -1

    def add(self, driven: Driven) -> None:
        self._driven[driven.own] = driven

    def kill(self, own: NodeId) -> None:
        """End a process: its streams break, and its address refuses."""
        del self._driven[own]
        for end in list(self._ends.values()):
            if end.owner == own and end.is_open:
                self._hang_up(end, "reset")

    def cut(self, own: NodeId, other: NodeId) -> None:
        """Reset every link between two peers."""
        for end in list(self._ends.values()):
            far = end.other
            if end.owner == own and end.is_open and far is not None and far.owner == other:
                self._hang_up(end, "reset")
                self.post(own, LinkLost(link=end.number, reason="reset"), self.delay())

    def post(self, own: NodeId, event: Event, delay: float) -> None:
        self.at(delay, lambda: self.turn(own, event))

    def at(self, delay: float, action: Callable[[], None]) -> None:
        self._at(self.now + delay, action)

    def _at(self, due: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, action))

    def turn(self, own: NodeId, event: Event) -> None:
        """Give one event to a peer and perform what it wants."""
        driven = self._driven.get(own)
        if driven is None:
            return
        for effect in driven.handle(self.now, event):
            self.effects.append((own, effect))
            self._perform(own, effect)
        due = driven.deadline()
        if due is not None:
            self._at(max(self.now, due), lambda: self._wake(own, due))

    def run(self, seconds: float = 1.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end and not until():
            self.now, _, action = heapq.heappop(self._heap)
            action()
        if not until():
            self.now = end

    def of(self, kind: type[E], own: NodeId | None = None) -> list[E]:
        """The effects of a type, of one peer or all."""
        return [
            effect for by, effect in self.effects if isinstance(effect, kind) and own in (None, by)
        ]

    def frames(self, own: NodeId) -> list[list[Envelope]]:
        """What a peer has written, frame by frame."""
        return [decode_frame(effect.data) for effect in self.of(WriteFrame, own)]

    def faults(self) -> list[str]:
        return [f"{each.procedure} {each.error} {each.where}" for each in self.of(ProcedureFaulted)]

    def _wake(self, own: NodeId, due: float) -> None:
        driven = self._driven.get(own)
        if driven is not None and driven.deadline() == due:
            self.turn(own, DeadlineReached())

    def _perform(self, own: NodeId, effect: Effect) -> None:
        if isinstance(effect, OpenLink):
            self._open(own, effect)
        elif isinstance(effect, WriteFrame):
            self._write(own, effect)
        elif isinstance(effect, CloseLink):
            end = self._ends.get((own, effect.link))
            if end is not None and end.is_open:
                self._hang_up(end, "closed by the other side")
        elif isinstance(effect, Persist):
            self.post(own, Persisted(sequence=effect.sequence), 0.001)
        else:
            assert isinstance(effect, Notice), effect

    def _open(self, own: NodeId, effect: OpenLink) -> None:
        listening = [
            each for each in self._driven.values() if address_of(each.own) == effect.address
        ]
        if not listening:
            failed = LinkFailed(link=effect.link, failure=LinkFailure.REFUSED, reason="refused")
            self.post(own, failed, self.delay())
            return
        other = listening[0].own
        if other in self.silent or own in self.silent:
            failed = LinkFailed(
                link=effect.link, failure=LinkFailure.UNREACHABLE, reason="time-out"
            )
            self.post(own, failed, 3.0)
            return
        assert effect.node in (WILDCARD, other)
        self._accepted += 2
        near, far = End(own, effect.link), End(other, self._accepted)
        near.other, far.other = far, near
        self._ends[own, near.number] = near
        self._ends[other, far.number] = far
        far.busy_until = self.now + self.delay()
        near.busy_until = far.busy_until + self.delay()
        accepted = LinkOpened(link=far.number, node=own, remote=("10.0.0.1", 50_000))
        self._tell(far, accepted, far.busy_until)
        opened = LinkOpened(link=near.number, node=other, remote=effect.address)
        self._tell(near, opened, near.busy_until)

    def _write(self, own: NodeId, effect: WriteFrame) -> None:
        end = self._ends[own, effect.link]
        far = end.other
        assert far is not None
        if far.owner in self.stuck or not end.is_open:
            return
        arrives = max(far.busy_until, self.now + self.delay())
        far.busy_until = arrives
        if not {own, far.owner} & set(self.silent):
            received = FrameReceived(link=far.number, data=effect.data)
            self._tell(far, received, arrives)
        self._tell(end, FrameWritten(link=end.number), self.now + 0.0001)

    def _tell(self, end: End, event: Event, due: float) -> None:
        def arrive() -> None:
            if end.is_open:
                self.turn(end.owner, event)

        self._at(due, arrive)

    def _hang_up(self, end: End, reason: str) -> None:
        end.is_open = False
        far = end.other
        assert far is not None

        def lose() -> None:
            if far.is_open:
                far.is_open = False
                self.turn(far.owner, LinkLost(link=far.number, reason=reason))

        self._at(max(far.busy_until, self.now + self.delay()), lose)


class Station:
    """Table, links, routing and requests of one peer, around a ring that never changes."""

    def __init__(
        self, own: NodeId, known: list[NodeId], config: OverlayConfig | None = None
    ) -> None:
        self.own = own
        self.config = config or config_of(own)
        self.kernel = Kernel(Random(own[0]))
        self.table = Table(own)
        for each in known:
            self.table.merge(member(each))
        self.links = Links(self.kernel, self.config, own, self.table)
        self.routing = Routing(self.kernel, own, self.table, self.links)
        self.requests = Requests(
            self.kernel, self.config, own, self.table, self.links, self.routing
        )
        self.serving = Serving(self.kernel, self.routing, self.config.in_flight)
        self.links.user = self
        self.routing.user = self
        self.routing.ring = self
        self.serves: Callable[[Request, RequestContext], Awaitable[Answer]] | None = None
        self.served: list[tuple[Request, RequestContext]] = []
        self.controls: list[tuple[NodeId, int]] = []
        self.ups: list[NodeId] = []
        self.lost: list[tuple[NodeId, bool, str]] = []
        self.needed: list[NodeId] = []
        self.state = "joined"
        self.in_ring = True
        self.predecessor: NodeId | None = None
        around = sorted(known)
        if own in around:
            self.predecessor = around[around.index(own) - 1]

    # the core's contract

    def handle(self, now: float, event: Event) -> list[Effect]:
        self.kernel.begin(now)
        match event:
            case LinkOpened():
                self.links.on_opened(event)
            case LinkFailed():
                self.links.on_failed(event)
            case LinkLost():
                self.links.on_lost(event)
            case FrameReceived():
                self.links.on_received(event)
            case FrameWritten():
                self.links.on_written(event)
            case Call():
                event.action()
            case _:
                pass
        self.kernel.procedures.run()
        self.links.flush()
        return self.kernel.take()

    def deadline(self) -> float | None:
        return self.kernel.deadline()

    # Responsibility

    def is_responsible_for(self, resource: ResourceId) -> bool:
        if self.state != "joined":
            return False
        if self.predecessor is None or self.table.is_dead(self.predecessor):
            return self.table.first_at_or_after(resource) == self.own
        return within(self.predecessor, resource, self.own)

    # LinkUser

    def hello(self) -> Hello:
        return Hello(
            PROTOCOL_VERSION, self.config.name, member(self.own), self.kernel.wall_ms, self.in_ring
        )

    def is_needed(self, node: NodeId) -> bool:
        return node in self.needed

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        if envelope.destination == WILDCARD:
            self.controls.append((node, envelope.method))
        else:
            self.routing.on_envelope(node, envelope)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        self.ups.append(node)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        self.lost.append((node, refused, reason))
        self.requests.on_link_lost(node)
        self.routing.on_unsent(node, unsent)

    # RoutingUser

    def on_request(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        try:
            is_new = self.serving.begin(previous, envelope)
        except OverlayError as error:
            self.routing.answer(envelope, previous, error_answer(error))
            return
        if is_new:
            self.kernel.start(self._serve(previous, envelope, stand_in))

    def on_answer(self, envelope: Envelope) -> None:
        self.requests.on_answer(envelope)

    async def _serve(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        request = decode_body(envelope.method, envelope.body)
        assert isinstance(request, Request)
        assert self.serves is not None
        hops = len(envelope.via) + (previous != self.own)
        context = RequestContext(envelope.source, envelope.trace, hops, stand_in)
        self.served.append((request, context))
        try:
            answer: Answer = await self.serves(request, context)
        except OverlayError as error:
            answer = error_answer(error)
        self.serving.end(envelope, answer)


class Call(Event, frozen=True):
    """Run something in a turn of a peer, as an event would."""

    action: Callable[[], object]


class Outcome:
    """What became of a procedure."""

    def __init__(self) -> None:
        self.error: OverlayError | None = None
        self.is_done = False


def call(wire: Wire, station: Driven, action: Callable[[], object]) -> None:
    """Run something in a turn of its own."""
    wire.turn(station.own, Call(action=action))


class Asked(Outcome):
    """A request on its way, and then its outcome."""

    def __init__(
        self,
        wire: Wire,
        station: Station,
        destination: bytes,
        request: Request,
        *,
        to_resource: bool,
        limit: float = 5.0,
    ) -> None:
        super().__init__()
        self.answer: Answer | None = None
        self.source: NodeId | None = None
        self.hops = -1

        async def ask() -> None:
            try:
                answered = await station.requests.ask(
                    destination, request, to_resource=to_resource, timeout=limit
                )
                self.answer, self.source = answered.answer, answered.source
                self.hops = answered.hops
            except OverlayError as error:
                self.error = error
            self.is_done = True

        call(wire, station, lambda: station.kernel.start(ask()))


def ring_of(wire: Wire, numbers: list[int], max_links: int = 64) -> dict[int, Station]:
    """Stations that all know each other, each answering for the range before it."""
    known = [node(number) for number in numbers]
    stations = {
        number: Station(node(number), known, config_of(node(number), max_links=max_links))
        for number in numbers
    }
    for station in stations.values():
        wire.add(station)
    return stations
