"""Links over real sockets and mutual TLS: frames both ways, and everybody who is refused."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chordial_node.adapters.grpc_links import GrpcLinks
from chordial_node.adapters.grpc_server import GrpcServer
from chordial_node.adapters.tls_contexts import GRPC_ALPN, peer_client
from chordial_node.adapters.tls_probe import TlsProbe
from chordial_node.boundary.effects import CloseLink, OpenLink, WriteFrame
from chordial_node.boundary.events import (
    Event,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
)
from chordial_node.config import Endpoint
from chordial_node.ids import WILDCARD, NodeId
from chordial_node.security.certificates import Trust, claims_of, key_hash_of
from tests.node.adapters.overlay_rig import (
    NODES,
    OVERLAY,
    Issuer,
    Paper,
    Told,
    on_a_loop,
    on_both_loops,
)

A, B, C, D = NODES


class LinkedPeer:
    """The links of one peer, listening on a port of its own."""

    def __init__(self, node: NodeId, paper: Paper, trust: Trust | None = None) -> None:
        self.told = Told()
        self.refusals: list[tuple[str, str]] = []
        trust = trust or paper.trust
        self.links = GrpcLinks(
            node,
            paper.credentials,
            trust,
            TlsProbe(peer_client(paper.identity, GRPC_ALPN), trust),
            self.told,
            lambda kind, reason, _: self.refusals.append((kind, reason)),
        )
        self.server = GrpcServer(paper.credentials)
        self.server.add(self.links.service())
        self.port = 0

    async def dial(self, node: NodeId, port: int, link: int = 2) -> Event:
        self.links.open(OpenLink(link, node, ("127.0.0.1", port)))
        return await self.told.until(
            lambda e: isinstance(e, LinkOpened | LinkFailed) and e.link == link
        )

    async def until(self, kind: type[Event]) -> Event:
        return await self.told.until(lambda event: isinstance(event, kind))


@asynccontextmanager
async def running(*peers: LinkedPeer) -> AsyncIterator[None]:
    for peer in peers:
        peer.port = await peer.server.start(Endpoint("127.0.0.1", 0))
    try:
        yield
    finally:
        for peer in peers:
            await peer.links.stop()
            await peer.server.stop(0)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@on_both_loops
async def test_frames_travel_both_ways_and_each_write_is_told(issuer: Issuer) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    async with running(a, b):
        assert await a.dial(B, b.port) == LinkOpened(2, B, ("127.0.0.1", b.port))
        opened = await b.until(LinkOpened)
        assert isinstance(opened, LinkOpened)
        assert (opened.link % 2, opened.node) == (1, A)
        a.links.write(WriteFrame(2, b"to b"))
        b.links.write(WriteFrame(opened.link, b"x" * (4 << 20)))
        assert await b.until(FrameReceived) == FrameReceived(opened.link, b"to b")
        assert await a.until(FrameReceived) == FrameReceived(2, b"x" * (4 << 20))
        assert await a.until(FrameWritten) == FrameWritten(2)
        assert await b.until(FrameWritten) == FrameWritten(opened.link)


@on_a_loop
async def test_a_seed_of_unknown_identity_is_learnt(issuer: Issuer) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    async with running(a, b):
        assert await a.dial(WILDCARD, b.port) == LinkOpened(2, B, ("127.0.0.1", b.port))


@on_a_loop
async def test_a_key_that_was_superseded_is_refused_at_both_ends(issuer: Issuer) -> None:
    bundle, keys = issuer.authority.certificate, {A: "0a" * 32}
    a = LinkedPeer(A, issuer.peer(A))
    b = LinkedPeer(B, issuer.peer(B), Trust(OVERLAY, bundle, keys=keys))
    async with running(a, b):
        refused, not_dialed = await a.dial(B, b.port), await b.dial(A, a.port)
    assert isinstance(refused, LinkFailed)
    assert "refuses this one" in refused.reason
    assert [kind for kind, _ in b.refusals] == ["other_key"]
    assert isinstance(not_dialed, LinkFailed)
    assert not_dialed.failure is LinkFailure.IDENTITY
    assert "superseded" in not_dialed.reason


@on_a_loop
async def test_the_one_key_that_counts_is_dialed_by_its_name(issuer: Issuer) -> None:
    own = issuer.peer(B)
    keys = {B: key_hash_of(claims_of(own.credentials.certificate).public_key)}
    a = LinkedPeer(A, issuer.peer(A), Trust(OVERLAY, issuer.authority.certificate, keys=keys))
    b = LinkedPeer(B, own)
    async with running(a, b):
        assert isinstance(await a.dial(B, b.port), LinkOpened)


@pytest.mark.parametrize("dialer_closes", [True, False])
@on_a_loop
async def test_a_closed_link_is_told_to_the_other_end_alone_and_after_its_last_frame(
    issuer: Issuer, dialer_closes: bool
) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    async with running(a, b):
        await a.dial(B, b.port)
        opened = await b.until(LinkOpened)
        assert isinstance(opened, LinkOpened)
        near, far = (a, b) if dialer_closes else (b, a)
        number = 2 if dialer_closes else opened.link
        near.links.write(WriteFrame(number, b"last"))
        await near.until(FrameWritten)
        near.links.close(CloseLink(number))
        await far.until(LinkLost)
        assert [type(event) for event in far.told.events[-2:]] == [FrameReceived, LinkLost]
        assert not [event for event in near.told.events if isinstance(event, LinkLost)]


@on_a_loop
async def test_a_server_that_ends_loses_its_links_at_the_dialer(issuer: Issuer) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    async with running(a, b):
        await a.dial(B, b.port)
        await b.server.stop(0)
        assert isinstance(await a.until(LinkLost), LinkLost)


@on_a_loop
async def test_where_nobody_listens_the_dial_is_refused(issuer: Issuer) -> None:
    a = LinkedPeer(A, issuer.peer(A))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for node in (B, WILDCARD):
            failed = await a.dial(node, unused.getsockname()[1])
            assert isinstance(failed, LinkFailed)
            assert failed.failure is LinkFailure.REFUSED
            a.told.events.clear()


@on_a_loop
async def test_who_is_silent_is_unreachable_after_the_dial_time(issuer: Issuer) -> None:
    a = LinkedPeer(A, issuer.peer(A))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failed = await a.dial(B, silent.getsockname()[1])
    assert failed == LinkFailed(2, LinkFailure.UNREACHABLE, "nobody answered within 2 s")


@on_a_loop
async def test_another_node_id_at_the_address_is_an_identity_failure(issuer: Issuer) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    async with running(a, b):
        failed = await a.dial(C, b.port)
    reason = f"Node-ID {B.hex()} answers there, wanted is {C.hex()}"
    assert failed == LinkFailed(2, LinkFailure.IDENTITY, reason)


@pytest.mark.parametrize("wanted", [B, WILDCARD])
@on_a_loop
async def test_a_peer_of_another_authority_is_an_identity_failure(
    issuer: Issuer, tmp_path: Path, wanted: NodeId
) -> None:
    strangers = Issuer(tmp_path, "other")
    a = LinkedPeer(A, issuer.peer(A))
    b = LinkedPeer(B, strangers.peer(B, believes=issuer.authority.certificate))
    async with running(a, b):
        failed = await a.dial(wanted, b.port)
    assert isinstance(failed, LinkFailed)
    assert failed.failure is LinkFailure.IDENTITY
    assert "not of this overlay" in failed.reason


@on_a_loop
async def test_the_own_identity_at_a_seed_is_no_link(issuer: Issuer) -> None:
    a = LinkedPeer(A, issuer.peer(A))
    async with running(a):
        failed = await a.dial(WILDCARD, a.port)
    assert isinstance(failed, LinkFailed)
    assert failed.failure is LinkFailure.IDENTITY


@on_a_loop
async def test_a_revoked_peer_is_refused_with_its_reason(issuer: Issuer) -> None:
    bundle = issuer.authority.certificate
    a = LinkedPeer(A, issuer.peer(A))
    b = LinkedPeer(B, issuer.peer(B), Trust(OVERLAY, bundle, revoked=(A,)))
    async with running(a, b):
        failed = await a.dial(B, b.port)
    assert isinstance(failed, LinkFailed)
    assert "refuses this one" in failed.reason
    assert [kind for kind, _ in b.refusals] == ["revoked"]
    assert not [event for event in b.told.events if isinstance(event, LinkOpened)]


@pytest.mark.parametrize("dialer_closes", [True, False])
@on_both_loops
async def test_a_link_may_be_closed_at_the_moment_it_is_told(
    issuer: Issuer, dialer_closes: bool
) -> None:
    a, b = LinkedPeer(A, issuer.peer(A)), LinkedPeer(B, issuer.peer(B))
    near, far = (a, b) if dialer_closes else (b, a)

    def close_at_once(event: Event) -> None:
        if isinstance(event, LinkOpened):
            near.links.write(WriteFrame(event.link, b"hello"))
            near.links.close(CloseLink(event.link))

    near.told.then = close_at_once
    async with running(a, b):
        await a.dial(B, b.port)
        await far.until(LinkLost)
        assert [type(event) for event in near.told.events] == [LinkOpened]
        assert [type(event) for event in far.told.events] == [LinkOpened, FrameReceived, LinkLost]


@on_a_loop
async def test_a_dial_that_is_closed_tells_nothing(issuer: Issuer) -> None:
    a = LinkedPeer(A, issuer.peer(A))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        a.links.open(OpenLink(2, B, silent.getsockname()))
        a.links.close(CloseLink(2))
        await a.links.stop()
    assert a.told.events == []


def dialer_expired(issuer: Issuer, _: Path) -> Paper:
    return issuer.peer(A, expired=True)


def dialer_of_another_authority(issuer: Issuer, folder: Path) -> Paper:
    return Issuer(folder, "other").peer(A, believes=issuer.authority.certificate)


@pytest.mark.parametrize("paper", [dialer_expired, dialer_of_another_authority])
@on_a_loop
async def test_a_dialer_whose_certificate_does_not_count_gets_no_link(
    issuer: Issuer, tmp_path: Path, paper: Callable[[Issuer, Path], Paper]
) -> None:
    a, b = LinkedPeer(A, paper(issuer, tmp_path)), LinkedPeer(B, issuer.peer(B))
    async with running(b):
        failed = await a.dial(B, b.port)
        seed = await a.dial(WILDCARD, b.port, link=4)
    assert isinstance(failed, LinkFailed)
    assert isinstance(seed, LinkFailed)
    assert failed.failure is seed.failure is LinkFailure.UNREACHABLE
    assert b.told.events == []


@on_a_loop
async def test_openssl_without_a_certificate_is_hung_up_on(
    issuer: Issuer, require_program: Callable[[str, str], Path]
) -> None:
    openssl = require_program("openssl", "openssl")
    b = LinkedPeer(B, issuer.peer(B))
    async with running(b):
        outsider = await asyncio.create_subprocess_exec(
            openssl,
            *("s_client", "-alpn", "h2", "-connect", f"127.0.0.1:{b.port}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert outsider.stdout is not None
        said = await outsider.stdout.read()  # its own input stays open: the peer ended it
        assert await outsider.wait() != 0
    assert b"BEGIN CERTIFICATE" in said
    assert b.told.events == []


@on_a_loop
async def test_a_port_in_use_is_an_error_of_the_system(issuer: Issuer) -> None:
    server = GrpcServer(issuer.peer(A).credentials)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = Endpoint("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await server.start(bind)
    await server.stop(0)


@pytest.mark.parametrize(("host", "port"), [("x" * 70, 6084), ("127.0.0.1", 70_000)])
@pytest.mark.parametrize("node", [WILDCARD, B], ids=["a seed", "a peer"])
@on_both_loops
async def test_an_address_that_is_none_fails_the_dial(
    issuer: Issuer, node: NodeId, host: str, port: int
) -> None:
    a = LinkedPeer(A, issuer.peer(A))
    async with running(a):
        a.links.open(OpenLink(2, node, (host, port)))
        assert isinstance(await a.until(LinkFailed), LinkFailed)
