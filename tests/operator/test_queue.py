"""Whose turn it is: times are plain numbers, the runner is driven by events."""

import asyncio
import itertools
from random import Random

import pytest

from chordial_operator.queue import (
    GONE,
    SETTLED,
    Key,
    Next,
    Schedule,
    WorkQueue,
)

A = Key("Overlay", "calls", "a")
B = Key("Overlay", "calls", "b")


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(Random(1))


def test_many_wakes_are_one_turn(schedule: Schedule) -> None:
    for _ in range(100):
        schedule.wake(A, 1.0)
    assert schedule.take(1.0) == A
    assert schedule.take(1.0) is None


def test_who_is_due_longest_goes_first(schedule: Schedule) -> None:
    schedule.wake(B, 1.0)
    schedule.wake(A, 2.0)
    assert [schedule.take(3.0), schedule.take(3.0)] == [B, A]


def test_a_wake_during_a_turn_is_one_more_turn_and_never_two_at_once(schedule: Schedule) -> None:
    schedule.wake(A, 0.0)
    assert schedule.take(0.0) == A
    schedule.wake(A, 0.1)
    schedule.wake(A, 0.2)
    assert schedule.take(0.3) is None
    schedule.settled(A, 0.4, SETTLED)
    assert schedule.take(0.4) == A
    schedule.settled(A, 0.5, SETTLED)
    assert schedule.take(0.5) is None


def test_what_went_well_is_looked_at_again_after_five_to_six_minutes(schedule: Schedule) -> None:
    dues = []
    for number in range(50):
        key = Key("Overlay", "calls", str(number))
        schedule.wake(key, 0.0)
        assert schedule.take(0.0) == key
        schedule.settled(key, 0.0, SETTLED)
    while (due := schedule.next_due()) is not None:
        dues.append(due)
        assert schedule.take(due) is not None
    assert len(dues) == 50
    assert all(300.0 <= due <= 360.0 for due in dues)
    assert len({round(due, 3) for due in dues}) > 40


def test_failures_double_up_to_a_minute_with_jitter(schedule: Schedule) -> None:
    now, waits = 0.0, []
    schedule.wake(A, now)
    for _ in range(10):
        assert schedule.take(now) == A
        waits.append(schedule.failed(A, now))
        now += waits[-1]
    for number, wait in enumerate(waits):
        wanted = min(60.0, 0.5 * 2**number)
        assert 0.74 * wanted <= wait <= min(60.0, 1.26 * wanted)
    assert schedule.failures(A) == 10


def test_success_ends_the_back_off(schedule: Schedule) -> None:
    schedule.wake(A, 0.0)
    schedule.take(0.0)
    schedule.failed(A, 0.0)
    assert schedule.take(1.0) == A
    schedule.settled(A, 1.0, SETTLED)
    assert schedule.failures(A) == 0


def test_events_wake_a_broken_object_sooner_but_not_in_a_tight_circle(schedule: Schedule) -> None:
    now = 0.0
    schedule.wake(A, now)
    for _ in range(8):
        now = schedule.next_due() or now
        assert schedule.take(now) == A
        schedule.failed(A, now)
    schedule.wake(A, now)
    assert schedule.take(now + 0.4) is None
    assert schedule.take(now + 0.5) == A


def test_a_turn_can_ask_for_the_next(schedule: Schedule) -> None:
    schedule.wake(A, 0.0)
    schedule.take(0.0)
    schedule.settled(A, 0.0, Next(after=2.0))
    assert schedule.next_due() == 2.0


def test_the_gone_are_forgotten_unless_they_came_back(schedule: Schedule) -> None:
    schedule.wake(A, 0.0)
    schedule.take(0.0)
    schedule.settled(A, 0.0, GONE)
    assert len(schedule) == 0
    schedule.wake(A, 1.0)
    schedule.take(1.0)
    schedule.wake(A, 1.0)
    schedule.settled(A, 1.0, GONE)
    assert schedule.take(1.0) == A


def test_age_and_depth_are_told(schedule: Schedule) -> None:
    schedule.wake(A, 1.0)
    schedule.wake(B, 2.0)
    assert schedule.depth(3.0) == 2
    assert schedule.oldest(3.0) == 2.0
    schedule.take(3.0)
    assert schedule.depth(3.0) == 1
    assert schedule.oldest(3.0) == 1.0


def test_the_schedule_is_bounded() -> None:
    schedule = Schedule(Random(1), most_keys=1)
    assert schedule.wake(A, 0.0)
    assert not schedule.wake(B, 0.0)
    assert schedule.wake(A, 0.0)


async def _until(queue: WorkQueue, done: asyncio.Event) -> None:
    task = asyncio.create_task(queue.run())
    try:
        async with asyncio.timeout(10):
            await done.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_runs_at_most_so_many_turns_at_once_and_all_of_them() -> None:
    async def run() -> tuple[int, int]:
        active = most = 0
        seen: dict[Key, int] = {}
        done = asyncio.Event()

        async def turn(key: Key) -> Next:
            nonlocal active, most
            active += 1
            most = max(most, active)
            await asyncio.sleep(0)
            active -= 1
            seen[key] = seen.get(key, 0) + 1
            if len(seen) == 40:
                done.set()
            return SETTLED

        queue = WorkQueue(turn, Random(1), asyncio.get_running_loop().time, workers=4)
        for number in range(40):
            queue.wake(Key("RelaySet", "calls", str(number)))
        await _until(queue, done)
        return most, max(seen.values())

    assert asyncio.run(run()) == (4, 1)


def test_a_failed_turn_is_counted_and_tried_again() -> None:
    async def run() -> WorkQueue:
        done = asyncio.Event()
        calls = itertools.count()
        now = itertools.count(step=10)  # a clock that is always past every back-off

        async def turn(key: Key) -> Next:
            if next(calls) < 2:
                raise RuntimeError("no luck")
            done.set()
            return SETTLED

        queue = WorkQueue(turn, Random(1), lambda: float(next(now)))
        queue.wake(A)
        await _until(queue, done)
        return queue

    queue = asyncio.run(run())
    assert (queue.counters.turns, queue.counters.errors) == (3, 2)


def test_a_turn_that_hangs_is_ended_and_counted() -> None:
    async def run() -> WorkQueue:
        done = asyncio.Event()
        calls = itertools.count()
        now = itertools.count(step=10)

        async def turn(key: Key) -> Next:
            if next(calls) == 0:
                await asyncio.Event().wait()
            done.set()
            return SETTLED

        queue = WorkQueue(turn, Random(1), lambda: float(next(now)), turn_seconds=0.01)
        queue.wake(A)
        await _until(queue, done)
        return queue

    assert asyncio.run(run()).counters.errors == 1


def test_thousands_of_users_do_not_keep_a_set_waiting(schedule: Schedule) -> None:
    users = [Key("SipUser", "calls", f"u{number}") for number in range(5)]
    for user in users:
        schedule.wake(user, 0.0)
    schedule.wake(A, 1.0)
    schedule.wake(B, 9.0)
    assert schedule.take(2.0) == A
    assert schedule.take(2.0, patient=False) is None
    assert schedule.next_due(patient=False) == 9.0
    assert [schedule.take(2.0) for _ in users] == users
    assert schedule.next_due() == 9.0


def test_users_leave_half_of_the_workers_free() -> None:
    async def run() -> list[Key]:
        began: list[Key] = []
        release, full, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def turn(key: Key) -> Next:
            began.append(key)
            (done if key == A else full).set()
            await release.wait()
            return SETTLED

        queue = WorkQueue(turn, Random(1), lambda: 0.0, workers=4)
        for number in range(9):
            queue.wake(Key("SipUser", "calls", f"u{number}"))
        running = asyncio.create_task(queue.run())
        await full.wait()
        queue.wake(A)
        await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return began

    began = asyncio.run(run())
    assert began[-1] == A
    assert len(began) == 3
