"""RFC 3261 §17 and RFC 6026: what each transaction does, sentence by sentence."""

import pytest

from chordial_node.sip.machines import MACHINES, Action, Input, State, timer_seconds


def walk(name: str, *inputs: Input) -> tuple[State, tuple[Action, ...]]:
    """The state after some inputs, and the actions of the last; none where the table is silent."""
    (state, actions), table = MACHINES[name]
    for happened in inputs:
        state, actions = table.get((state, happened), (state, ()))
    return state, actions


def test_invite_client_sends_and_sets_a_and_b() -> None:
    """RFC 3261 §17.1.1.2: the request leaves, timers A and B run."""
    state, actions = walk("INVITE client")
    assert state is State.CALLING
    assert set(actions) == {Action.START_TIMER_A, Action.START_TIMER_B, Action.SEND_REQUEST}


def test_invite_client_doubles_timer_a() -> None:
    """RFC 3261 §17.1.1.2: each time A fires the request is repeated and A doubled."""
    state, actions = walk("INVITE client", Input.TIMER_A, Input.TIMER_A)
    assert state is State.CALLING
    assert actions == (Action.REPEAT_TIMER_A, Action.SEND_REQUEST)


def test_invite_client_gives_up_at_b() -> None:
    """RFC 3261 §17.1.1.2: B ends the transaction and tells the user."""
    state, actions = walk("INVITE client", Input.TIMER_B)
    assert state is State.TERMINATED
    assert Action.TELL_TIMEOUT in actions


def test_invite_client_stops_repeating_at_a_provisional() -> None:
    """RFC 3261 §17.1.1.2: in Proceeding the request is not repeated, every 1xx is passed up."""
    state, actions = walk("INVITE client", Input.PROVISIONAL)
    assert state is State.PROCEEDING
    assert Action.STOP_TIMER_A in actions
    assert Action.PASS_RESPONSE in actions
    assert walk("INVITE client", Input.PROVISIONAL, Input.PROVISIONAL) == (
        State.PROCEEDING,
        (Action.PASS_RESPONSE,),
    )


@pytest.mark.parametrize("before", [(), (Input.PROVISIONAL,)])
def test_invite_client_acknowledges_each_failure(before: tuple[Input, ...]) -> None:
    """RFC 3261 §17.1.1.2: 300-699 is passed up once, its repetitions only acknowledged."""
    state, actions = walk("INVITE client", *before, Input.FAILURE)
    assert state is State.COMPLETED
    assert {Action.SEND_ACK, Action.PASS_RESPONSE, Action.START_TIMER_D} <= set(actions)
    again = walk("INVITE client", *before, Input.FAILURE, Input.FAILURE)
    assert again == (State.COMPLETED, (Action.SEND_ACK,))


def test_invite_client_passes_every_2xx_up() -> None:
    """RFC 6026 §8.4: Accepted lives for timer M and passes repeated and forked 2xx up."""
    state, actions = walk("INVITE client", Input.SUCCESS)
    assert state is State.ACCEPTED
    assert {Action.PASS_RESPONSE, Action.START_TIMER_M} <= set(actions)
    assert Action.SEND_ACK not in actions
    assert walk("INVITE client", Input.SUCCESS, Input.SUCCESS) == (
        State.ACCEPTED,
        (Action.PASS_RESPONSE,),
    )
    assert walk("INVITE client", Input.SUCCESS, Input.PROVISIONAL)[1] == ()
    assert walk("INVITE client", Input.SUCCESS, Input.TIMER_M)[0] is State.TERMINATED


def test_non_invite_client_repeats_until_f() -> None:
    """RFC 3261 §17.1.2.2: E doubles up to T2 in Trying, is T2 in Proceeding, F ends both."""
    assert walk("non-INVITE client", Input.TIMER_E)[1] == (
        Action.REPEAT_TIMER_E,
        Action.SEND_REQUEST,
    )
    assert walk("non-INVITE client", Input.PROVISIONAL, Input.TIMER_E) == (
        State.PROCEEDING,
        (Action.SLOW_TIMER_E, Action.SEND_REQUEST),
    )
    for before in ((), (Input.PROVISIONAL,)):
        state, actions = walk("non-INVITE client", *before, Input.TIMER_F)
        assert state is State.TERMINATED
        assert Action.TELL_TIMEOUT in actions


@pytest.mark.parametrize("final", [Input.SUCCESS, Input.FAILURE])
def test_non_invite_client_buffers_repetitions_for_k(final: Input) -> None:
    """RFC 3261 §17.1.2.2: one final response is passed up, later ones are absorbed."""
    state, actions = walk("non-INVITE client", Input.PROVISIONAL, final)
    assert state is State.COMPLETED
    assert Action.PASS_RESPONSE in actions
    assert walk("non-INVITE client", final, final) == (State.COMPLETED, ())
    assert walk("non-INVITE client", final, Input.TIMER_K)[0] is State.TERMINATED


def test_invite_server_answers_repetitions_with_the_last_provisional() -> None:
    """RFC 3261 §17.2.1: in Proceeding a repeated INVITE gets the most recent provisional."""
    assert walk("INVITE server", Input.PROVISIONAL, Input.REQUEST) == (
        State.PROCEEDING,
        (Action.REPEAT_RESPONSE,),
    )


def test_invite_server_repeats_a_failure_until_the_ack() -> None:
    """RFC 3261 §17.2.1: G repeats the final response, ACK stops it, I absorbs further ACKs."""
    state, actions = walk("INVITE server", Input.FAILURE)
    assert state is State.COMPLETED
    assert {Action.START_TIMER_G, Action.START_TIMER_H, Action.SEND_RESPONSE} == set(actions)
    assert walk("INVITE server", Input.FAILURE, Input.TIMER_G)[1] == (
        Action.REPEAT_TIMER_G,
        Action.REPEAT_RESPONSE,
    )
    state, actions = walk("INVITE server", Input.FAILURE, Input.ACK)
    assert state is State.CONFIRMED
    assert Action.PASS_ACK not in actions
    assert walk("INVITE server", Input.FAILURE, Input.ACK, Input.ACK) == (State.CONFIRMED, ())


def test_invite_server_tells_of_a_missing_ack() -> None:
    """RFC 3261 §17.2.1: H ends the transaction and tells the user."""
    state, actions = walk("INVITE server", Input.FAILURE, Input.TIMER_H)
    assert state is State.TERMINATED
    assert Action.TELL_TIMEOUT in actions


def test_invite_server_absorbs_repetitions_after_a_2xx() -> None:
    """RFC 6026 §7.1: in Accepted a repeated INVITE is absorbed, more 2xx are sent, ACK goes up."""
    state, actions = walk("INVITE server", Input.SUCCESS)
    assert state is State.ACCEPTED
    assert set(actions) == {Action.START_TIMER_L, Action.SEND_RESPONSE}
    assert walk("INVITE server", Input.SUCCESS, Input.REQUEST) == (State.ACCEPTED, ())
    assert walk("INVITE server", Input.SUCCESS, Input.SUCCESS)[1] == (Action.SEND_RESPONSE,)
    assert walk("INVITE server", Input.SUCCESS, Input.ACK)[1] == (Action.PASS_ACK,)
    assert walk("INVITE server", Input.SUCCESS, Input.TIMER_L)[0] is State.TERMINATED


@pytest.mark.parametrize("final", [Input.SUCCESS, Input.FAILURE])
def test_non_invite_server_repeats_its_answer_for_j(final: Input) -> None:
    """RFC 3261 §17.2.2: no answer in Trying; a final response is repeated, never changed."""
    assert walk("non-INVITE server", Input.REQUEST) == (State.TRYING, ())
    state, actions = walk("non-INVITE server", final)
    assert state is State.COMPLETED
    assert set(actions) == {Action.START_TIMER_J, Action.SEND_RESPONSE}
    assert walk("non-INVITE server", final, Input.REQUEST)[1] == (Action.REPEAT_RESPONSE,)
    assert walk("non-INVITE server", final, Input.SUCCESS) == (State.COMPLETED, ())
    assert walk("non-INVITE server", final, Input.TIMER_J)[0] is State.TERMINATED


@pytest.mark.parametrize(
    ("timer", "over_udp", "over_tcp"),
    [
        (Input.TIMER_A, 0.5, None),
        (Input.TIMER_B, 32, 32),
        (Input.TIMER_D, 32, 0),
        (Input.TIMER_E, 0.5, None),
        (Input.TIMER_F, 32, 32),
        (Input.TIMER_G, 0.5, None),
        (Input.TIMER_H, 32, 32),
        (Input.TIMER_I, 5, 0),
        (Input.TIMER_J, 32, 0),
        (Input.TIMER_K, 5, 0),
        (Input.TIMER_L, 32, 32),
        (Input.TIMER_M, 32, 32),
    ],
)
def test_timers_are_as_long_as_the_table_says(
    timer: Input, over_udp: float, over_tcp: float | None
) -> None:
    """RFC 3261 table 4 and RFC 6026 §8.2, §8.4: values over both kinds of transport."""
    assert timer_seconds(timer, reliable=False) == over_udp
    assert timer_seconds(timer, reliable=True) == over_tcp
