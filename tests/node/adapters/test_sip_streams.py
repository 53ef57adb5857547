"""SIP connections over real sockets: TCP, TLS for phones, and mutual TLS between peers."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from chordial_node.adapters.sip_streams import SipStreams, StreamListener
from chordial_node.adapters.tls_contexts import SIP_ALPN, peer_client, peer_server, phone_server
from chordial_node.boundary.effects import CloseFlow, OpenFlow, WriteFlow
from chordial_node.boundary.events import (
    Event,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.config import Endpoint, Transport
from chordial_node.ids import NodeId
from chordial_node.security.certificates import Trust
from tests.node.adapters.overlay_rig import (
    NODES,
    OVERLAY,
    Issuer,
    Paper,
    Told,
    on_both_loops,
)

A, B, C, _ = NODES
ANYWHERE = Endpoint("127.0.0.1", 0)
TCP = StreamListener(Transport.TCP, ANYWHERE)


def between_peers(paper: Paper) -> StreamListener:
    return StreamListener(
        Transport.PEER,
        ANYWHERE,
        peer_server(paper.identity, SIP_ALPN),
        peer_client(paper.identity, SIP_ALPN),
    )


class StreamPeer:
    """The SIP connections of one peer with one listener, number 1."""

    def __init__(self, listener: StreamListener, trust: Trust) -> None:
        self.told = Told()
        self.refusals: list[str] = []
        self.streams = SipStreams(
            trust, self.told, lambda kind, reason, _: self.refusals.append(f"{kind}: {reason}")
        )
        self.listener = listener
        self.port = 0

    async def __aenter__(self) -> "StreamPeer":
        self.port = await self.streams.listen(1, self.listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.streams.stop()

    async def dial(self, port: int, node: NodeId | None = None) -> Event:
        self.streams.open(OpenFlow(2, 1, ("127.0.0.1", port), node))
        return await self.told.until(lambda e: isinstance(e, FlowOpened | FlowFailed))

    async def until(self, kind: type[Event]) -> Event:
        return await self.told.until(lambda event: isinstance(event, kind))

    def received(self, flow: int) -> bytes:
        return b"".join(
            e.data for e in self.told.events if isinstance(e, FlowReceived) and e.flow == flow
        )


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def trust(issuer: Issuer) -> Trust:
    return Trust(OVERLAY, issuer.authority.certificate)


@on_both_loops
async def test_bytes_travel_both_ways_over_tcp(trust: Trust) -> None:
    async with StreamPeer(TCP, trust) as a, StreamPeer(TCP, trust) as b:
        assert await a.dial(b.port) == FlowOpened(2, 1, ("127.0.0.1", b.port), None)
        a.streams.write(WriteFlow(2, b"x" * 300_000))
        await b.told.until(lambda _: len(b.received(1)) == 300_000)
        b.streams.write(WriteFlow(1, b"back"))
        await a.told.until(lambda _: a.received(2) == b"back")
        a.streams.close(CloseFlow(2))
        await b.until(FlowLost)
        assert not [event for event in a.told.events if isinstance(event, FlowLost)]


@on_both_loops
async def test_peers_prove_their_node_ids_to_each_other(issuer: Issuer, trust: Trust) -> None:
    async with (
        StreamPeer(between_peers(issuer.peer(A)), trust) as a,
        StreamPeer(between_peers(issuer.peer(B)), trust) as b,
    ):
        assert await a.dial(b.port, B) == FlowOpened(2, 1, ("127.0.0.1", b.port), B)
        opened = await b.until(FlowOpened)
        assert isinstance(opened, FlowOpened)
        assert (opened.flow, opened.node) == (1, A)
        a.streams.write(WriteFlow(2, b"INVITE"))
        await b.told.until(lambda _: b.received(1) == b"INVITE")


@on_both_loops
async def test_a_peer_with_another_node_id_fails_the_flow(issuer: Issuer, trust: Trust) -> None:
    async with (
        StreamPeer(between_peers(issuer.peer(A)), trust) as a,
        StreamPeer(between_peers(issuer.peer(B)), trust) as b,
    ):
        failed = await a.dial(b.port, C)
        assert isinstance(failed, FlowFailed)
        assert f"expected was {C.hex()}" in failed.reason


@on_both_loops
async def test_a_revoked_peer_is_refused_by_the_accepting_end(issuer: Issuer) -> None:
    bundle = issuer.authority.certificate
    async with (
        StreamPeer(between_peers(issuer.peer(A)), Trust(OVERLAY, bundle)) as a,
        StreamPeer(between_peers(issuer.peer(B)), Trust(OVERLAY, bundle, revoked=(A,))) as b,
    ):
        await a.dial(b.port, B)
        await a.until(FlowLost)
        assert [text.partition(":")[0] for text in b.refusals] == ["revoked"]
        assert b.told.events == []


@pytest.mark.parametrize(
    ("paper", "reason"),
    [
        (lambda issuer, _: issuer.peer(A, expired=True), "certificate has expired"),
        (
            lambda issuer, folder: Issuer(folder, "x").peer(
                A, believes=issuer.authority.certificate
            ),
            "unable to get local issuer certificate",
        ),
    ],
    ids=["expired", "another authority"],
)
@on_both_loops
async def test_an_outsider_is_refused_with_the_reason(
    issuer: Issuer, trust: Trust, tmp_path: Path, paper: Callable[..., Paper], reason: str
) -> None:
    async with (
        StreamPeer(between_peers(paper(issuer, tmp_path)), trust) as a,
        StreamPeer(between_peers(issuer.peer(B)), trust) as b,
    ):
        await a.dial(b.port, B)
        await a.told.until(lambda e: isinstance(e, FlowLost | FlowFailed))
        assert b.refusals == [f"handshake: the certificate does not count: {reason}"]
        assert b.told.events == []


@on_both_loops
async def test_a_phone_verifies_the_listener_and_shows_nothing(
    issuer: Issuer, trust: Trust
) -> None:
    listener = StreamListener(Transport.TLS, ANYWHERE, phone_server(issuer.listener()))
    async with StreamPeer(listener, trust) as peer:
        context = ssl.create_default_context(cadata=issuer.authority.certificate.decode())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", peer.port, ssl=context, server_hostname="chordial.test"
        )
        writer.write(b"OPTIONS")
        await peer.told.until(lambda _: peer.received(1) == b"OPTIONS")
        peer.streams.write(WriteFlow(1, b"SIP/2.0 200 OK"))
        assert await reader.readexactly(14) == b"SIP/2.0 200 OK"
        writer.close()
        await peer.until(FlowLost)


@on_both_loops
async def test_a_phone_that_speaks_no_tls_is_refused(issuer: Issuer, trust: Trust) -> None:
    listener = StreamListener(Transport.TLS, ANYWHERE, phone_server(issuer.listener()))
    async with StreamPeer(listener, trust) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.write(b"REGISTER sip:chordial.test SIP/2.0\r\n\r\n")
        while await reader.read(1_000):
            pass  # perhaps an alert, then the end
        writer.close()
        assert [text.partition(":")[0] for text in peer.refusals] == ["handshake"]
        assert peer.told.events == []


@on_both_loops
async def test_who_does_not_read_is_lost_at_the_bound(trust: Trust) -> None:
    async with StreamPeer(TCP, trust) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.until(FlowOpened)
        for _ in range(64):
            peer.streams.write(WriteFlow(1, b"x" * 262_144))
        assert await peer.until(FlowLost) == FlowLost(1, "it does not read what is written to it")
        writer.transport.abort()
        assert reader.at_eof() is False


@on_both_loops
async def test_a_dial_that_nobody_takes_fails_at_once_or_within_a_second(trust: Trust) -> None:
    async with StreamPeer(TCP, trust) as peer:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            failed = await peer.dial(unused.getsockname()[1])
        assert isinstance(failed, FlowFailed)
        assert "refused" in failed.reason


@on_both_loops
async def test_a_peer_that_is_silent_in_the_handshake_fails_in_a_second(
    issuer: Issuer, trust: Trust
) -> None:
    async with StreamPeer(between_peers(issuer.peer(A)), trust) as peer:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            failed = await peer.dial(silent.getsockname()[1], B)
        assert failed == FlowFailed(2, "no connection within 1 s")


@on_both_loops
async def test_a_port_in_use_is_an_error_of_the_system(trust: Trust) -> None:
    async with StreamPeer(TCP, trust) as peer:
        taken = StreamListener(Transport.TCP, Endpoint("127.0.0.1", peer.port))
        with pytest.raises(OSError, match="in use"):
            await peer.streams.listen(2, taken)


@pytest.mark.parametrize(("host", "port"), [("x" * 70, 5060), ("127.0.0.1", 70_000)])
@on_both_loops
async def test_an_address_that_is_none_fails_the_flow(trust: Trust, host: str, port: int) -> None:
    async with StreamPeer(TCP, trust) as peer:
        peer.streams.open(OpenFlow(2, 1, (host, port), None))
        assert isinstance(await peer.until(FlowFailed), FlowFailed)


@on_both_loops
async def test_a_closed_flow_does_not_wait_for_who_never_reads(trust: Trust) -> None:
    def lost() -> bool:
        return any(isinstance(event, FlowLost) for event in peer.told.events)

    async with StreamPeer(TCP, trust) as peer:
        with socket.socket() as first, socket.socket() as second:
            for phone in (first, second):
                phone.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                phone.connect(("127.0.0.1", peer.port))
            await peer.told.until(lambda e: isinstance(e, FlowOpened) and e.flow == 3)
            pieces = 0
            while not lost():  # how much the kernel takes, and a mebibyte more
                peer.streams.write(WriteFlow(1, b"x" * 65_536))
                pieces += 1
            for _ in range(pieces - 8):
                peer.streams.write(WriteFlow(3, b"x" * 65_536))
            held = descriptors()
            peer.streams.close(CloseFlow(3))
            async with asyncio.timeout(5.0):
                while descriptors() > held - 2:  # both are let go
                    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.05)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
