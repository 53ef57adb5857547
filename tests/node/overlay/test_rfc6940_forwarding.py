"""RFC 6940 §6.1 and §10: what becomes of a message at a peer, and where it goes next."""

from chordial_node.ids import resource_id_of
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
    Request,
    decode_body,
    encode_body,
)
from chordial_node.overlay.requests import RequestContext
from tests.node.overlay.rig import Asked, Station, Wire, call, node, resource, ring_of


async def answered(request: Request, context: RequestContext) -> Answer:
    return FetchAnswer(()) if isinstance(request, FetchRequest) else PingAnswer(1, 2)


def stations_of(wire: Wire, *numbers: int) -> dict[int, Station]:
    stations = ring_of(wire, list(numbers))
    for station in stations.values():
        station.serves = answered
    return stations


def request_to(source: Station, destination: bytes, ttl: int = INITIAL_TTL) -> Envelope:
    body = encode_body(PingRequest())
    return Envelope(PingRequest.CODE, 5, source.own, destination, False, ttl, [], [], None, 0, body)


def pushed(wire: Wire, sender: Station, to: Station, envelope: Envelope) -> list[Envelope]:
    """Send an envelope as it is, and return what its receiver wrote of that transaction."""
    call(wire, sender, lambda: sender.links.send(to.own, envelope))
    wire.run()
    return [each for frame in wire.frames(to.own) for each in frame if each.transaction == 5]


def error_of(envelope: Envelope) -> ErrorCode:
    answer = decode_body(envelope.method, envelope.body)
    assert isinstance(answer, ErrorAnswer)
    return ErrorCode(answer.code)


def test_a_message_to_the_node_id_of_a_peer_is_delivered_there() -> None:
    """RFC 6940 §6.1.1: a message whose destination is the peer's own Node-ID is for it."""
    wire = Wire()
    stations = stations_of(wire, 10, 20)
    [answer] = pushed(wire, stations[10], stations[20], request_to(stations[10], node(20)))
    assert answer.method == PingRequest.CODE + 1
    assert len(stations[20].served) == 1


def test_a_message_to_a_resource_is_delivered_to_the_responsible_peer() -> None:
    """RFC 6940 §6.1.1: a Resource-ID is delivered at the peer responsible for it."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    asked = Asked(
        wire, stations[10], resource(12), FetchRequest(resource(12), ()), to_resource=True
    )
    wire.run()
    assert asked.source == node(20)


def test_a_message_to_a_linked_node_goes_over_that_link() -> None:
    """RFC 6940 §6.1.2: a destination in the Connection Table gets the message over that link."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    call(wire, stations[10], lambda: stations[10].links.ensure(node(30)))
    wire.run()
    choices: list[object] = []
    call(wire, stations[10], lambda: choices.append(stations[10].routing.choose(node(30), False)))
    assert choices == [(node(30), "connection", False)]


def test_the_previous_hop_is_appended_to_the_via_list() -> None:
    """RFC 6940 §6.1.2: a forwarding peer appends the Node-ID of the node it received from."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    forwarded, answer = pushed(wire, stations[10], stations[20], request_to(stations[10], node(30)))
    assert forwarded.via == [node(10)]
    assert answer.destination == node(10)


def test_the_ttl_falls_by_one_at_each_forward() -> None:
    """RFC 6940 §6.1.2: the TTL is decremented by one before a message is forwarded."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    forwarded = pushed(wire, stations[10], stations[20], request_to(stations[10], node(30), 9))[0]
    assert forwarded.ttl == 8


def test_a_message_whose_ttl_ends_away_from_its_destination_is_refused() -> None:
    """RFC 6940 §6.3.2: TTL 0 away from the destination is answered with Error_TTL_Exceeded."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    [answer] = pushed(wire, stations[10], stations[20], request_to(stations[10], node(30), 1))
    assert error_of(answer) is ErrorCode.TTL_EXCEEDED
    assert not stations[30].served


def test_a_ttl_above_the_initial_one_is_refused() -> None:
    """RFC 6940 §6.3.2: a TTL greater than initial-ttl is answered with Error_TTL_Exceeded."""
    wire = Wire()
    stations = stations_of(wire, 10, 20)
    envelope = request_to(stations[10], node(20), INITIAL_TTL + 1)
    [answer] = pushed(wire, stations[10], stations[20], envelope)
    assert error_of(answer) is ErrorCode.TTL_EXCEEDED


def test_an_answer_takes_the_way_of_its_request_back() -> None:
    """RFC 6940 §6.2.2: an answer goes along the via list of its request, reversed."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    pushed(wire, stations[10], stations[20], request_to(stations[10], node(30)))
    [answer] = [each for frame in wire.frames(node(30)) for each in frame if each.transaction == 5]
    assert (answer.destination, answer.via) == (node(10), [node(10)])
    assert stations[20].kernel.counters.envelopes_forwarded == 2


def test_nobody_answers_for_a_node_that_is_not_there() -> None:
    """RFC 6940 §6.1.2: a Node-ID in the own range with which there is no link is not delivered."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    asked = Asked(wire, stations[10], node(25), PingRequest(), to_resource=False)
    wire.run()
    assert asked.error is not None
    assert asked.error.code is ErrorCode.NOT_FOUND
    assert not any(station.served for station in stations.values())


def test_a_peer_is_responsible_up_to_its_own_node_id() -> None:
    """RFC 6940 §10.1: a peer is responsible for (predecessor, itself]."""
    wire = Wire()
    stations = stations_of(wire, 10, 20, 30)
    for at, owner in ((bytes(node(20)), 20), (bytes(node(10)), 10), (bytes(16), 10)):
        asked = Asked(wire, stations[30], at, PingRequest(), to_resource=True)
        wire.run()
        assert asked.source == node(owner)


def test_a_resource_id_is_cut_from_the_hash_of_its_name() -> None:
    """RFC 6940 §10.2: the first 128 bits of the SHA-1 of the Resource Name."""
    name = b"sip:alice@example.org"
    assert resource_id_of(name).hex() == "fdfbd5d7a777037523f569849c4acc7b"


def test_one_hop_is_enough_where_everybody_is_known() -> None:
    """RFC 6940 §10.3: the next hop is the closest peer of the routing table."""
    wire = Wire()
    stations = stations_of(wire, *range(10, 250, 12))
    for number in range(15, 250, 24):
        at = resource(number)
        asked = Asked(wire, stations[10], at, FetchRequest(at, ()), to_resource=True)
        wire.run()
        assert asked.hops in (0, 1)
