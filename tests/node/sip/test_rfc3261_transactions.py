"""RFC 3261 §17 message by message: the four machines run from their tables, in virtual time."""

from collections import deque

import pytest

from chordial_node.boundary.events import FlowReceived
from chordial_node.sip.machines import (
    INVITE_CLIENT,
    INVITE_SERVER,
    MACHINES,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    Input,
    State,
    Table,
)
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import ClientTransaction, ServerTransaction
from tests.node.sip.flow_rig import Rig, methods, request, statuses

_STATUS = {Input.PROVISIONAL: 180, Input.SUCCESS: 200, Input.FAILURE: 404}
_SENDS = (Action.SEND_REQUEST, Action.SEND_RESPONSE, Action.REPEAT_RESPONSE, Action.SEND_ACK)
_TELLS = (Action.PASS_RESPONSE, Action.PASS_ACK, Action.TELL_TIMEOUT, Action.TELL_TRANSPORT_ERROR)
_EVERYTHING = [
    (name, state, happened)
    for name, ((first, _), table) in MACHINES.items()
    for state in dict.fromkeys([first, *(key[0] for key in table)])
    for happened in Input
    if not (name.endswith("client") and happened in (Input.REQUEST, Input.ACK))  # never given one
]


def _path(name: str, goal: State) -> list[Input]:
    """The shortest way of a machine from its start to a state."""
    (first, _), table = MACHINES[name]
    queue: deque[tuple[State, list[Input]]] = deque([(first, [])])
    while queue:
        state, path = queue.popleft()
        if state is goal:
            return path
        for (here, happened), (following, _) in table.items():
            if here is state and len(path) < 4:
                queue.append((following, [*path, happened]))
    raise AssertionError(f"{goal} is not reached")


def _server(rig: Rig, method: bytes) -> ServerTransaction:
    rig.hear(request(method))
    return rig.user.requests[-1]


def _happen(rig: Rig, run: ServerTransaction | ClientTransaction, happened: Input) -> None:
    """Let the world or the user do what an input stands for."""
    if isinstance(run, ClientTransaction):
        if happened in _STATUS:
            rig.answer(run, _STATUS[happened])
        else:
            rig.do(lambda: run.feed(happened))
    elif happened in _STATUS:
        rig.respond(run, _STATUS[happened])
    elif happened is Input.REQUEST:
        rig.hear(run.request.raw)
    elif happened is Input.ACK:
        rig.hear(request(b"ACK", to_tag=run.to_tag))
    else:
        rig.do(lambda: run.feed(happened))


def _start(rig: Rig, name: str) -> ServerTransaction | ClientTransaction:
    method = b"MESSAGE" if name.startswith("non-") else b"INVITE"
    return rig.ask(method) if name.endswith("client") else _server(rig, method)


@pytest.mark.parametrize(
    ("name", "state", "happened"),
    _EVERYTHING,
    ids=[f"{name}-{state.name}-{happened.name}" for name, state, happened in _EVERYTHING],
)
def test_every_input_in_every_state_does_what_the_table_says(
    name: str, state: State, happened: Input
) -> None:
    """RFC 3261 §17.1, §17.2: state, messages and calls of the user after each input."""
    table: Table = MACHINES[name][1]
    rig = Rig()
    run = _start(rig, name)
    for each in _path(name, state):
        _happen(rig, run, each)
    assert run.state is state
    rig.sent()
    told, has_answered = rig.user.calls, run.status > 0
    following, actions = table.get((state, happened), (state, ()))

    _happen(rig, run, happened)

    assert run.state is following
    sends = [each for each in actions if each in _SENDS]
    if Action.REPEAT_RESPONSE in sends and not has_answered:
        sends.remove(Action.REPEAT_RESPONSE)
    assert len(rig.sent()) == len(sends)
    tells = [each for each in actions if each in _TELLS]
    if isinstance(run, ServerTransaction):  # a proxy is told of ACKs only
        tells = [each for each in tells if each is Action.PASS_ACK]
    elif run.status >= 200 and Action.TELL_TRANSPORT_ERROR in tells:
        tells = []  # its final response was told before: nothing comes after it
    assert rig.user.calls - told == len(tells)
    assert run.is_terminated == (following is State.TERMINATED)


@pytest.mark.parametrize("name", list(MACHINES))
def test_a_terminated_transaction_leaves_nothing_behind(name: str) -> None:
    """RFC 3261 §17: a transaction that has ended is destroyed, and so are its timers."""
    rig = Rig()
    run = _start(rig, name)
    for happened in _path(name, State.TERMINATED):
        _happen(rig, run, happened)

    assert rig.transactions.count == 0
    assert rig.kernel.deadline() is None
    assert run.flow.holds == 0


def test_tables_are_the_four_of_the_rfc() -> None:
    """RFC 3261 §17.1.1.2, §17.1.2.2, §17.2.1, §17.2.2: figures 5 to 8."""
    assert [table for _, table in MACHINES.values()] == [
        INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER,
    ]  # fmt: skip


# timers of clients -----------------------------------------------------------------------------


def _times(rig: Rig) -> list[float]:
    return [when for when, _ in rig.sent_when()]


def test_an_invite_is_repeated_at_doubling_intervals() -> None:
    """RFC 3261 §17.1.1.2: timer A doubles; timer B ends the attempt after 64 T1."""
    rig = Rig()
    rig.ask(b"INVITE")
    rig.advance(31.9)
    assert _times(rig) == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert rig.user.failures == []
    rig.advance(0.2)
    assert rig.user.failures == ["timed out"]
    rig.advance(60)
    assert rig.sent() == []
    assert rig.user.failures == ["timed out"]


def test_an_invite_is_not_repeated_after_a_provisional_response() -> None:
    """RFC 3261 §17.1.1.2: in Proceeding the client does not retransmit, nor does it time out."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.advance(0.6)
    rig.answer(run, 100)
    rig.sent()
    rig.advance(100)
    assert rig.sent() == []
    assert rig.user.failures == []
    assert rig.user.responses == [100]


def test_another_request_is_repeated_up_to_t2() -> None:
    """RFC 3261 §17.1.2.2: timer E doubles up to T2; timer F ends the attempt after 64 T1."""
    rig = Rig()
    rig.ask(b"MESSAGE")
    rig.advance(31.9)
    assert _times(rig) == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    rig.advance(0.2)
    assert rig.user.failures == ["timed out"]


def test_a_provisional_response_slows_the_repetition_down() -> None:
    """RFC 3261 §17.1.2.2: in Proceeding timer E is T2, and timer F still runs."""
    rig = Rig()
    run = rig.ask(b"MESSAGE")
    rig.advance(0.4)
    rig.answer(run, 100)
    rig.advance(31.5)
    assert _times(rig) == [0.0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    rig.advance(0.2)
    assert rig.user.failures == ["timed out"]


def test_a_refusal_is_acknowledged_each_time_it_comes() -> None:
    """RFC 3261 §17.1.1.2, §17.1.1.3: the ACK is repeated until timer D, the user told once."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.sent()
    rig.answer(run, 486)
    rig.answer(run, 486)
    ack, again = rig.sent()
    assert ack == again
    message = Message.parse(ack)
    assert message.method == b"ACK"
    assert message.via.branch == run.branch
    assert message.to_tag == b"t"
    assert message.target == run.request.target
    assert rig.user.responses == [486]
    rig.advance(31.9)
    rig.answer(run, 486)
    assert methods(rig.sent()) == [b"ACK"]
    rig.advance(0.2)
    assert run.is_terminated


def test_a_late_answer_is_absorbed_until_timer_k() -> None:
    """RFC 3261 §17.1.2.2: Completed lasts T4 over UDP."""
    rig = Rig()
    run = rig.ask(b"MESSAGE")
    rig.answer(run, 200)
    rig.advance(4.9)
    rig.answer(run, 200)
    assert rig.user.responses == [200]
    assert rig.user.strays == []
    rig.advance(0.2)
    rig.answer(run, 200)
    assert len(rig.user.strays) == 1


@pytest.mark.parametrize("method", [b"INVITE", b"MESSAGE"])
def test_a_reliable_transport_repeats_nothing(method: bytes) -> None:
    """RFC 3261 §17.1.1.2, §17.1.2.2: no timer A or E over TCP, timers B and F all the same."""
    rig = Rig()
    rig.ask(method, rig.dial())
    rig.advance(31.9)
    assert len(rig.sent()) == 1
    rig.advance(0.2)
    assert rig.user.failures == ["timed out"]


@pytest.mark.parametrize(("method", "status"), [(b"INVITE", 486), (b"MESSAGE", 200)])
def test_nothing_lingers_over_a_reliable_transport(method: bytes, status: int) -> None:
    """RFC 3261 table 4: timers D and K are zero over TCP."""
    rig = Rig()
    run = rig.ask(method, rig.dial())
    rig.tell(FlowReceived(2, respond(run.request, status, to_tag=b"t")))
    assert run.is_terminated
    assert rig.user.responses == [status]
    assert rig.transactions.count == 0


# timers of servers -----------------------------------------------------------------------------


def test_a_refusal_of_an_invite_is_repeated_until_its_ack() -> None:
    """RFC 3261 §17.2.1: timer G doubles up to T2, timer H gives up after 64 T1."""
    rig = Rig()
    run = _server(rig, b"INVITE")
    rig.respond(run, 486)
    rig.advance(31.9)
    assert _times(rig) == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    rig.advance(0.2)
    assert run.is_terminated


def test_an_ack_ends_the_repetition_and_is_absorbed_until_timer_i() -> None:
    """RFC 3261 §17.2.1: Confirmed lasts T4 over UDP; no ACK to a refusal goes up."""
    rig = Rig()
    run = _server(rig, b"INVITE")
    rig.respond(run, 486)
    rig.hear(request(b"ACK", to_tag=run.to_tag))
    rig.sent()
    rig.advance(4.9)
    rig.hear(request(b"ACK", to_tag=run.to_tag))
    assert run.state is State.CONFIRMED
    rig.advance(0.2)
    assert run.is_terminated
    assert rig.sent() == []
    assert rig.user.acks == []


def test_a_repeated_invite_gets_the_last_response() -> None:
    """RFC 3261 §17.2.1: in Proceeding the most recent provisional response is sent again."""
    rig = Rig()
    run = _server(rig, b"INVITE")
    rig.hear(request(b"INVITE"))
    assert rig.sent() == []
    rig.respond(run, 100)
    rig.respond(run, 180)
    rig.hear(request(b"INVITE"))
    assert statuses(rig.sent()) == [100, 180, 180]
    assert len(rig.user.requests) == 1
    assert rig.kernel.counters.sip_retransmissions_received == 2
    assert rig.kernel.counters.sip_retransmissions_sent == 1


def test_a_repeated_request_gets_the_final_response_until_timer_j() -> None:
    """RFC 3261 §17.2.2: Completed lasts 64 T1 over UDP."""
    rig = Rig()
    run = _server(rig, b"MESSAGE")
    rig.hear(request(b"MESSAGE"))
    assert rig.sent() == []  # Trying: absorbed
    rig.respond(run, 200)
    rig.advance(31.9)
    rig.hear(request(b"MESSAGE"))
    assert statuses(rig.sent()) == [200, 200]
    rig.advance(0.2)
    rig.hear(request(b"MESSAGE"))
    assert len(rig.user.requests) == 2


def test_a_second_final_response_is_dropped() -> None:
    """RFC 3261 §17.2.2: any other final response passed by the user is discarded."""
    rig = Rig()
    run = _server(rig, b"MESSAGE")
    rig.respond(run, 404)
    rig.respond(run, 200)
    rig.respond(run, 180)
    assert statuses(rig.sent()) == [404]
    assert run.status == 404


@pytest.mark.parametrize("method", [b"MESSAGE", b"INVITE"])
def test_a_server_transaction_over_tcp_ends_with_its_answer(method: bytes) -> None:
    """RFC 3261 table 4: timers G, I and J are not needed over TCP."""
    rig = Rig()
    rig.accept(1)
    via = b"SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bKa;rport"
    rig.tell(FlowReceived(1, request(method, via=via)))
    run = rig.user.requests[0]
    rig.respond(run, 486)
    if method == b"INVITE":
        rig.advance(20)
        rig.tell(FlowReceived(1, request(b"ACK", via=via, to_tag=run.to_tag)))
    assert statuses(rig.sent()) == [486]
    assert run.is_terminated
    assert rig.transactions.count == 0
