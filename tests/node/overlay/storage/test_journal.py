"""The journal: order, group commits, and a disk that refuses (protocol.md §7)."""

from random import Random

import pytest

from chordial_node.boundary.effects import Effect, Persist
from chordial_node.boundary.events import Persisted, PersistFailed
from chordial_node.boundary.notices import DiskFailed, DiskRecovered
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.storage.journal import PROBE_SECONDS, Journal


class Disk:
    """A journal and what it asked of the world."""

    def __init__(self) -> None:
        self.kernel = Kernel(Random(1))
        self.kernel.begin(0.0)
        self.journal = Journal(self.kernel)
        self.outcomes: list[str] = []

    def write(self, name: str) -> None:
        self.wait(name, self.journal.write([(name.encode(), b"1")]))

    def wait(self, name: str, reply: Reply[None]) -> None:
        async def run() -> None:
            try:
                await reply
                self.outcomes.append(name)
            except OverlayError as error:
                self.outcomes.append(f"{name} {error.code.name}")

        self.kernel.start(run())
        self.kernel.procedures.run()

    def succeed(self, sequence: int) -> None:
        self.journal.on_persisted(Persisted(sequence))
        self.kernel.procedures.run()

    def fail(self, sequence: int) -> None:
        self.journal.on_persist_failed(PersistFailed(sequence, "disk full"))
        self.kernel.procedures.run()

    def effects(self) -> list[Effect]:
        return self.kernel.take()

    def persists(self) -> list[Persist]:
        return [effect for effect in self.effects() if isinstance(effect, Persist)]


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_one_report_answers_a_whole_group(disk: Disk) -> None:
    for name in ("a", "b", "c"):
        disk.write(name)
    assert [effect.sequence for effect in disk.persists()] == [1, 2, 3]
    disk.succeed(2)
    assert disk.outcomes == ["a", "b"]
    disk.succeed(3)
    assert disk.outcomes == ["a", "b", "c"]


def test_settled_waits_for_all_that_was_written_before(disk: Disk) -> None:
    disk.wait("nothing", disk.journal.settled())
    disk.journal.remember(b"ring/incarnation", b"4")
    disk.wait("settled", disk.journal.settled())
    assert disk.outcomes == ["nothing"]
    disk.succeed(1)
    assert disk.outcomes == ["nothing", "settled"]


def test_a_failure_fails_those_who_wait_and_refuses_what_comes(disk: Disk) -> None:
    disk.write("a")
    disk.write("b")
    disk.fail(2)
    disk.write("c")
    assert disk.outcomes == [f"{name} STORE_UNAVAILABLE" for name in "abc"]
    assert disk.journal.is_failing
    told = [effect for effect in disk.effects() if isinstance(effect, DiskFailed)]
    assert told == [DiskFailed(reason="disk full")]


def test_what_is_owed_is_offered_again_until_the_disk_takes_it(disk: Disk) -> None:
    disk.write("a")
    disk.write("b")
    disk.fail(1)
    disk.succeed(2)
    assert disk.journal.is_failing
    disk.effects()
    disk.kernel.begin(PROBE_SECONDS)
    disk.journal.remember(b"a", b"2")
    (probe,) = disk.persists()
    assert probe.records == ((b"a", b"1"),)
    disk.succeed(probe.sequence)
    assert disk.journal.is_failing, "the newer value of a is still owed"
    disk.kernel.begin(2 * PROBE_SECONDS)
    (probe,) = disk.persists()
    assert probe.records == ((b"a", b"2"),)
    disk.succeed(probe.sequence)
    assert DiskRecovered() in disk.effects()
    assert not disk.journal.is_failing
    disk.write("d")
    disk.succeed(probe.sequence + 1)
    assert disk.outcomes[-1] == "d"


def test_many_failures_make_one_probe(disk: Disk) -> None:
    for name in "abcdef":
        disk.write(name)
    for sequence in range(1, 7):
        disk.fail(sequence)
    disk.effects()
    for second in range(1, 4):
        disk.kernel.begin(second * PROBE_SECONDS)
        (probe,) = disk.persists()
        assert len(probe.records) == 6
        disk.fail(probe.sequence)


def test_a_refusal_says_when_to_come_back(disk: Disk) -> None:
    disk.write("a")
    disk.fail(1)
    reply = disk.journal.write([(b"k", b"v")])
    errors: list[OverlayError] = []

    async def run() -> None:
        try:
            await reply
        except OverlayError as error:
            errors.append(error)

    disk.kernel.start(run())
    disk.kernel.procedures.run()
    assert errors[0].code is ErrorCode.STORE_UNAVAILABLE
    assert errors[0].retry_after > 0
