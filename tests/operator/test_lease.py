"""One of several operators reconciles; the clock is moved by sleeping alone."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chordial_operator.cluster.errors import UnreachableError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.lease import Lease, LeaseLostError
from tests.operator.memory_cluster import MemoryCluster

REF = Ref("Lease", "chordial", "chordial-operator")


class Clock:
    """A clock that only sleeping moves; what is due happens while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)
        if self.meanwhile:
            await self.meanwhile.pop(0)()


def lease_of(cluster: MemoryCluster, clock: Clock, holder: str) -> Lease:
    return Lease(
        cluster,
        name=REF.name,
        namespace=REF.namespace,
        holder=holder,
        clock=clock,
        wall=clock,
        sleep=clock.sleep,
    )


def holder(cluster: MemoryCluster) -> object:
    return cluster.objects[REF]["spec"]["holderIdentity"]


def test_the_first_takes_it_at_once() -> None:
    cluster, clock = MemoryCluster(), Clock()
    first = lease_of(cluster, clock, "a")
    asyncio.run(first.acquire())
    assert first.is_held
    assert clock.now == 0.0
    assert holder(cluster) == "a"


def test_the_second_takes_it_fifteen_seconds_after_the_firsts_last_word() -> None:
    cluster, clock = MemoryCluster(), Clock()

    async def run() -> None:
        await lease_of(cluster, clock, "a").acquire()
        await lease_of(cluster, clock, "b").acquire()

    asyncio.run(run())
    assert holder(cluster) == "b"
    assert 15.0 <= clock.now <= 18.0
    assert cluster.objects[REF]["spec"]["leaseTransitions"] == 1


def test_what_was_given_back_is_taken_after_a_moment() -> None:
    cluster, clock = MemoryCluster(), Clock()

    async def run() -> None:
        first = lease_of(cluster, clock, "a")
        await first.acquire()
        await first.release()
        await lease_of(cluster, clock, "b").acquire()

    asyncio.run(run())
    assert clock.now <= 2.0


def test_who_finds_another_in_it_has_lost_it() -> None:
    cluster, clock = MemoryCluster(), Clock()

    async def steal() -> None:
        stolen = cluster.objects[REF]
        cluster.put({**stolen, "spec": {**stolen["spec"], "holderIdentity": "b"}})

    async def run() -> None:
        first = lease_of(cluster, clock, "a")
        await first.acquire()
        clock.meanwhile.append(steal)
        with pytest.raises(LeaseLostError, match="another operator"):
            await first.keep()
        assert not first.is_held

    asyncio.run(run())


def test_who_cannot_renew_it_for_ten_seconds_has_lost_it() -> None:
    cluster, clock = MemoryCluster(), Clock()

    async def run() -> None:
        first = lease_of(cluster, clock, "a")
        await first.acquire()
        cluster.refuses["get Lease"] = UnreachableError("no answer")
        with pytest.raises(LeaseLostError, match="not renewed"):
            await first.keep()

    asyncio.run(run())
    assert 10.0 <= clock.now <= 12.0


def test_after_no_answer_it_is_renewed_soon() -> None:
    cluster, clock = MemoryCluster(), Clock()

    async def refuse() -> None:
        cluster.refuses["get Lease"] = UnreachableError("no answer")

    async def allow() -> None:
        cluster.refuses.clear()

    async def give_to_another() -> None:
        held = cluster.objects[REF]
        cluster.put({**held, "spec": {**held["spec"], "holderIdentity": "b"}})

    async def run() -> None:
        first = lease_of(cluster, clock, "a")
        await first.acquire()
        clock.meanwhile = [refuse, refuse, allow, give_to_another]
        with pytest.raises(LeaseLostError, match="another operator"):
            await first.keep()

    asyncio.run(run())
    assert clock.now == 5.0 + 2.0 + 2.0 + 5.0
