"""The kernel: time-outs, pauses, wall time, faults and spans."""

import random

from chordial_node.boundary.notices import ProcedureFaulted, SpanEnded
from chordial_node.kernel.kernel import BEAT_SECONDS, Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.tracing import UNSAMPLED, Trace, parse_traceparent


def make(sampling_ratio: float = 0.0) -> Kernel:
    kernel = Kernel(random.Random(1), sampling_ratio)
    kernel.begin(10.0)
    return kernel


def test_a_reply_fails_when_its_time_is_over() -> None:
    kernel, story = make(), list[str]()

    async def waits() -> None:
        reply: Reply[int] = kernel.reply(2.0)
        try:
            await reply
        except TimedOutError:
            story.append(f"timed out at {kernel.now}")

    kernel.start(waits())
    assert kernel.deadline() == 12.0
    kernel.begin(12.0)
    assert story == ["timed out at 12.0"]
    assert kernel.deadline() is None


def test_an_answered_reply_leaves_no_timer_behind() -> None:
    kernel = make()
    reply: Reply[int] = kernel.reply(2.0)
    reply.resolve(1)
    assert kernel.deadline() is None


def test_a_pause_ends_in_a_later_turn() -> None:
    kernel, story = make(), list[str]()

    async def bulk() -> None:
        for part in "ab":
            story.append(part)
            await kernel.pause()

    kernel.start(bulk())
    kernel.begin(10.0)
    assert story == ["a"]
    kernel.begin(10.1)
    assert story == ["a", "b"]


def test_what_is_done_every_second_or_so_shares_its_turns() -> None:
    kernel, story = make(), list[str]()
    first = kernel.at_beat(1.0, lambda: story.append("sweep"))
    kernel.begin(10.1)
    second = kernel.at_beat(first.due - 10.1 + 0.1, lambda: story.append("watch"))
    assert first.due == second.due
    assert abs(first.due - 11.0) <= BEAT_SECONDS / 2
    kernel.begin(first.due)
    assert story == ["sweep", "watch"]


def test_a_beat_is_never_now() -> None:
    kernel = make()
    first = kernel.at_beat(0.0, lambda: None).due
    kernel.begin(first)
    assert kernel.at_beat(0.0, lambda: None).due == first + BEAT_SECONDS


def test_wall_time_is_the_monotonic_clock_and_the_offset() -> None:
    kernel = make()
    kernel.set_wall_offset(1000.0)
    kernel.begin(10.5)
    assert (kernel.wall, kernel.wall_ms) == (1010.5, 1_010_500)


def test_a_fault_of_our_own_is_told_with_its_place() -> None:
    kernel = make()

    async def faults() -> None:
        raise RuntimeError("ours")

    kernel.start(faults())
    (notice,) = kernel.take()
    assert isinstance(notice, ProcedureFaulted)
    assert notice.error == "RuntimeError: ours"
    assert "faults" in notice.where
    assert kernel.counters.procedure_faults == 1


def test_an_unsampled_span_is_one_shared_object_that_tells_nothing() -> None:
    kernel = make()
    assert kernel.span("hop", None) is UNSAMPLED
    assert kernel.root_span("call") is UNSAMPLED
    UNSAMPLED.end(11.0, rule="table")
    assert kernel.take() == []


def test_a_span_is_told_once_at_its_end_below_its_parent() -> None:
    kernel = make(sampling_ratio=1.0)
    root = kernel.root_span("call", "server")
    hop = kernel.span("hop", root.trace, "client")
    hop.end(11.0, rule="table")
    hop.end(12.0, rule="other")
    root.end(13.0, "refused")
    first, second = kernel.take()
    assert isinstance(first, SpanEnded)
    assert isinstance(second, SpanEnded)
    assert first.trace_id == second.trace_id
    assert first.parent_id == second.span_id
    assert (first.started, first.ended, first.attributes) == (10.0, 11.0, {"rule": "table"})
    assert (second.error, second.parent_id) == ("refused", bytes(8))


def test_traceparent_comes_back_as_it_went() -> None:
    trace = Trace(bytes(range(16)), bytes(range(8)))
    assert parse_traceparent(trace.traceparent) == trace


def test_unsampled_and_malformed_traceparents_are_none() -> None:
    good = Trace(bytes(range(16)), bytes(range(8))).traceparent
    for bad in (
        good[:-2] + b"00",
        b"",
        b"00-zz",
        good.replace(b"0001", b"00-1"),
        b"00-" + b"0" * 60,
    ):
        assert parse_traceparent(bad) is None
