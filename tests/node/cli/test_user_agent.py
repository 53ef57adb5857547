"""The command's own phone against a server of a few lines: given up, refused, nobody there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chordial_node.boundary.events import Address
from chordial_node.cli.sip_client import Account, SipError
from chordial_node.cli.user_agent import UserAgent
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from tests.node.adapters.overlay_rig import on_a_loop

ALICE = Account("alice", "chordial.test", "secret")


class RingingServer(asyncio.DatagramProtocol):
    """Rings for ever, and ends a call when it is cancelled."""

    def __init__(self) -> None:
        self.methods: list[bytes] = []
        self.is_ringing, self.is_over = asyncio.Event(), asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._invite: Message | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        assert self._transport is not None
        request = Message.parse(data)
        self.methods.append(request.method)
        if request.method == b"INVITE":
            self._invite = request
            self._transport.sendto(respond(request, 180, to_tag=b"t"), addr)
            self.is_ringing.set()
        elif request.method == b"CANCEL":
            assert self._invite is not None
            self._transport.sendto(respond(request, 200, to_tag=b"t"), addr)
            self._transport.sendto(respond(self._invite, 487, to_tag=b"t"), addr)
        elif request.method == b"ACK":
            self.is_over.set()


@asynccontextmanager
async def ringing() -> AsyncIterator[tuple[RingingServer, UserAgent]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        RingingServer, local_addr=("127.0.0.1", 0)
    )
    phone = UserAgent(ALICE, transport.get_extra_info("sockname"))
    await phone.open()
    try:
        yield server, phone
    finally:
        await phone.close()
        transport.close()


@on_a_loop
async def test_a_call_that_is_not_answered_in_time_stops_ringing() -> None:
    """RFC 3261 §9.1: the caller cancels, and acknowledges the 487."""
    async with ringing() as (server, phone):
        with pytest.raises(SipError, match="did not answer in 0 seconds"):
            await phone.call("sip:bob@chordial.test", ring_limit_seconds=0.2)
        await server.is_over.wait()
        assert server.methods == [b"INVITE", b"CANCEL", b"ACK"]


@on_a_loop
async def test_a_call_that_is_interrupted_stops_ringing() -> None:
    async with ringing() as (server, phone):
        call = asyncio.ensure_future(phone.call("sip:bob@chordial.test"))
        await server.is_ringing.wait()
        await asyncio.wait([call], timeout=0.05)
        call.cancel()
        await server.is_over.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


@on_a_loop
async def test_where_nobody_listens_is_said_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    phone = UserAgent(ALICE, address)
    await phone.open()
    with pytest.raises(SipError, match=r"no SIP server answers at 127\.0\.0\.1:\d+ \(udp\)"):
        await phone.register()
    await phone.close()


class TwoAnswers(asyncio.DatagramProtocol):
    """A proxy that forked: two phones answer one INVITE."""

    def __init__(self) -> None:
        self.ended: list[bytes] = []
        self.second_is_over = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        assert self._transport is not None
        request = Message.parse(data)
        if request.method == b"INVITE":
            for tag in (b"first", b"second"):
                contact = (b"Contact", b"<sip:bob@127.0.0.1:%d>" % addr[1])
                self._transport.sendto(respond(request, 200, to_tag=tag, headers=[contact]), addr)
        elif request.method == b"BYE":
            self.ended.append(request.first(b"to") or b"")
            self._transport.sendto(respond(request, 200), addr)
            self.second_is_over.set()


@on_a_loop
async def test_of_two_phones_that_answer_the_second_is_hung_up() -> None:
    """RFC 3261 §13.2.2.4: each 2xx is a dialog of its own, to be acknowledged and ended."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        TwoAnswers, local_addr=("127.0.0.1", 0)
    )
    phone = UserAgent(ALICE, transport.get_extra_info("sockname"))
    await phone.open()
    try:
        call = await phone.call("sip:bob@chordial.test")
        await asyncio.wait_for(server.second_is_over.wait(), 5)
        assert call.remote_side.endswith(b"tag=first")
        assert [side.rpartition(b"=")[2] for side in server.ended] == [b"second"]
    finally:
        await phone.close()
        transport.close()
