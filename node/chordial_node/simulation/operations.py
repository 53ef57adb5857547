"""Operations of the workload: a question to a peer, when it was put, and what came back.

Nothing here asks or judges.
"""

from __future__ import annotations

from chordial_node.boundary.control import Answer, Question
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.hosts import Host


class Operation:
    """One question and its answer."""

    __slots__ = ("answer", "begun_us", "ended_us", "host", "is_overdue", "question")

    def __init__(self, host: Host, question: Question, begun_us: int) -> None:
        self.host = host
        self.question = question
        self.begun_us = begun_us
        self.ended_us = begun_us
        self.answer: Answer | None = None
        """None: the process that was asked ended before, or nothing came in time."""
        self.is_overdue = False

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return (self.ended_us - self.begun_us) / MICROSECONDS
