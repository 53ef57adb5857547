"""RFC 6940 §6.4.2.4 and RFC 7851: the way of a message, told by the peers on it."""

import pytest

from chordial_node.boundary.control import Hop
from chordial_node.overlay.diagnostics import Diagnostics
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    Answer,
    PathTrackAnswer,
    PathTrackRequest,
    Request,
    RouteQueryAnswer,
    RouteQueryRequest,
)
from chordial_node.overlay.requests import RequestContext
from tests.node.overlay.rig import Asked, Station, Wire, call, member, node, resource, ring_of


def diagnostics_of(station: Station) -> Diagnostics:
    diagnostics = Diagnostics(
        station.kernel,
        station.own,
        station.table,
        station.links,
        station.requests,
        station.routing,
    )

    async def serve(request: Request, context: RequestContext) -> Answer:
        if isinstance(request, RouteQueryRequest):
            return await diagnostics.on_route_query(request, context)
        assert isinstance(request, PathTrackRequest)
        return await diagnostics.on_path_track(request, context)

    station.serves = serve
    return diagnostics


def tracked(wire: Wire, station: Station, diagnostics: Diagnostics, at: bytes) -> list[Hop] | str:
    outcome: list[list[Hop] | str] = []

    async def track() -> None:
        try:
            outcome.append(await diagnostics.track(at, to_resource=True))
        except OverlayError as error:
            outcome.append(error.code.name)

    call(wire, station, lambda: station.kernel.start(track()))
    wire.run()
    return outcome[0]


def ring(wire: Wire, *numbers: int) -> tuple[dict[int, Station], dict[int, Diagnostics]]:
    stations = ring_of(wire, list(numbers))
    return stations, {number: diagnostics_of(each) for number, each in stations.items()}


@pytest.mark.parametrize(("number", "next_hop", "rule"), [(15, 20, "self"), (25, 30, "table")])
def test_route_query_names_the_next_hop(number: int, next_hop: int, rule: str) -> None:
    """RFC 6940 §6.4.2.4: RouteQuery is answered with where a message would be sent next."""
    wire = Wire()
    stations, _ = ring(wire, 10, 20, 30)
    query = RouteQueryRequest(resource(number), True)
    asked = Asked(wire, stations[10], node(20), query, to_resource=False)
    wire.run()
    assert asked.answer == RouteQueryAnswer(node(next_hop), rule)


def test_path_track_tells_the_next_hop_and_how_the_peer_is() -> None:
    """RFC 7851 §4.3.1: PathTrack is answered with the next hop and diagnostics of the peer."""
    wire = Wire()
    stations, _ = ring(wire, 10, 20, 30)
    query = PathTrackRequest(resource(25), True)
    wire.run(5.0)
    asked = Asked(wire, stations[10], node(20), query, to_resource=False)
    wire.run()
    assert isinstance(asked.answer, PathTrackAnswer)
    assert (asked.answer.next_hop, asked.answer.rule) == (node(30), "table")
    assert asked.answer.uptime_seconds > 4.9
    assert asked.answer.members == (member(node(30)),)


def test_a_track_walks_from_peer_to_peer_until_the_one_responsible() -> None:
    """RFC 7851 §4.3: the initiator asks each next hop in turn."""
    wire = Wire()
    stations, diagnostics = ring(wire, 10, 20, 30, 40)
    stations[10].table.drop(node(30))
    hops = tracked(wire, stations[10], diagnostics[10], resource(25))
    assert not isinstance(hops, str)
    assert [(hop.node_id, hop.rule) for hop in hops] == [
        (node(10), "self"),
        (node(40), "table"),
        (node(30), "table"),
    ]
    assert [hop.peer for hop in hops] == ["peer-10", "peer-40", "peer-30"]
    assert hops[1].round_trip_ms == pytest.approx(5.0, abs=5.0)


def test_a_way_that_comes_back_is_told_as_a_loop() -> None:
    """RFC 7851 §5.2: a way that passes a peer twice is Error_Loop_Detected."""
    wire = Wire()
    stations, diagnostics = ring(wire, 10, 20, 30, 40)
    for number in (10, 40):
        stations[number].table.drop(node(30))
    stations[40].predecessor = node(20)
    stations[30].predecessor = node(40)
    stations[40].state = "joining"
    outcome = tracked(wire, stations[10], diagnostics[10], resource(25))
    assert outcome == ErrorCode.LOOP_DETECTED.name
