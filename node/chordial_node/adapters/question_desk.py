"""Numbers the questions that reach this process and holds the askers until the core answers.

The control service, the probes and the metrics page all ask through it, so that the core sees one
stream of `Asked` and owes one `Answered` each. How a question came is not known here.
"""

import asyncio
from collections.abc import Callable

from chordial_node.boundary.control import Answer, Question, Refused
from chordial_node.boundary.effects import Answered
from chordial_node.boundary.events import Asked, Event

MOST_OPEN = 1_024
"""Questions that wait at one time; more are refused as busy."""


class QuestionDesk:
    """Asks the core, and hands each answer to whoever waits for it."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._last = 0
        self._closed: Refused | None = None

    async def ask(self, question: Question) -> Answer:
        """Ask the core; the answer is Refused when the peer stops or is too busy."""
        if self._closed is not None:
            return self._closed
        if len(self._open) >= MOST_OPEN:
            return Refused("busy", f"{MOST_OPEN} questions are open: ask again soon", 1.0)
        self._last += 1
        call = self._last
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[call] = answer
        try:
            self._tell(Asked(call, question))
            return await answer
        finally:
            self._open.pop(call, None)

    def answered(self, effect: Answered) -> None:
        """Perform `Answered`; an asker that has gone away is no longer told."""
        answer = self._open.get(effect.call)
        if answer is not None and not answer.done():
            answer.set_result(effect.answer)

    def close(self) -> None:
        """Refuse all that waits and all that is yet to come: the peer has stopped."""
        self._closed = Refused("stopped", "this peer has stopped: ask another one")
        for answer in self._open.values():
            if not answer.done():
                answer.set_result(self._closed)
