"""Join, Update and Leave as RFC 6940 §6.4.2 and §10 say, between whole peers."""

from collections.abc import Awaitable, Callable

from chordial_node.ids import NodeId, ResourceId
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    Answer,
    JoinAnswer,
    JoinRequest,
    LeaveAnswer,
    LeaveRequest,
    Rank,
    UpdateAnswer,
    UpdateRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.ring.ring import Ring
from tests.node.overlay.rig import Wire, call, member, node
from tests.node.overlay.test_peer import Whole, formed

NUMBERS = [10, 50, 90, 130, 170]


def rings() -> tuple[Wire, dict[int, Whole]]:
    wire = Wire()
    return wire, formed(wire, NUMBERS)


def result(
    wire: Wire, whole: Whole, handler: Callable[[Ring], Awaitable[Answer]]
) -> Answer | OverlayError:
    """What a peer answers to a request, in a turn of its own."""
    results: list[Answer | OverlayError] = []

    async def serve() -> None:
        try:
            results.append(await handler(whole.peer.ring))
        except OverlayError as error:
            results.append(error)

    call(wire, whole, lambda: whole.kernel.start(serve()))
    return results[0]


def asked_by(source: NodeId, *, stand_in: bool = False) -> RequestContext:
    return RequestContext(source, None, 1, stand_in)


def join(wire: Wire, whole: Whole, joiner: NodeId, source: NodeId) -> Answer | OverlayError:
    request = JoinRequest(member(joiner))
    return result(wire, whole, lambda ring: ring.on_join(request, asked_by(source)))


def test_a_peer_is_responsible_from_its_predecessor_on_to_itself() -> None:
    """RFC 6940 §10.1: the peer whose Node-ID is the first at or after the Resource-ID."""
    _, wholes = rings()
    ring = wholes[90].peer.ring
    inside = (bytes([50]) + bytes(14) + b"\x01", bytes([70]) + bytes(15), node(90))
    outside = (node(50), bytes([90]) + bytes(14) + b"\x01", node(10))
    assert all(ring.is_responsible_for(ResourceId(each)) for each in inside)
    assert not any(ring.is_responsible_for(ResourceId(each)) for each in outside)


def test_the_responsible_peer_admits_and_tells_the_ring_around_it() -> None:
    """RFC 6940 §6.4.2.1: the Join goes to the responsible peer, which answers with its ring."""
    wire, wholes = rings()
    answer = join(wire, wholes[90], node(70), node(70))
    assert isinstance(answer, JoinAnswer)
    assert answer.predecessor == node(50)
    assert answer.successors == (node(130), node(170), node(10), node(50))
    assert answer.incarnation == 0
    assert answer.members[0].node_id == node(90)


def test_a_peer_that_is_not_responsible_admits_nobody() -> None:
    """RFC 6940 §6.4.2.1: only the responsible peer may admit."""
    wire, wholes = rings()
    answer = join(wire, wholes[130], node(70), node(70))
    assert isinstance(answer, OverlayError)
    assert answer.code is ErrorCode.UPSTREAM_MISROUTING


def test_a_peer_joins_with_its_own_node_id_only() -> None:
    """RFC 6940 §6.4.2.1: joining_peer_id is the Node-ID of the sender."""
    wire, wholes = rings()
    answer = join(wire, wholes[90], node(70), node(50))
    assert isinstance(answer, OverlayError)
    assert answer.code is ErrorCode.FORBIDDEN


def test_one_joiner_at_a_time() -> None:
    """RFC 6940 §10.5, protocol.md §5: others are told to come again."""
    wire, wholes = rings()
    join(wire, wholes[90], node(70), node(70))
    again = join(wire, wholes[90], node(70), node(70))
    other = join(wire, wholes[90], node(80), node(80))
    assert isinstance(again, JoinAnswer)
    assert isinstance(other, OverlayError)
    assert other.code is ErrorCode.BUSY
    assert other.retry_after > 0.0
    wire.run(4.0)
    assert isinstance(join(wire, wholes[90], node(80), node(80)), JoinAnswer)


def test_an_update_answers_predecessor_and_the_whole_successor_list() -> None:
    """RFC 6940 §6.4.2.3 and §10.7: an Update carries the sender's neighbors."""
    wire, wholes = rings()
    context = asked_by(node(50))
    answer = result(wire, wholes[90], lambda ring: ring.on_update(UpdateRequest(False), context))
    assert isinstance(answer, UpdateAnswer)
    assert answer.in_ring
    assert answer.predecessor == node(50)
    assert answer.successors == (node(130), node(170), node(10), node(50))


def test_a_leave_closes_the_gap_at_once() -> None:
    """RFC 6940 §6.4.2.2: whoever gets a Leave removes the leaver from its tables."""
    wire, wholes = rings()
    leaver = member(node(90), wholes[90].peer.ring.incarnation, Rank.LEFT)
    request = LeaveRequest(leaver, node(50), (node(130),))
    context = asked_by(node(90))
    answer = result(wire, wholes[50], lambda ring: ring.on_leave(request, context))
    assert isinstance(answer, LeaveAnswer)
    assert node(90) not in wholes[50].peer.ring.successors
    assert wholes[50].peer.is_dead(node(90))


def test_nobody_leaves_for_another() -> None:
    """RFC 6940 §6.4.2.2: leaving_peer_id is the Node-ID of the sender."""
    wire, wholes = rings()
    request = LeaveRequest(member(node(90), 1, Rank.LEFT), None, ())
    context = asked_by(node(130))
    answer = result(wire, wholes[50], lambda ring: ring.on_leave(request, context))
    assert isinstance(answer, OverlayError)
    assert answer.code is ErrorCode.FORBIDDEN
    assert not wholes[50].peer.is_dead(node(90))


def test_a_peer_that_left_answers_for_nothing() -> None:
    """RFC 6940 §10.7.3: after its Leave a peer is no longer part of the overlay."""
    wire, wholes = rings()
    leaver = wholes[90]
    call(wire, leaver, lambda: leaver.kernel.start(leaver.peer.ring.leave()))
    wire.run(3.0)
    assert leaver.peer.ring.state == "left"
    assert not leaver.peer.ring.is_responsible_for(ResourceId(node(90)))
    assert wholes[130].peer.ring.predecessor == node(50)
    assert wholes[50].peer.ring.successors == [node(130), node(170), node(10)]
