"""Overlay links over grpc.aio: one bidirectional stream a link, frames of bytes in and out.

Both ends check who the other is: a dialer by the DNS name that carries the wanted Node-ID, the
accepting end by the certificate itself. A link costs one task that reads and one that writes; the
queue is the core's, here there is at most the one frame that is being written.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote

import grpc

from chordial_node.boundary.effects import CloseLink, OpenLink, WriteFrame
from chordial_node.boundary.events import (
    Address,
    Event,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
)
from chordial_node.ids import WILDCARD, NodeId
from chordial_node.security.certificates import (
    IdentityError,
    Refusal,
    TlsCredentials,
    Trust,
)
from chordial_node.wire.link_pb2 import Frame

SERVICE = "chordial.link.v1.Link"
ADMITTED = "chordial-link"
"""Initial metadata of a stream whose other end has taken this peer's certificate."""
DIAL_SECONDS = 2.0
CLOSE_SECONDS = 1.0
"""How long what is written may take to reach the other end after a link was closed."""
LARGEST_FRAME = 4 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_FRAME + 1_024),
    ("grpc.max_send_message_length", LARGEST_FRAME + 1_024),
    ("grpc.use_local_subchannel_pool", 1),  # a closed channel is a closed connection
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_ENDED = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What reading or writing a stream raises when there is no stream any more."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Probe = Callable[[int, Address], Awaitable[NodeId | LinkFailed]]


class _Stream(Protocol):
    """What both ends of a gRPC stream offer."""

    async def read(self) -> object: ...

    async def write(self, data: bytes, /) -> None: ...


class _Link:
    """An open link, and the frame that is to be written next."""

    __slots__ = (
        "_frame",
        "_is_finished",
        "_waiter",
        "call",
        "channel",
        "number",
        "reader",
        "stream",
        "writer",
    )

    def __init__(self, number: int, stream: _Stream) -> None:
        self.number = number
        self.stream = stream
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] | None = None
        self.channel: grpc.aio.Channel | None = None
        self.reader: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None
        self._frame: bytes | None = None
        self._is_finished = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, frame: bytes) -> None:
        """Give the writer its next frame; the core offers one at a time."""
        assert self._frame is None, "the core has one frame outstanding on each link"
        self._frame = frame
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self) -> None:
        """Let the writer end after the frame that it has."""
        self._is_finished = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_frame(self) -> bytes | None:
        """Return the frame to be written, once there is one, or None when there will be none."""
        while self._frame is None and not self._is_finished:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frame, self._frame = self._frame, None
        return frame


class GrpcLinks:
    """All links of one peer: those it dials and those it accepts."""

    def __init__(
        self,
        own: NodeId,
        credentials: TlsCredentials,
        trust: Trust,
        probe: Probe,
        tell: Callable[[Event], None],
        refused: Callable[[str, str, str], None],
    ) -> None:
        """Take who this peer is, whom it believes, and whom to tell of events and refusals."""
        self._own = own
        self._trust = trust
        self._probe = probe
        self._tell = tell
        self._refused = refused
        self._credentials = _channel_credentials(credentials)
        self._links: dict[int, _Link] = {}
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._next_accepted = 1

    def service(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Return the handler to be added to a server."""
        accept = grpc.stream_stream_rpc_method_handler(
            self._accept, request_deserializer=_from_wire, response_serializer=_to_wire
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Open": accept})

    def renew(self, credentials: TlsCredentials) -> None:
        """Show another certificate on links that are dialed from now on."""
        self._credentials = _channel_credentials(credentials)

    # effects

    def open(self, effect: OpenLink) -> None:
        """Perform `OpenLink`."""
        dial = asyncio.get_running_loop().create_task(self._dial(effect))
        self._dials[effect.link] = dial
        dial.add_done_callback(lambda _: self._dials.pop(effect.link, None))

    def write(self, effect: WriteFrame) -> None:
        """Perform `WriteFrame`; of a link that has just ended the core will hear."""
        link = self._links.get(effect.link)
        if link is not None:
            link.offer(effect.data)

    def close(self, effect: CloseLink) -> None:
        """Perform `CloseLink`, also of a link that is still being dialed."""
        dial = self._dials.get(effect.link)
        if dial is not None:
            dial.cancel()
        link = self._links.pop(effect.link, None)
        if link is not None:
            self._end(link, politely=True)

    async def stop(self) -> None:
        """End every link and every dial; nothing is told any more."""
        for dial in list(self._dials.values()):
            dial.cancel()
        while self._links:
            self._end(self._links.popitem()[1], politely=True)
        waiting = [*self._dials.values(), *self._closing.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=CLOSE_SECONDS + 0.5)

    # links that are dialed

    async def _dial(self, effect: OpenLink) -> None:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                outcome = await self._reach(effect)
        except TimeoutError:
            reason = f"nobody answered within {DIAL_SECONDS:g} s"
            outcome = LinkFailed(effect.link, LinkFailure.UNREACHABLE, reason)
        except (*_ENDED, OSError, ValueError, OverflowError) as error:
            reason = f"its address cannot be dialed: {_why(error)}"
            outcome = LinkFailed(effect.link, LinkFailure.UNREACHABLE, reason)
        self._dials.pop(effect.link, None)
        self._tell(outcome)

    async def _reach(self, effect: OpenLink) -> Event:
        if self._trust.is_revoked(effect.node):
            return LinkFailed(effect.link, LinkFailure.IDENTITY, "its certificate was revoked")
        node: NodeId | LinkFailed = effect.node
        if effect.node == WILDCARD:
            node = await self._probe(effect.link, effect.address)
            if isinstance(node, LinkFailed):
                return node
            if node == self._own:
                reason = "this peer itself answers there, or another process with its identity"
                return LinkFailed(effect.link, LinkFailure.IDENTITY, reason)
        assert not isinstance(node, LinkFailed)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", self._trust.host_of(node)))
        channel = grpc.aio.secure_channel(_target(effect.address), self._credentials, options)
        try:
            open_stream = channel.stream_stream(
                f"/{SERVICE}/Open",
                request_serializer=_to_wire,
                response_deserializer=_from_wire,
            )
            call = open_stream()  # type: ignore[call-arg]  # the stub forgets a default
            if ADMITTED not in dict(await call.initial_metadata()):
                return await self._explain(effect, node, call, channel)
        except grpc.aio.AioRpcError:
            return await self._explain(effect, node, call, channel)
        except BaseException:
            await channel.close(None)
            raise
        link = _Link(effect.link, call)
        link.call, link.channel = call, channel
        loop = asyncio.get_running_loop()  # its tasks run once the core was told of the link
        link.reader = loop.create_task(self._read(link))
        link.writer = loop.create_task(self._write(link))
        self._links[effect.link] = link
        return LinkOpened(effect.link, node, effect.address)

    async def _explain(
        self,
        effect: OpenLink,
        node: NodeId,
        call: "grpc.aio.StreamStreamCall[bytes, bytes]",
        channel: grpc.aio.Channel,
    ) -> LinkFailed:
        """Say why a dial failed: gRPC tells refused, silent and strange ends apart by text only."""
        try:
            code, details = await call.code(), await call.details()
        finally:
            await channel.close(None)
        if code is not grpc.StatusCode.UNAVAILABLE:
            reason = f"the peer refuses this one: {details or code}"
            return LinkFailed(effect.link, LinkFailure.UNREACHABLE, reason)
        found = await self._probe(effect.link, effect.address)
        if isinstance(found, LinkFailed):
            return found
        if found != node:
            reason = f"Node-ID {found.hex()} answers there, wanted is {node.hex()}"
            return LinkFailed(effect.link, LinkFailure.IDENTITY, reason)
        return LinkFailed(effect.link, LinkFailure.UNREACHABLE, str(details or code))

    # links that are accepted

    async def _accept(self, _: object, context: Context) -> None:
        shown = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        remote = _remote(context.peer())
        try:
            node = self._trust.peer_of(shown, time.time())
            if node == self._own:
                raise IdentityError(Refusal.OTHER_NODE, "the Node-ID is this peer's own")
        except IdentityError as error:
            self._refused(error.refusal, str(error), f"{remote[0]}:{remote[1]}")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        await context.send_initial_metadata(((ADMITTED, "1"),))
        link = _Link(self._next_accepted, context)
        self._next_accepted += 2
        self._links[link.number] = link
        link.reader = asyncio.current_task()
        link.writer = asyncio.get_running_loop().create_task(self._write(link))
        self._tell(LinkOpened(link.number, node, remote))
        try:
            await self._read(link)
        except asyncio.CancelledError:
            if link.number in self._links:  # by gRPC, because the other end has gone
                self._lose(link, "the stream was cancelled")
                raise
            # by `_end`: to return is to close the stream after all that was written

    # both

    async def _read(self, link: _Link) -> None:
        reason = "the other end closed the stream"
        try:
            while isinstance(frame := await link.stream.read(), bytes):
                if link.number in self._links:
                    self._tell(FrameReceived(link.number, frame))
        except _ENDED as error:
            reason = _why(error)
        self._lose(link, reason)

    async def _write(self, link: _Link) -> None:
        reason = "the frame could not be written"
        try:
            while (frame := await link.next_frame()) is not None:
                await link.stream.write(frame)
                if link.number in self._links:
                    self._tell(FrameWritten(link.number))
            if link.call is not None:
                await link.call.done_writing()
            return
        except _ENDED as error:
            reason = _why(error)
        self._lose(link, reason)

    def _lose(self, link: _Link, reason: str) -> None:
        if self._links.pop(link.number, None) is not None:
            self._end(link, politely=False)
            self._tell(LinkLost(link.number, reason))

    def _end(self, link: _Link, *, politely: bool) -> None:
        ending = asyncio.get_running_loop().create_task(_hang_up(link, politely=politely))
        self._closing[link.number] = ending
        ending.add_done_callback(lambda _: self._closing.pop(link.number, None))


async def _hang_up(link: _Link, *, politely: bool) -> None:
    """End a stream; politely: after what was written has arrived.

    The end of an accepted stream is that its reader, gRPC's own task, returns.
    """
    link.finish()
    tasks = [task for task in (link.writer, link.reader) if task is not None]
    if politely:
        await asyncio.wait(tasks if link.call else tasks[:1], timeout=CLOSE_SECONDS)
    for task in tasks:
        task.cancel()
    if link.channel is not None:
        await link.channel.close(None)


def _channel_credentials(credentials: TlsCredentials) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=credentials.authorities,
        private_key=credentials.private_key,
        certificate_chain=credentials.certificate,
    )


def _to_wire(envelopes: bytes) -> bytes:
    return Frame(envelopes=envelopes).SerializeToString()


def _from_wire(data: bytes) -> bytes:
    return Frame.FromString(data).envelopes


def _target(address: Address) -> str:
    host, port = address
    if ":" in host:
        return f"ipv6:[{host}]:{port}"
    return f"ipv4:{host}:{port}" if host.replace(".", "").isdigit() else f"dns:///{host}:{port}"


def _remote(peer: str) -> Address:
    """Read gRPC's name of a connection's other end: `ipv4:1.2.3.4:5` or `ipv6:%5B::1%5D:5`."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return (host.strip("[]"), int(port) if port.isdigit() else 0)


def _why(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or error.code().name.lower()
    return str(error) or type(error).__name__
