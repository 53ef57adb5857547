"""Whole peers: they form a ring, keep three copies, and find them after a death."""

from random import Random

import pytest

from chordial_node.boundary.effects import Effect, Persist
from chordial_node.boundary.events import (
    Event,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkLost,
    LinkOpened,
    Persisted,
    Started,
)
from chordial_node.boundary.notices import LookupFinished, SpanEnded
from chordial_node.config import Endpoint, OverlayConfig
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import (
    Entry,
    FetchSpecifier,
    KindData,
)
from chordial_node.overlay.peer import Peer
from tests.node.overlay.rig import Call, Wire, address_of, call, config_of, node, resource

WALL = 1_700_000_000.0


class Whole:
    """A peer with nothing above it."""

    def __init__(self, own: NodeId, config: OverlayConfig, kernel: Kernel | None = None) -> None:
        self.own = own
        self.kernel = kernel or Kernel(Random(own[0]))
        self.peer = Peer(self.kernel, config, own, f"peer-{own[0]}", ("10.0.0.1", 5081))

    def handle(self, now: float, event: Event) -> list[Effect]:
        self.kernel.begin(now)
        links = self.peer.links
        match event:
            case Started():
                self.kernel.set_wall_offset(event.wall_offset)
                self.peer.start(dict(event.records))
            case LinkOpened():
                links.on_opened(event)
            case LinkFailed():
                links.on_failed(event)
            case LinkLost():
                links.on_lost(event)
            case FrameReceived():
                links.on_received(event)
            case FrameWritten():
                links.on_written(event)
            case Persisted():
                self.peer.journal.on_persisted(event)
            case Call():
                event.action()
            case _:
                pass
        self.kernel.procedures.run()
        links.flush()
        return self.kernel.take()

    def deadline(self) -> float | None:
        return self.kernel.deadline()


def ring_config(own: NodeId, everybody: list[NodeId]) -> OverlayConfig:
    base = config_of(own)
    return OverlayConfig(
        name=base.name,
        bind=base.bind,
        advertise=base.advertise,
        founders=tuple(each.hex() for each in everybody[:3]),
        seeds=tuple(Endpoint(*address_of(each)) for each in everybody),
    )


def formed(wire: Wire, numbers: list[int]) -> dict[int, Whole]:
    everybody = [node(number) for number in numbers]
    wholes = {
        number: Whole(node(number), ring_config(node(number), everybody)) for number in numbers
    }
    for whole in wholes.values():
        wire.add(whole)
    for whole in wholes.values():
        wire.turn(whole.own, Started(wall_offset=WALL, records=()))

    def is_formed() -> bool:
        return all(
            whole.peer.ring.state == "joined"
            and len(whole.peer.table.live_ids()) == len(numbers)
            and whole.peer.storage.in_step
            for whole in wholes.values()
        )

    wire.run(40.0, until=is_formed)
    assert is_formed(), {n: (w.peer.ring.state, len(w.peer.table)) for n, w in wholes.items()}
    return wholes


class Job:
    """Something that a peer is asked to do, and what came of it."""

    def __init__(self) -> None:
        self.is_done = False
        self.error: OverlayError | None = None
        self.values: list[bytes] = []
        self.copies = 0


def store(
    wire: Wire, at: Whole, where: ResourceId, value: bytes, trace: Trace | None = None
) -> Job:
    job = Job()

    async def run() -> None:
        now = at.kernel.wall_ms
        entry = Entry(b"", value, True, now, now + 600_000, now + 600_000, at.own)
        try:
            answer = await at.peer.store(where, (KindData(KindId.OPEN_VALUE, 0, (entry,)),), trace)
            job.copies = len(answer.replicas)
        except OverlayError as error:
            job.error = error
        job.is_done = True

    call(wire, at, lambda: at.kernel.start(run()))
    return job


def fetch(wire: Wire, at: Whole, where: ResourceId, trace: Trace | None = None) -> Job:
    job = Job()

    async def run() -> None:
        try:
            answer = await at.peer.fetch(where, (FetchSpecifier(KindId.OPEN_VALUE),), trace)
            job.values = [entry.value for data in answer.kinds for entry in data.entries]
        except OverlayError as error:
            job.error = error
        job.is_done = True

    call(wire, at, lambda: at.kernel.start(run()))
    return job


NUMBERS = [20, 70, 120, 170, 220]


def test_five_peers_form_a_ring_and_know_their_neighbors() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    wire.run(5.0)
    for index, number in enumerate(NUMBERS):
        ring = wholes[number].peer.ring
        around = [node(each) for each in [*NUMBERS[index + 1 :], *NUMBERS[:index]]]
        assert ring.successors == around
        assert ring.predecessor == around[-1]
    assert not wire.faults()


def test_what_is_stored_at_any_peer_is_fetched_at_every_other_and_after_a_death() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    places = [resource(number) for number in range(5, 250, 10)]
    stored = [
        store(wire, wholes[NUMBERS[index % 5]], where, bytes([index]))
        for index, where in enumerate(places)
    ]
    wire.run(2.0)
    assert [(job.is_done, job.error) for job in stored] == [(True, None)] * len(places)
    assert all(job.copies >= 2 for job in stored)
    wire.run(3.0)
    for number in NUMBERS:
        fetched = [fetch(wire, wholes[number], where) for where in places]
        wire.run(1.0)
        assert [job.values for job in fetched] == [[bytes([i])] for i in range(len(places))]
    finished = wire.of(LookupFinished)
    assert {each.hops for each in finished} == {0, 1}
    assert not any(each.error for each in finished)

    wire.kill(node(120))
    del wholes[120]
    at_once = [fetch(wire, wholes[20], where) for where in places]
    wire.run(4.5)
    assert [(job.values, job.error) for job in at_once] == [
        ([bytes([i])], None) for i in range(len(places))
    ]
    for number in wholes:
        fetched = [fetch(wire, wholes[number], where) for where in places]
        wire.run(2.0)
        assert [job.values for job in fetched] == [[bytes([i])] for i in range(len(places))]
    assert not wire.faults()


def test_a_leaving_peer_hands_over_what_it_held() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    places = [resource(number) for number in range(5, 250, 10)]
    for index, where in enumerate(places):
        store(wire, wholes[20], where, bytes([index]))
    wire.run(3.0)
    left: list[int] = []
    leaver = wholes.pop(170)

    async def leave() -> None:
        left.append(await leaver.peer.leave())

    call(wire, leaver, lambda: leaver.kernel.start(leave()))
    wire.run(20.0, until=lambda: bool(left))
    assert left
    wire.kill(leaver.own)
    wire.run(3.0)
    for number in wholes:
        fetched = [fetch(wire, wholes[number], where) for where in places]
        wire.run(1.0)
        assert [job.values for job in fetched] == [[bytes([i])] for i in range(len(places))]
        assert wholes[number].peer.is_dead(leaver.own)
    assert not wire.faults()


@pytest.mark.parametrize("where", [resource(number) for number in (15, 65, 115, 165)])
def test_a_sampled_lookup_is_one_trace_without_gaps(where: ResourceId) -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    root = Trace(b"T" * 16, b"rootroot")
    job = fetch(wire, wholes[220], where, root)
    wire.run(1.0)
    assert job.is_done
    spans = [each for each in wire.of(SpanEnded) if each.trace_id == root.trace_id]
    assert [each.name for each in spans if each.parent_id == root.span_id] == ["overlay.request"]
    known = {root.span_id, *(each.span_id for each in spans)}
    assert all(each.parent_id in known for each in spans)
    hops = [each.attributes["chordial_overlay_hop"] for each in spans if each.name == "overlay.hop"]
    assert hops == list(range(1, len(hops) + 1))


def test_a_fault_of_our_own_is_answered_and_told() -> None:
    class Faulty(Kernel):
        has_fault = False

        @property
        def wall_ms(self) -> int:
            assert not self.has_fault
            return super().wall_ms

    wire = Wire()
    everybody = [node(20), node(70)]
    kernel = Faulty(Random(1))
    one = Whole(everybody[0], ring_config(everybody[0], everybody))
    other = Whole(everybody[1], ring_config(everybody[1], everybody), kernel)
    for whole in (one, other):
        wire.add(whole)
        wire.turn(whole.own, Started(wall_offset=WALL, records=()))
    wire.run(10.0)
    errors: list[OverlayError] = []

    async def ping() -> None:
        try:
            await one.peer.ping(other.own)
        except OverlayError as error:
            errors.append(error)

    kernel.has_fault = True
    call(wire, one, lambda: one.kernel.start(ping()))
    wire.run(0.01)
    assert [error.code for error in errors] == [ErrorCode.INTERNAL_FAULT]
    assert len(wire.faults()) == kernel.counters.procedure_faults == 1


def test_an_unsampled_lookup_tells_no_span() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    fetch(wire, wholes[20], resource(100))
    wire.run(1.0)
    assert not wire.of(SpanEnded)


def test_the_way_of_a_lookup_is_told_by_the_peers_on_it() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    tracks: list[list[tuple[NodeId, str, str]]] = []

    async def track() -> None:
        hops = await wholes[20].peer.diagnostics.track(resource(100), to_resource=True)
        tracks.append([(hop.node_id, hop.peer, hop.rule) for hop in hops])

    call(wire, wholes[20], lambda: wholes[20].kernel.start(track()))
    wire.run(1.0)
    assert tracks == [[(node(20), "peer-20", "self"), (node(120), "peer-120", "table")]]


def test_persisting_is_asked_of_the_disk() -> None:
    wire = Wire()
    wholes = formed(wire, NUMBERS)
    store(wire, wholes[20], resource(100), b"value")
    wire.run(1.0)
    assert wire.of(Persist, node(120))
    assert wholes[20].peer.peer_name(node(70)) == "peer-70"
    assert wholes[20].peer.find_node(node(70)[:6]) == node(70)
    assert wholes[20].peer.sip_address(node(70)) == ("10.0.0.1", 5081)
