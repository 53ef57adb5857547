"""k of n against the dumb model: count to the end, then judge."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.storage.quorum import Quorum


def outcome_of(votes: list[bool], needed: int, timeout: float | None = None) -> tuple[str, int]:
    kernel = Kernel(Random(1))
    kernel.begin(0.0)
    quorum = Quorum(kernel, needed, len(votes) if timeout is None else len(votes) + 1, timeout)
    ended: list[str] = []

    async def run() -> None:
        try:
            await quorum.reached
            ended.append("reached")
        except TimedOutError:
            ended.append("late")
        except OverlayError:
            ended.append("failed")

    kernel.start(run())
    used = 0
    for vote in votes:
        kernel.procedures.run()
        if ended:
            break
        (quorum.succeed if vote else quorum.fail)()
        used += 1
    kernel.procedures.run()
    if not ended:
        kernel.begin(10.0)
        kernel.procedures.run()
    return ended[0], used


@given(st.lists(st.booleans(), max_size=7), st.integers(0, 7))
def test_a_quorum_is_reached_as_soon_as_it_can_be(votes: list[bool], needed: int) -> None:
    ended, used = outcome_of(votes, needed)
    assert ended == ("reached" if sum(votes) >= needed else "failed")
    if ended == "reached":
        assert sum(votes[:used]) == needed
    else:
        assert len(votes) - votes[:used].count(False) < needed


def test_what_nobody_decides_ends_in_time() -> None:
    assert outcome_of([True, False], 2, timeout=4.0) == ("late", 2)
