"""The observer against a real node in this process, over mutual TLS on loopback."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest

from chordial_node.boundary.control import (
    Done,
    ListUsers,
    Refused,
    RemoveUser,
    UsersAnswer,
)
from chordial_node.client import PeerUnreachableError
from chordial_node.node import Node
from chordial_node.security.certificates import Role, TlsCredentials
from chordial_operator.peers import PeerObserver, PeerPlace
from tests.node.adapters.overlay_rig import NODES, Issuer, on_a_loop
from tests.node.test_node import Place


class Rig:
    """An observer of one overlay, and what it woke."""

    def __init__(self, place: Place) -> None:
        self.operator = place.issuer.user(Role.OPERATOR).credentials
        self.here = PeerPlace(
            "seeds-0", "seeds", "uid-1", place.config.overlay.bind.address, NODES[0]
        )
        self.places: list[PeerPlace] = [self.here]
        self.now = 1000.0
        self.fetched = 0
        self.woken: list[tuple[str, ...]] = []
        self._changed = asyncio.Event()
        self.observer = PeerObserver(
            lambda: self.places,
            self._credentials,
            self._wake,
            clock=lambda: self.now,
            random=Random(1),
            period=0.05,
        )

    async def _credentials(self) -> TlsCredentials:
        self.fetched += 1
        return self.operator

    def _wake(self, sets: tuple[str, ...]) -> None:
        self.woken.append(sets)
        self._changed.set()

    async def wake(self) -> None:
        """Return at the next wake, or at one that was not yet returned for."""
        await self._changed.wait()
        self._changed.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.observer.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[Node]:
    node = Node(place.config, io.StringIO())
    await node.start()
    try:
        yield node
    finally:
        node.stop(leave=False)
        await node.wait()
        await node.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@on_a_loop
async def test_what_a_peer_says_is_kept_and_wakes_its_set(place: Place) -> None:
    rig = Rig(place)
    async with running(place), rig.running():
        while not (said := rig.observer.reports.get("seeds-0")) or not said.is_ready:
            await rig.wake()
        assert (said.at, said.state, said.in_step) == (1000.0, "ready", True)
        assert said.members_alive == (NODES[0],)
        assert said.version
        assert said.membership_digest
        assert set(rig.woken) == {("seeds",)}
        assert rig.observer.counters.polls >= 1


@on_a_loop
async def test_a_peer_that_stops_is_believed_for_a_while_then_forgotten(place: Place) -> None:
    rig = Rig(place)
    async with AsyncExitStack() as life:
        await life.enter_async_context(running(place))
        async with rig.running():
            while "seeds-0" not in rig.observer.reports:
                await rig.wake()
            await life.aclose()
            while not rig.observer.counters.silent:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
            assert "seeds-0" in rig.observer.reports
            rig.now += 61.0
            while "seeds-0" in rig.observer.reports:
                await rig.wake()


@on_a_loop
async def test_questions_reach_a_peer_and_answers_come_back(place: Place) -> None:
    rig = Rig(place)
    async with running(place), rig.running():
        while not (said := rig.observer.reports.get("seeds-0")) or not said.is_ready:
            await rig.wake()
        answer = await rig.observer.ask("seeds-0", ListUsers())
        assert answer == UsersAnswer(users=())
        gone = await rig.observer.ask("seeds-0", RemoveUser("nobody", "chordial.test"))
        assert isinstance(gone, Done | Refused)


@on_a_loop
async def test_who_cannot_be_reached_is_one_error_whatever_the_cause(
    place: Place, tmp_path: Path
) -> None:
    rig = Rig(place)
    other = msgspec.structs.replace(rig.here, name="seeds-1", node_id=NODES[1])
    rig.places = [rig.here, other]
    with pytest.raises(PeerUnreachableError, match="seeds-9 has no pod"):
        await rig.observer.ask("seeds-9", ListUsers())
    with pytest.raises(PeerUnreachableError):
        await rig.observer.ask("seeds-0", ListUsers(), 1.0)  # nobody listens yet
    async with running(place):
        with pytest.raises(PeerUnreachableError, match="certificate"):
            await rig.observer.ask("seeds-1", ListUsers(), 2.0)  # another Node-ID answers
        stranger = Rig(place)
        (tmp_path / "other").mkdir()
        stranger.operator = Issuer(tmp_path / "other").user(Role.OPERATOR).credentials
        with pytest.raises(PeerUnreachableError):
            await stranger.observer.ask("seeds-0", ListUsers(), 2.0)
        await stranger.observer.close()
    await rig.observer.close()


@on_a_loop
async def test_a_new_pod_must_speak_for_itself(place: Place) -> None:
    rig = Rig(place)
    async with running(place), rig.running():
        while "seeds-0" not in rig.observer.reports:
            await rig.wake()
        nowhere = ("127.0.0.1", 1)
        rig.places = [msgspec.structs.replace(rig.here, pod_uid="uid-2", address=nowhere)]
        while "seeds-0" in rig.observer.reports:
            await rig.wake()


@on_a_loop
async def test_credentials_are_asked_for_seldom_and_exchanged_when_trust_changes(
    place: Place, tmp_path: Path
) -> None:
    rig = Rig(place)
    async with running(place):
        await rig.observer.ask("seeds-0", ListUsers())
        await rig.observer.ask("seeds-0", ListUsers())
        assert rig.fetched == 1
        (tmp_path / "other").mkdir()
        rig.operator = Issuer(tmp_path / "other").user(Role.OPERATOR).credentials
        rig.now += 31.0
        with pytest.raises(PeerUnreachableError):
            await rig.observer.ask("seeds-0", ListUsers(), 2.0)
        assert rig.fetched == 2
    await rig.observer.close()


@on_a_loop
async def test_credentials_that_cannot_be_had_end_nothing(place: Place) -> None:
    rig = Rig(place)
    asked = asyncio.Event()

    async def refused() -> TlsCredentials:
        asked.set()
        raise OSError("the Secret cannot be read")

    observer = PeerObserver(
        lambda: rig.places,
        refused,
        lambda _: None,
        clock=lambda: rig.now,
        random=Random(1),
        period=0.01,
    )
    task = asyncio.create_task(observer.run())
    for _ in range(3):
        await asked.wait()
        asked.clear()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_a_loop
async def test_a_question_on_a_connection_that_is_closed_cancels_nobody(place: Place) -> None:
    rig = Rig(place)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        rig.places = [msgspec.structs.replace(rig.here, address=mute.getsockname()[:2])]
        asking = asyncio.create_task(rig.observer.ask("seeds-0", ListUsers(), 10.0))
        await asyncio.wait([asking], timeout=0.2)
        await rig.observer.close()
        with pytest.raises(PeerUnreachableError, match="somewhere else by now"):
            await asking
