"""The control service asked with the product's own client, over mutual TLS."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chordial_node.adapters.grpc_control import GrpcControl
from chordial_node.adapters.grpc_server import GrpcServer
from chordial_node.adapters.question_desk import MOST_OPEN, QuestionDesk
from chordial_node.boundary.control import (
    Answer,
    AskStatus,
    Done,
    Drain,
    DrainAnswer,
    Get,
    Put,
    Question,
    Refused,
    ValueAnswer,
)
from chordial_node.boundary.effects import Answered
from chordial_node.boundary.events import Asked, Event
from chordial_node.client import DRAIN_SECONDS, PeerClient, PeerUnreachableError, RefusedError
from chordial_node.config import Endpoint
from chordial_node.ids import ResourceId
from chordial_node.security.certificates import Role
from tests.node.adapters.overlay_rig import NODES, Issuer, Paper, on_a_loop

VALUE = ValueAnswer(ResourceId(bytes(16)), found=True, value=b"v", copies=3, expires_at=1.0)


class AskedPeer:
    """A control service whose core is a dict of answers; what is not in it stays open."""

    def __init__(self, issuer: Issuer) -> None:
        self.paper = issuer.peer(NODES[0])
        self.asked: list[Question] = []
        self.answers: dict[type[Question], Answer] = {}
        self.refusals: list[str] = []
        self.desk = QuestionDesk(self.on_event)
        self.server = GrpcServer(self.paper.credentials)
        control = GrpcControl(
            self.paper.trust, self.desk.ask, lambda kind, _, __: self.refusals.append(kind)
        )
        self.server.add(control.service())
        self.port = 0

    def on_event(self, event: Event) -> None:
        assert isinstance(event, Asked)
        self.asked.append(event.question)
        answer = self.answers.get(type(event.question))
        if answer is not None:
            self.desk.answered(Answered(event.call, answer))

    def client(self, paper: Paper, port: int | None = None) -> PeerClient:
        shown = paper.credentials
        return PeerClient(
            ("127.0.0.1", self.port if port is None else port),
            trusted=shown.authorities,
            certificate=shown.certificate,
            key=shown.private_key,
        )


@asynccontextmanager
async def asked_peer(issuer: Issuer) -> AsyncIterator[AskedPeer]:
    peer = AskedPeer(issuer)
    peer.port = await peer.server.start(Endpoint("127.0.0.1", 0))
    try:
        yield peer
    finally:
        peer.desk.close()
        await peer.server.stop(0)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@on_a_loop
async def test_an_admin_asks_and_is_answered(issuer: Issuer) -> None:
    async with asked_peer(issuer) as peer, peer.client(issuer.user(Role.ADMIN)) as client:
        peer.answers[Put] = VALUE
        assert await client.ask_for(Put(b"k", b"v", 60.0, b"s"), ValueAnswer) == VALUE
        assert peer.asked == [Put(b"k", b"v", 60.0, b"s")]


@on_a_loop
async def test_a_refusal_arrives_whole(issuer: Issuer) -> None:
    refused = Refused("busy", "no room", 0.5)
    async with asked_peer(issuer) as peer, peer.client(issuer.user(Role.OPERATOR)) as client:
        peer.answers[Get] = refused
        assert await client.ask(Get(b"k")) == refused
        with pytest.raises(RefusedError, match="no room") as raised:
            await client.ask_for(Get(b"k"), ValueAnswer)
    assert raised.value.refused == refused


@on_a_loop
async def test_a_client_may_use_the_open_service_and_nothing_else(issuer: Issuer) -> None:
    async with asked_peer(issuer) as peer, peer.client(issuer.user(Role.CLIENT)) as client:
        peer.answers[Get] = VALUE
        assert await client.ask_for(Get(b"k"), ValueAnswer) == VALUE
        answer = await client.ask(AskStatus())
        assert isinstance(answer, Refused)
        assert answer.code == "forbidden"
        assert "needed is admin or operator or peer" in answer.reason
        assert (peer.refusals, len(peer.asked)) == (["wrong_role"], 1)


@on_a_loop
async def test_a_stranger_is_told_that_certificates_do_not_fit(
    issuer: Issuer, tmp_path: Path
) -> None:
    stranger = Issuer(tmp_path, "other").user(Role.ADMIN)
    async with asked_peer(issuer) as peer, peer.client(stranger) as client:
        with pytest.raises(PeerUnreachableError, match="take each other's certificate"):
            await client.ask(AskStatus())


@on_a_loop
async def test_where_nobody_listens_the_client_says_so(issuer: Issuer) -> None:
    peer = AskedPeer(issuer)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with peer.client(issuer.user(Role.ADMIN), unused.getsockname()[1]) as client:
            with pytest.raises(PeerUnreachableError, match="nobody listens"):
                await client.ask(AskStatus())


@on_a_loop
async def test_a_question_that_stays_open_ends_with_the_peer_or_the_asker(issuer: Issuer) -> None:
    async with asked_peer(issuer) as peer, peer.client(issuer.user(Role.ADMIN)) as client:
        with pytest.raises(PeerUnreachableError, match=r"did not answer within 0\.1 s"):
            await client.ask_for(Drain(), DrainAnswer, within=0.1)
        before = len(peer.asked)
        waiting = asyncio.ensure_future(client.ask_for(Drain(), DrainAnswer, DRAIN_SECONDS))
        async with asyncio.timeout(30):
            while len(peer.asked) <= before:
                await asyncio.wait([waiting], timeout=0.01)
        peer.desk.close()
        with pytest.raises(RefusedError, match="has stopped"):
            await waiting


@on_a_loop
async def test_the_desk_refuses_more_questions_than_it_can_hold() -> None:
    desk = QuestionDesk(lambda _: None)
    waiting = [asyncio.ensure_future(desk.ask(AskStatus())) for _ in range(MOST_OPEN)]
    await asyncio.wait(waiting, timeout=0)
    assert isinstance(await desk.ask(AskStatus()), Refused)
    desk.answered(Answered(1, Done()))
    assert await waiting[0] == Done()
    desk.answered(Answered(1, DrainAnswer(0, 0.0)))
    desk.close()
    assert {type(answer) for answer in await asyncio.gather(*waiting[1:])} == {Refused}
