"""What client and server transactions have in common: a table that is run, and its timers.

RFC 3261 §17. What happens next stands in `machines.py`, what an action means to one side in
`client_transaction.py` and `server_transaction.py`. Matching messages is not done here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.sip.flow import Flow
from chordial_node.sip.machines import T2, Action, Input, State, Step, Table, timer_seconds

_REPEATING = (Input.TIMER_A, Input.TIMER_E, Input.TIMER_G)
_LETTERS = "ABDEFGHIJKLM"
_STARTS = {
    Action[f"START_TIMER_{letter}"]: Input[f"TIMER_{letter}"]
    for letter in _LETTERS
    if f"START_TIMER_{letter}" in Action.__members__
}
_STOPS_REPETITION = {
    Action.STOP_TIMER_A: True,
    Action.STOP_TIMER_E: True,
    Action.STOP_TIMER_G: True,
    Action.STOP_TIMER_B: False,
    Action.STOP_TIMER_F: False,
    Action.STOP_TIMER_H: False,
}
_REPEATS = {
    Action.REPEAT_TIMER_A: Input.TIMER_A,
    Action.REPEAT_TIMER_E: Input.TIMER_E,
    Action.SLOW_TIMER_E: Input.TIMER_E,
    Action.REPEAT_TIMER_G: Input.TIMER_G,
}
_TO_THE_USER = (
    Action.PASS_RESPONSE,
    Action.PASS_ACK,
    Action.TELL_TIMEOUT,
    Action.TELL_TRANSPORT_ERROR,
)


class Transaction(ABC):
    """One run of one of the four machines."""

    __slots__ = (
        "_kernel",
        "_limit",
        "_period",
        "_repetition",
        "_t1",
        "_table",
        "flow",
        "method",
        "state",
        "status",
    )

    def __init__(self, kernel: Kernel, table: Table, method: bytes, flow: Flow, t1: float) -> None:
        """Hold the flow that a request came or goes by; nothing happens yet."""
        self.flow = flow
        self.method = method
        self.status = 0
        """Of the last response, 0 before the first."""
        self.state = State.TERMINATED
        self._kernel = kernel
        self._table = table
        self._t1 = t1
        self._period = 0.0
        self._repetition: Timer | None = None
        """Timer A, E or G: at most one of them runs."""
        self._limit: Timer | None = None
        """The timer that ends a state: at most one of them runs."""

    @property
    def is_terminated(self) -> bool:
        """Whether the transaction is over and forgotten."""
        return self.state is State.TERMINATED

    def feed(self, happened: Input) -> None:
        """Let something happen; what the table does not name changes nothing."""
        step = self._table.get((self.state, happened))
        if step is not None:
            self._take(step)

    def _take(self, step: Step) -> None:
        """Go to the next state and act; the user is called last, when all else is done."""
        self.state, actions = step
        told: Action | None = None
        for action in actions:
            if action in _STARTS:
                self._start(_STARTS[action])
            elif action in _STOPS_REPETITION:
                self._stop(_STOPS_REPETITION[action])
            elif action in _REPEATS:
                self._repeat(action)
            elif action in _TO_THE_USER:
                told = action
            else:
                self._act(action)
        if self.state is State.TERMINATED:
            self._end()
        if told is not None:
            self._tell(told)

    @abstractmethod
    def _act(self, action: Action) -> None:
        """Send something."""

    @abstractmethod
    def _tell(self, action: Action) -> None:
        """Call the user, as the last thing that is done."""

    @abstractmethod
    def _forgotten(self) -> None:
        """Leave the tables in which the transaction is found."""

    def _end(self) -> None:
        """Stop every timer and leave the tables."""
        self.state = State.TERMINATED
        self._stop(True)
        self._stop(False)
        self._forgotten()

    def _start(self, timer: Input) -> None:
        seconds = timer_seconds(timer, self.flow.is_reliable, self._t1)
        if seconds is None:
            return
        if seconds == 0.0:  # over a reliable transport nothing lingers
            self.state, actions = self._table[self.state, timer]
            assert not actions
            return
        armed = self._kernel.after(seconds, partial(self.feed, timer))
        if timer in _REPEATING:
            self._period = seconds
            self._repetition = armed
        else:
            self._limit = armed

    def _repeat(self, action: Action) -> None:
        """Arm timer A, E or G again: twice as long, but for A never longer than T2."""
        self._period *= 2
        if action is Action.SLOW_TIMER_E:
            self._period = T2
        elif action is not Action.REPEAT_TIMER_A:
            self._period = min(self._period, T2)
        self._repetition = self._kernel.after(self._period, partial(self.feed, _REPEATS[action]))

    def _stop(self, repetition: bool) -> None:
        if repetition:
            if self._repetition is not None:
                self._repetition.cancel()
                self._repetition = None
        elif self._limit is not None:
            self._limit.cancel()
            self._limit = None
