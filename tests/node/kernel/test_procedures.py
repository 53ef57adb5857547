"""Procedures: when they go on, and what ends them."""

import pytest

from chordial_node.kernel.procedures import Procedures, Reply


class Rig:
    def __init__(self) -> None:
        self.faults: list[tuple[str, Exception]] = []
        self.procedures = Procedures(lambda name, error: self.faults.append((name, error)))
        self.story: list[str] = []

    def reply(self) -> Reply[int]:
        return Reply(self.procedures)

    async def adds(self, first: Reply[int], second: Reply[int]) -> None:
        self.story.append("started")
        self.story.append(str(await first + await second))


def test_a_procedure_runs_to_its_first_unanswered_await_at_once() -> None:
    rig = Rig()
    rig.procedures.start(rig.adds(rig.reply(), rig.reply()))
    assert (rig.story, len(rig.procedures)) == (["started"], 1)


def test_it_resumes_only_when_the_part_that_answered_has_returned() -> None:
    rig = Rig()
    first, second = rig.reply(), rig.reply()
    rig.procedures.start(rig.adds(first, second))
    first.resolve(2)
    second.resolve(3)
    assert rig.story == ["started"]
    rig.procedures.run()
    assert (rig.story, len(rig.procedures)) == (["started", "5"], 0)


def test_a_failed_reply_raises_in_the_procedure() -> None:
    rig = Rig()
    reply = rig.reply()

    async def catches() -> None:
        with pytest.raises(KeyError):
            await reply
        rig.story.append("caught")

    rig.procedures.start(catches())
    reply.fail(KeyError("gone"))
    rig.procedures.run()
    assert rig.story == ["caught"]


def test_only_the_first_answer_counts() -> None:
    rig = Rig()
    first, second = rig.reply(), rig.reply()
    rig.procedures.start(rig.adds(first, second))
    first.resolve(1)
    first.resolve(10)
    first.fail(ValueError())
    second.resolve(1)
    rig.procedures.run()
    assert rig.story == ["started", "2"]


def test_a_fault_ends_that_procedure_alone_and_is_told() -> None:
    rig = Rig()
    first, second = rig.reply(), rig.reply()

    async def faults() -> None:
        await first
        raise RuntimeError("ours")

    rig.procedures.start(faults())
    rig.procedures.start(rig.adds(second, second))
    first.resolve(0)
    second.resolve(4)
    rig.procedures.run()
    assert [str(error) for _, error in rig.faults] == ["ours"]
    assert rig.story == ["started", "8"]
    assert len(rig.procedures) == 0
