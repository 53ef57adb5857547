"""Checkers of values and registrations: whole or not at all, not too long, newest, never lost.

They compare what peers answer with the ledger of what was acknowledged; order keys and copies are
the storage's own matter.
"""

from __future__ import annotations

from chordial_node.boundary.control import Get, ValueAnswer
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.checkers import Checker
from chordial_node.simulation.hosts import EPOCH, Host
from chordial_node.simulation.ledger import Attempt, KeyHistory, Ledger
from chordial_node.simulation.operations import Operation

GRACE_SECONDS = 10.0


class ValueChecker(Checker):
    """A checker that compares what a Get gave with the ledger."""

    ledger: Ledger

    def on_operation(self, operation: Operation) -> None:
        """Check a Get that was answered."""
        if isinstance(operation.question, Get) and isinstance(operation.answer, ValueAnswer):
            history = self.ledger.keys.get(operation.question.key)
            if history is not None:
                self.on_get(operation, operation.answer, history)

    def on_get(self, operation: Operation, answer: ValueAnswer, history: KeyHistory) -> None:
        """Look at one answer."""


def _wall(us: int) -> float:
    return EPOCH + us / 1_000_000


_TOLD = "{} answers {} for {}, of which {} is the newest acknowledged"


def _told(host: Host, answer: ValueAnswer, history: KeyHistory) -> tuple[object, ...]:
    value = answer.value if answer.found else None
    return (host.name, value, history.key, history.newest_acknowledged)


class StoreOnce(ValueChecker):
    """A Store takes effect whole or not at all: each value read was stored, none was refused."""

    name = "StoreOnce"

    def on_get(self, operation: Operation, answer: ValueAnswer, history: KeyHistory) -> None:
        """Check that somebody stored exactly this."""
        if answer.found:
            attempt = history.by_value(answer.value)
            is_whole = attempt is not None and attempt.begun_us <= operation.ended_us
            self.check(is_whole, _TOLD, *_told(operation.host, answer, history))


class Expiry(ValueChecker):
    """Nothing is answered ten seconds after its expiry."""

    name = "Expiry"

    def on_get(self, operation: Operation, answer: ValueAnswer, history: KeyHistory) -> None:
        """Check what was read against its end."""
        if answer.found:
            over = _wall(operation.begun_us) - answer.expires_at
            attempt = history.by_value(answer.value)
            if attempt is not None and attempt.expires_at:
                over = _wall(operation.begun_us) - attempt.expires_at
            self.check(
                over <= GRACE_SECONDS,
                "{:.1f} s over: " + _TOLD,
                over,
                *_told(operation.host, answer, history),
            )


class AcknowledgedSeen(ValueChecker):
    """While nobody fails, a Get begun after an acknowledgement gives that value or a later one."""

    name = "AcknowledgedSeen"

    def on_get(self, operation: Operation, answer: ValueAnswer, history: KeyHistory) -> None:
        """Check that nothing older, and not nothing, is answered."""
        if not self.situation.is_calm:
            self.skip("peers fail or move, and the right to answer alone is not part of this core")
            return
        check_seen(self, operation, answer, history)


class NothingLost(ValueChecker):
    """After faults have ended, what was acknowledged is fetched from every peer."""

    name = "NothingLost"

    def on_get(self, operation: Operation, answer: ValueAnswer, history: KeyHistory) -> None:
        """Check a Get of the last look around."""
        if not self.ledger.is_last_look:
            return
        if history.is_exempt:
            self.skip("more than a minority of its copies was out at once, for good")
            return
        check_seen(self, operation, answer, history)


def check_seen(
    checker: Checker, operation: Operation, answer: ValueAnswer, history: KeyHistory
) -> None:
    """Check that an answer is the newest acknowledged value, or one that may have come later."""
    newest = history.acknowledged_before(operation.begun_us)
    if newest is None:
        return
    if not answer.found:
        may_be_gone = _wall(operation.ended_us) >= newest.expires_at - GRACE_SECONDS
        checker.check(
            may_be_gone or history.may_be_removed,
            _TOLD,
            *_told(operation.host, answer, history),
        )
        return
    attempt = history.by_value(answer.value)
    checker.check(
        attempt is not None and _may_be_seen(checker, attempt, newest),
        _TOLD,
        *_told(operation.host, answer, history),
    )


def _may_be_seen(checker: Checker, attempt: Attempt, newest: Attempt) -> bool:
    """Later, or not acknowledged, or as new as the clocks of two owners can tell."""
    if attempt.number >= newest.number or not attempt.is_acknowledged:
        return True
    if checker.situation.is_calm:
        return False
    apart_us = int(2.0 * checker.world.network.faults.clock_offset * MICROSECONDS)
    return attempt.ended_us + apart_us >= newest.begun_us
