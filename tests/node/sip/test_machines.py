"""The tables as tables: closed, timed, drawn."""

import pytest

from chordial_node.sip.machines import (
    MACHINES,
    Action,
    Input,
    State,
    Step,
    Table,
    mermaid,
    timer_seconds,
)

TIMERS = [each for each in Input if each.name.startswith("TIMER_")]


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_is_reached_and_left_for_the_end(name: str) -> None:
    (first, _), table = MACHINES[name]
    reached = [first]
    for state in reached:
        for (origin, _), (following, _) in table.items():
            if origin is state and following not in reached:
                reached.append(following)
    assert State.TERMINATED in reached
    assert {origin for origin, _ in table} == {s for s in reached if s is not State.TERMINATED}


def running(name: str) -> list[tuple[State, frozenset[str]]]:
    """Every state with every set of timers that may run in it."""
    (first, actions), table = MACHINES[name]
    found = [(first, after(frozenset(), actions))]
    for state, timers in found:
        for happened, (following, done) in options(table, state, timers):
            timer = frozenset({happened.name}) if happened in TIMERS else frozenset[str]()
            step = (following, after(timers - timer, done))
            if step not in found:
                found.append(step)
    return found


def options(table: Table, state: State, timers: frozenset[str]) -> list[tuple[Input, Step]]:
    return [
        (happened, step)
        for (origin, happened), step in table.items()
        if origin is state and (happened not in TIMERS or happened.name in timers)
    ]


def after(timers: frozenset[str], actions: tuple[Action, ...]) -> frozenset[str]:
    for action in actions:
        verb, _, timer = action.name.partition("_")
        if timer.startswith("TIMER_"):
            timers = timers - {timer} if verb == "STOP" else timers | {timer}
    return timers


@pytest.mark.parametrize("name", MACHINES)
def test_every_timer_that_runs_has_a_meaning_and_none_outlives_its_transaction(name: str) -> None:
    _, table = MACHINES[name]
    for state, timers in running(name):
        if state is State.TERMINATED:
            assert not timers
        for timer in timers:
            assert (state, Input[timer]) in table


@pytest.mark.parametrize("name", MACHINES)
def test_no_state_waits_for_ever(name: str) -> None:
    for state, timers in running(name):
        user_decides = state is State.PROCEEDING or (name.endswith("server") and not timers)
        assert state is State.TERMINATED or timers or user_decides


@pytest.mark.parametrize("timer", TIMERS)
def test_every_timer_has_a_length(timer: Input) -> None:
    assert timer_seconds(timer, reliable=False) is not None
    over_stream = timer_seconds(timer, reliable=True)
    assert over_stream is None or over_stream in (0.0, 32.0)


def test_what_is_no_timer_has_no_length() -> None:
    with pytest.raises(ValueError, match="no timer"):
        timer_seconds(Input.ACK, reliable=False)


@pytest.mark.parametrize("name", MACHINES)
def test_the_diagram_shows_every_step(name: str) -> None:
    drawn = mermaid(name)
    assert drawn.startswith("stateDiagram-v2\n    [*] --> ")
    assert drawn.count("-->") == len(MACHINES[name][1]) + 2
