"""The four transaction machines as tables, from which code, tests and the diagrams are made.

RFC 3261 §17.1 and §17.2 with the corrections of RFC 6026 (the Accepted state). A table says what
to do, in order; sending, timing and the transaction user are the business of whoever runs it. A
pair that is not in a table changes nothing: the input is late, or a retransmission to absorb.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

T1, T2, T4 = 0.5, 4.0, 5.0
"""Seconds, defaults of RFC 3261 §17.1.1.1: round trip, slowest repetition, life in the net."""


class State(Enum):
    """Where a transaction is; each machine uses some of them."""

    __hash__ = object.__hash__  # members are single; that of Enum costs a call each time

    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    ACCEPTED = "Accepted"
    CONFIRMED = "Confirmed"
    TERMINATED = "Terminated"


class Input(Enum):
    """What can happen to a transaction."""

    __hash__ = object.__hash__  # members are single; that of Enum costs a call each time

    PROVISIONAL = "1xx"  # received by a client, sent by the user of a server transaction
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    TRANSPORT_ERROR = "transport error"
    TIMER_A = "timer A"
    TIMER_B = "timer B"
    TIMER_D = "timer D"
    TIMER_E = "timer E"
    TIMER_F = "timer F"
    TIMER_G = "timer G"
    TIMER_H = "timer H"
    TIMER_I = "timer I"
    TIMER_J = "timer J"
    TIMER_K = "timer K"
    TIMER_L = "timer L"
    TIMER_M = "timer M"


class Action(Enum):
    """What the transaction does next."""

    __hash__ = object.__hash__  # members are single; that of Enum costs a call each time

    SEND_REQUEST = "send request"
    SEND_RESPONSE = "send response"  # the one that the user gave, remembered if it is the last
    REPEAT_RESPONSE = "repeat last response"
    SEND_ACK = "send ACK"
    PASS_RESPONSE = "pass response up"
    PASS_ACK = "pass ACK up"
    TELL_TIMEOUT = "tell time-out"
    TELL_TRANSPORT_ERROR = "tell transport error"
    REPEAT_TIMER_A = "set timer A twice as long"
    REPEAT_TIMER_E = "set timer E twice as long, at most T2"
    SLOW_TIMER_E = "set timer E to T2"
    REPEAT_TIMER_G = "set timer G twice as long, at most T2"
    STOP_TIMER_A = "stop timer A"
    STOP_TIMER_B = "stop timer B"
    STOP_TIMER_D = "stop timer D"
    STOP_TIMER_E = "stop timer E"
    STOP_TIMER_F = "stop timer F"
    STOP_TIMER_G = "stop timer G"
    STOP_TIMER_H = "stop timer H"
    STOP_TIMER_J = "stop timer J"
    START_TIMER_A = "start timer A"
    START_TIMER_B = "start timer B"
    START_TIMER_D = "start timer D"
    START_TIMER_E = "start timer E"
    START_TIMER_F = "start timer F"
    START_TIMER_G = "start timer G"
    START_TIMER_H = "start timer H"
    START_TIMER_I = "start timer I"
    START_TIMER_J = "start timer J"
    START_TIMER_K = "start timer K"
    START_TIMER_L = "start timer L"
    START_TIMER_M = "start timer M"


Step = tuple[State, tuple[Action, ...]]
Table = Mapping[tuple[State, Input], Step]

_END: Step = (State.TERMINATED, ())
_NO_A_B = (Action.STOP_TIMER_A, Action.STOP_TIMER_B)
_NO_E_F = (Action.STOP_TIMER_E, Action.STOP_TIMER_F)
_CLIENT_OK: Step = (
    State.ACCEPTED,
    (*_NO_A_B, Action.START_TIMER_M, Action.PASS_RESPONSE),
)
_CLIENT_FAILED: Step = (
    State.COMPLETED,
    (*_NO_A_B, Action.START_TIMER_D, Action.SEND_ACK, Action.PASS_RESPONSE),
)
_CLIENT_DONE: Step = (
    State.COMPLETED,
    (*_NO_E_F, Action.START_TIMER_K, Action.PASS_RESPONSE),
)
_SERVER_DONE: Step = (State.COMPLETED, (Action.START_TIMER_J, Action.SEND_RESPONSE))

INVITE_CLIENT_START: Step = (
    State.CALLING,
    (Action.START_TIMER_A, Action.START_TIMER_B, Action.SEND_REQUEST),
)
INVITE_CLIENT: Table = MappingProxyType(
    {
        (State.CALLING, Input.TIMER_A): (
            State.CALLING,
            (Action.REPEAT_TIMER_A, Action.SEND_REQUEST),
        ),
        (State.CALLING, Input.TIMER_B): (
            State.TERMINATED,
            (Action.STOP_TIMER_A, Action.TELL_TIMEOUT),
        ),
        (State.CALLING, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (*_NO_A_B, Action.TELL_TRANSPORT_ERROR),
        ),
        (State.CALLING, Input.PROVISIONAL): (
            State.PROCEEDING,
            (*_NO_A_B, Action.PASS_RESPONSE),
        ),
        (State.CALLING, Input.SUCCESS): _CLIENT_OK,
        (State.CALLING, Input.FAILURE): _CLIENT_FAILED,
        (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, (Action.PASS_RESPONSE,)),
        (State.PROCEEDING, Input.SUCCESS): _CLIENT_OK,
        (State.PROCEEDING, Input.FAILURE): _CLIENT_FAILED,
        (State.COMPLETED, Input.FAILURE): (State.COMPLETED, (Action.SEND_ACK,)),
        (State.COMPLETED, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (Action.STOP_TIMER_D, Action.TELL_TRANSPORT_ERROR),
        ),
        (State.COMPLETED, Input.TIMER_D): _END,
        (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, (Action.PASS_RESPONSE,)),
        (State.ACCEPTED, Input.TIMER_M): _END,
    }
)

NON_INVITE_CLIENT_START: Step = (
    State.TRYING,
    (Action.START_TIMER_E, Action.START_TIMER_F, Action.SEND_REQUEST),
)
NON_INVITE_CLIENT: Table = MappingProxyType(
    {
        (State.TRYING, Input.TIMER_E): (
            State.TRYING,
            (Action.REPEAT_TIMER_E, Action.SEND_REQUEST),
        ),
        (State.TRYING, Input.TIMER_F): (
            State.TERMINATED,
            (Action.STOP_TIMER_E, Action.TELL_TIMEOUT),
        ),
        (State.TRYING, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (*_NO_E_F, Action.TELL_TRANSPORT_ERROR),
        ),
        (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, (Action.PASS_RESPONSE,)),
        (State.TRYING, Input.SUCCESS): _CLIENT_DONE,
        (State.TRYING, Input.FAILURE): _CLIENT_DONE,
        (State.PROCEEDING, Input.TIMER_E): (
            State.PROCEEDING,
            (Action.SLOW_TIMER_E, Action.SEND_REQUEST),
        ),
        (State.PROCEEDING, Input.TIMER_F): (
            State.TERMINATED,
            (Action.STOP_TIMER_E, Action.TELL_TIMEOUT),
        ),
        (State.PROCEEDING, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (*_NO_E_F, Action.TELL_TRANSPORT_ERROR),
        ),
        (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, (Action.PASS_RESPONSE,)),
        (State.PROCEEDING, Input.SUCCESS): _CLIENT_DONE,
        (State.PROCEEDING, Input.FAILURE): _CLIENT_DONE,
        (State.COMPLETED, Input.TIMER_K): _END,
    }
)

INVITE_SERVER_START: Step = (State.PROCEEDING, ())
INVITE_SERVER: Table = MappingProxyType(
    {
        (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, (Action.REPEAT_RESPONSE,)),
        (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.PROCEEDING, Input.SUCCESS): (
            State.ACCEPTED,
            (Action.START_TIMER_L, Action.SEND_RESPONSE),
        ),
        (State.PROCEEDING, Input.FAILURE): (
            State.COMPLETED,
            (Action.START_TIMER_G, Action.START_TIMER_H, Action.SEND_RESPONSE),
        ),
        (State.PROCEEDING, Input.TRANSPORT_ERROR): (
            State.PROCEEDING,
            (Action.TELL_TRANSPORT_ERROR,),
        ),
        (State.COMPLETED, Input.REQUEST): (State.COMPLETED, (Action.REPEAT_RESPONSE,)),
        (State.COMPLETED, Input.ACK): (
            State.CONFIRMED,
            (Action.STOP_TIMER_G, Action.STOP_TIMER_H, Action.START_TIMER_I),
        ),
        (State.COMPLETED, Input.TIMER_G): (
            State.COMPLETED,
            (Action.REPEAT_TIMER_G, Action.REPEAT_RESPONSE),
        ),
        (State.COMPLETED, Input.TIMER_H): (
            State.TERMINATED,
            (Action.STOP_TIMER_G, Action.TELL_TIMEOUT),
        ),
        (State.COMPLETED, Input.TRANSPORT_ERROR): (
            State.COMPLETED,
            (Action.TELL_TRANSPORT_ERROR,),
        ),
        (State.CONFIRMED, Input.TIMER_I): _END,
        (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, (Action.SEND_RESPONSE,)),
        (State.ACCEPTED, Input.ACK): (State.ACCEPTED, (Action.PASS_ACK,)),
        (State.ACCEPTED, Input.TRANSPORT_ERROR): (
            State.ACCEPTED,
            (Action.TELL_TRANSPORT_ERROR,),
        ),
        (State.ACCEPTED, Input.TIMER_L): _END,
    }
)

NON_INVITE_SERVER_START: Step = (State.TRYING, ())
NON_INVITE_SERVER: Table = MappingProxyType(
    {
        (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.TRYING, Input.SUCCESS): _SERVER_DONE,
        (State.TRYING, Input.FAILURE): _SERVER_DONE,
        (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, (Action.REPEAT_RESPONSE,)),
        (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.PROCEEDING, Input.SUCCESS): _SERVER_DONE,
        (State.PROCEEDING, Input.FAILURE): _SERVER_DONE,
        (State.PROCEEDING, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (Action.TELL_TRANSPORT_ERROR,),
        ),
        (State.COMPLETED, Input.REQUEST): (State.COMPLETED, (Action.REPEAT_RESPONSE,)),
        (State.COMPLETED, Input.TRANSPORT_ERROR): (
            State.TERMINATED,
            (Action.STOP_TIMER_J, Action.TELL_TRANSPORT_ERROR),
        ),
        (State.COMPLETED, Input.TIMER_J): _END,
    }
)

MACHINES: Mapping[str, tuple[Step, Table]] = MappingProxyType(
    {
        "INVITE client": (INVITE_CLIENT_START, INVITE_CLIENT),
        "non-INVITE client": (NON_INVITE_CLIENT_START, NON_INVITE_CLIENT),
        "INVITE server": (INVITE_SERVER_START, INVITE_SERVER),
        "non-INVITE server": (NON_INVITE_SERVER_START, NON_INVITE_SERVER),
    }
)


def timer_seconds(timer: Input, reliable: bool, t1: float = T1, t4: float = T4) -> float | None:
    """How long a timer first runs (RFC 3261 table 4); None where it is never set.

    Zero means that it fires at once: over a reliable transport nothing lingers.
    """
    match timer:
        case Input.TIMER_A | Input.TIMER_E | Input.TIMER_G:
            return None if reliable else t1
        case Input.TIMER_B | Input.TIMER_F | Input.TIMER_H | Input.TIMER_L | Input.TIMER_M:
            return 64 * t1
        case Input.TIMER_D:
            return 0.0 if reliable else 64 * t1
        case Input.TIMER_J:
            return 0.0 if reliable else 64 * t1
        case Input.TIMER_I | Input.TIMER_K:
            return 0.0 if reliable else t4
        case _:
            raise ValueError(f"{timer} is no timer")


def mermaid(name: str) -> str:
    """The state diagram of one of MACHINES, for the documentation."""
    (first, actions), table = MACHINES[name]
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}{_label('', actions)}"]
    for (state, happened), (following, actions) in table.items():
        lines.append(f"    {state.value} --> {following.value}{_label(happened.value, actions)}")
    if any(following is State.TERMINATED for following, _ in table.values()):
        lines.append(f"    {State.TERMINATED.value} --> [*]")
    return "\n".join(lines) + "\n"


def _label(happened: str, actions: tuple[Action, ...]) -> str:
    done = ", ".join(action.value for action in actions)
    text = " / ".join(part for part in (happened, done) if part)
    return f": {text}" if text else ""
