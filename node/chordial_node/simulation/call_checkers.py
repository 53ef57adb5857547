"""Checkers of phones: registrations are the newest ones, the right phone rings, calm calls succeed.

They compare what peers and phones say with the book of what each phone was told.
"""

from __future__ import annotations

from chordial_node.boundary.control import AskTrace, TraceAnswer
from chordial_node.simulation.calling import Line, People
from chordial_node.simulation.checkers import Checker
from chordial_node.simulation.operations import Operation
from chordial_node.simulation.phones import Outcome, Phone
from chordial_node.simulation.sip_text import Sip


class CallChecker(Checker):
    """A checker that knows the phones."""

    people: People

    def watch(self, people: People) -> None:
        """Begin to look at the phones of a run."""
        self.people = people
        people.on_call.append(self.on_call)

    def on_call(self, one: Line, other: Line, outcome: Outcome) -> None:
        """See how a call, or a message, from one to another was answered."""


class NewestRegistration(CallChecker):
    """After faults every peer gives the newest acknowledged binding of a phone, or a later one."""

    name = "NewestRegistration"

    def on_operation(self, operation: Operation) -> None:
        """Check what the last look around says about a phone."""
        question, answer = operation.question, operation.answer
        if not isinstance(question, AskTrace):
            return
        line = next(line for line in self.people.lines if line.phone.aor == question.target)
        if not line.acknowledged:
            self.skip("the phone was never registered")
            return
        has_expired = line.expires_us <= operation.ended_us
        contacts = answer.contacts if isinstance(answer, TraceAnswer) else ()
        numbers = [int(each.contact.rpartition(";n=")[2]) for each in contacts]
        is_newest = len(numbers) == 1 and numbers[0] >= line.acknowledged
        self.check(
            is_newest or (has_expired and not numbers),
            "{}: {} has n = {}, acknowledged was {}, asked for {}: {}",
            operation.host.name,
            line.phone.user,
            numbers,
            line.acknowledged,
            line.asked,
            answer if not isinstance(answer, TraceAnswer) else answer.hops[-1:],
        )


class RightPhone(CallChecker):
    """No request is delivered to another phone than the one that it is for."""

    name = "RightPhone"

    def watch(self, people: People) -> None:
        """Listen at every phone."""
        super().watch(people)
        for line in people.lines:
            line.phone.heard = self._heard

    def _heard(self, phone: Phone, request: Sip) -> None:
        is_right = f"sip:{phone.user}@" in request.get("To")
        to = request.get("To")
        self.check(is_right, "{} gets {} for {}", phone.user, request.method, to)


class CalmCall(CallChecker):
    """In a run that is calm, or where peers but drain, every call and every message succeeds."""

    name = "CalmCall"

    def on_call(self, one: Line, other: Line, outcome: Outcome) -> None:
        """Check the final answer."""
        if not self.situation.is_calm and not self.situation.only_drains:
            self.skip("the run is not calm")
            return
        self.check(
            200 <= outcome.status < 300,
            "{} reaches {} with {} after {:.3f} s",
            one.phone.user,
            other.phone.user,
            outcome.status,
            outcome.seconds,
        )
