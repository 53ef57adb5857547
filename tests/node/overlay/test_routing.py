"""Receipt, next hop and refusals, between stations whose ring does not change."""

from functools import partial

import pytest

from chordial_node.ids import NodeId
from chordial_node.overlay.errors import ErrorCode
from chordial_node.overlay.messages import (
    INITIAL_TTL,
    Answer,
    Envelope,
    ErrorAnswer,
    FetchAnswer,
    FetchRequest,
    PingAnswer,
    PingRequest,
    Rank,
    Request,
    decode_body,
    encode_body,
)
from chordial_node.overlay.requests import RequestContext
from tests.node.overlay.rig import Asked, Station, Wire, call, member, node, resource, ring_of


async def fetched(request: Request, context: RequestContext) -> Answer:
    return FetchAnswer(()) if isinstance(request, FetchRequest) else PingAnswer(1, 2)


def serving(wire: Wire, numbers: list[int], max_links: int = 64) -> dict[int, Station]:
    stations = ring_of(wire, numbers, max_links)
    for station in stations.values():
        station.serves = fetched
    return stations


def ping(source: NodeId, destination: bytes, changes: dict[str, object] | None = None) -> Envelope:
    envelope = Envelope(
        method=PingRequest.CODE,
        transaction=77,
        source=source,
        destination=destination,
        to_resource=False,
        ttl=INITIAL_TTL,
        via=[],
        avoid=[],
        trace=None,
        hops=0,
        body=encode_body(PingRequest()),
    )
    for name, value in (changes or {}).items():
        setattr(envelope, name, value)
    return envelope


def sent_by(wire: Wire, sender: Station, to: NodeId, envelope: Envelope) -> Envelope | None:
    """Send an envelope as it is over a link, and return the answer that comes back."""
    push(wire, sender, to, envelope)
    wire.run()
    return next((each for each in written(wire, to) if each.destination == envelope.source), None)


def push(wire: Wire, sender: Station, to: NodeId, envelope: Envelope) -> None:
    def send() -> None:
        assert sender.links.send(to, envelope)

    call(wire, sender, send)


def written(wire: Wire, by: NodeId) -> list[Envelope]:
    return [each for frame in wire.frames(by) for each in frame if each.transaction == 77]


def error_of(envelope: Envelope | None) -> ErrorCode:
    assert envelope is not None
    answer = decode_body(envelope.method, envelope.body)
    assert isinstance(answer, ErrorAnswer)
    return ErrorCode(answer.code)


def test_a_resource_is_answered_in_one_hop_by_the_peer_responsible() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30, 40])
    for number, owner in ((15, 20), (20, 30), (35, 40), (41, 10), (5, 10)):
        at = resource(number)
        asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
        wire.run()
        assert (asked.source, asked.hops) == (node(owner), int(owner != 10))
    assert [context.hops for _, context in stations[10].served] == [0, 0]
    assert not wire.faults()


def test_without_room_for_a_link_the_nearest_linked_peer_before_the_destination_forwards() -> None:
    wire = Wire()
    numbers = list(range(10, 250, 10))
    stations = serving(wire, numbers, max_links=3)
    one = stations[10]
    for number in (20, 100, 180):
        call(wire, one, partial(one.links.ensure, node(number)))
    wire.run()
    at = resource(131)
    asked = Asked(wire, one, at, FetchRequest(at, ()), to_resource=True)
    wire.run()
    assert asked.source == node(140)
    assert asked.hops == 2
    assert one.links.up() == [node(20), node(100), node(180)]
    assert stations[100].kernel.counters.envelopes_forwarded == 2
    request, context = stations[140].served[0]
    assert isinstance(request, FetchRequest)
    assert (context.source, context.hops, context.stand_in) == (one.own, 2, False)


def test_a_forward_keeps_the_way_back_and_never_looks_into_the_body() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30])
    envelope = ping(node(10), node(30), {"body": b"\xc1 not msgpack"})
    push(wire, stations[10], node(20), envelope)
    wire.run(0.007)
    forwarded = written(wire, node(20))[0]
    assert forwarded.via == [node(10)]
    assert forwarded.ttl == INITIAL_TTL - 1
    assert forwarded.body == b"\xc1 not msgpack"


BROKEN: list[tuple[dict[str, object], ErrorCode]] = [
    ({"source": node(30)}, ErrorCode.UPSTREAM_MISROUTING),
    ({"via": [node(30)]}, ErrorCode.UPSTREAM_MISROUTING),
    ({"source": node(30), "via": [node(30), node(10)]}, ErrorCode.UPSTREAM_MISROUTING),
    ({"source": node(20), "via": [node(20)]}, ErrorCode.LOOP_DETECTED),
    ({"ttl": 0}, ErrorCode.TTL_EXCEEDED),
    ({"ttl": INITIAL_TTL + 1}, ErrorCode.TTL_EXCEEDED),
    ({"ttl": 1, "destination": node(30)}, ErrorCode.TTL_EXCEEDED),
    ({"avoid": [node(3)] * 4}, ErrorCode.INVALID_MESSAGE),
    ({"destination": node(99)}, ErrorCode.NOT_FOUND),
]


@pytest.mark.parametrize(("change", "code"), BROKEN)
def test_what_breaks_a_rule_is_answered_with_its_code(
    change: dict[str, object], code: ErrorCode
) -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30])
    answer = sent_by(wire, stations[10], node(20), ping(node(10), node(20), change))
    assert error_of(answer) is code
    assert not stations[20].served


def test_an_answer_that_would_go_round_for_ever_is_dropped() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20])
    answer = ping(node(10), node(99), {"method": 0x18, "via": [node(10), node(20)] * INITIAL_TTL})
    push(wire, stations[10], node(20), answer)
    wire.run()
    counters = stations[20].kernel.counters
    assert (counters.envelopes_forwarded, counters.envelopes_dropped) == (0, 1)


def test_who_is_asked_for_a_resource_of_another_range_forwards_it() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30, 40])
    stations[10].table.drop(node(30))
    at = resource(25)
    asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
    wire.run()
    assert (asked.source, asked.hops) == (node(30), 2)
    assert not stations[40].served


def test_the_ring_is_believed_before_the_table() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30, 40])
    for number in (10, 40):
        stations[number].table.drop(node(30))
    stations[40].predecessor = node(30)
    call(wire, stations[30], partial(stations[30].links.ensure, node(40)))
    wire.run()
    at = resource(25)
    asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
    wire.run()
    assert (asked.source, asked.hops) == (node(30), 2)


def test_past_a_peer_that_is_to_be_avoided_the_next_one_stands_in() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30, 40])
    at = resource(25)
    wire.kill(node(30))
    asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
    wire.run()
    assert (asked.source, asked.hops) == (node(40), 1)
    [(_, context)] = stations[40].served
    assert context.stand_in


def test_a_peer_that_has_not_joined_answers_for_nothing() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30])
    stations[10].state = "joining"
    at = resource(5)
    asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
    wire.run()
    assert asked.hops != 0
    assert not stations[10].served


def test_who_knows_no_ring_says_busy_and_not_that_there_is_nothing() -> None:
    wire = Wire()
    lonely = Station(node(10), [])
    lonely.state = "starting"
    wire.add(lonely)
    at = resource(5)
    asked = Asked(wire, lonely, at, FetchRequest(at, ()), to_resource=True)
    assert asked.error is not None
    assert asked.error.code is ErrorCode.BUSY
    assert asked.error.retry_after > 0


def test_a_linked_peer_is_reached_whether_or_not_it_is_known() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20])
    stations[10].table.merge(member(node(20), rank=Rank.DEAD))
    call(wire, stations[20], partial(stations[20].links.ensure, node(10)))
    wire.run()
    asked = Asked(wire, stations[10], node(20), PingRequest(), to_resource=False)
    wire.run()
    assert asked.answer == PingAnswer(1, 2)


def test_what_waited_for_a_dead_next_hop_is_routed_past_it() -> None:
    wire = Wire()
    stations = serving(wire, [10, 20, 30, 40])
    wire.kill(node(30))
    at = resource(25)
    fetch: dict[str, object] = {"to_resource": True, "method": FetchRequest.CODE}
    envelope = ping(node(10), at, {**fetch, "body": encode_body(FetchRequest(at, ()))})
    answer = sent_by(wire, stations[10], node(20), envelope)
    assert answer is not None
    [(_, context)] = stations[40].served
    assert context.stand_in
    assert context.hops == 2
    assert answer.method == FetchAnswer.CODE
