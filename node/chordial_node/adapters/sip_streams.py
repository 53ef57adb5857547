"""SIP over connections: TCP, TLS for phones, and mutual TLS between peers (sip: rule 8).

Bytes in, bytes out, cut anywhere. Between peers the certificate names a Node-ID at both ends,
checked before a byte is told. Everything is bounded: connections for each address, bytes that wait
to be written, and the time in which a new connection must say something.
"""

import asyncio
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import cast

import msgspec

from chordial_node.boundary.effects import CloseFlow, OpenFlow, WriteFlow
from chordial_node.boundary.events import (
    Address,
    Event,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.config import Endpoint, Transport
from chordial_node.ids import NodeId
from chordial_node.security.certificates import IdentityError, Refusal, Trust

CONNECT_SECONDS = 1.0
HANDSHAKE_SECONDS = 5.0
CLOSE_SECONDS = 1.0
"""How long a closed connection may still deliver what was written, and say goodbye."""
SILENCE_SECONDS = 10.0
"""A connection that was accepted and has said nothing for so long is closed (sip: rule 10)."""
LONGEST_WRITE_QUEUE = 1 << 20
MOST_OF_ONE_ADDRESS = 1_024
"""Connections; a whole office behind one NAT shares an address."""
MOST_CONNECTIONS = 40_000
BACKLOG = 1_024
_NOT_YET = -1
"""Stands for the flow's number while a connection is accepted: the core does not know it."""


class StreamListener(msgspec.Struct, frozen=True):
    """How one listener speaks: the contexts are None where it is plain TCP."""

    transport: Transport
    bind: Endpoint
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    """For connections that this peer opens: only between peers are there any over TLS."""


class SipStreams:
    """The stream listeners and all SIP connections of one peer."""

    def __init__(
        self,
        trust: Trust,
        tell: Callable[[Event], None],
        refused: Callable[[str, str, str], None],
    ) -> None:
        """Take what judges peers, and whom to tell of events and refusals."""
        self._trust = trust
        self._tell = tell
        self._refused = refused
        self._listeners: dict[int, StreamListener] = {}
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._made: dict[_Connection, None] = {}
        self._all_gone: asyncio.Event | None = None
        self._work: dict[asyncio.Task[None], int] = {}
        self._flows: dict[int, _Connection] = {}
        self._of_address: Counter[str] = Counter()
        self._next_accepted = 1

    async def listen(self, number: int, listener: StreamListener) -> int:
        """Accept connections, and return the port; OSError says why that cannot be."""
        listening = _listening_socket(listener.bind)
        self._listeners[number] = listener
        self._listening.append(listening)
        loop = asyncio.get_running_loop()
        self._accepting.append(loop.create_task(self._accept(number, listening)))
        return int(listening.getsockname()[1])

    def renew(self, number: int, listener: StreamListener) -> None:
        """Use other contexts on connections from now on."""
        self._listeners[number] = listener

    def end_peers(self, is_ended: Callable[[NodeId], bool]) -> None:
        """End the connections of peers that are trusted no more, or must prove their key anew."""
        for connection in list(self._flows.values()):
            if connection.node is not None and is_ended(connection.node):
                self.lose(connection, "its certificate counts no more")

    # effects

    def open(self, effect: OpenFlow) -> None:
        """Perform `OpenFlow`."""
        self._start(self._connect(effect), effect.flow)

    def write(self, effect: WriteFlow) -> None:
        """Perform `WriteFlow`; who does not read is lost."""
        connection = self._flows.get(effect.flow)
        if connection is not None and not connection.write(effect.data):
            self.lose(connection, "it does not read what is written to it")

    def close(self, effect: CloseFlow) -> None:
        """Perform `CloseFlow`, also of a connection that is still being opened."""
        for task, number in list(self._work.items()):
            if number == effect.flow:
                task.cancel()
        connection = self._flows.pop(effect.flow, None)
        if connection is not None:
            connection.close()

    async def stop(self) -> None:
        """Close all listeners and connections; nothing is told any more."""
        tasks = [*self._accepting, *self._work]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for listening in self._listening:
            listening.close()
        self._flows.clear()
        for connection in list(self._made):
            connection.close()
        if self._made:
            self._all_gone = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), CLOSE_SECONDS)
        for connection in list(self._made):
            connection.abort()
        await asyncio.sleep(0)

    def _start(self, work: Coroutine[None, None, None], number: int) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work[task] = number
        task.add_done_callback(lambda done: self._work.pop(done, None))

    # connections that this peer opens

    async def _connect(self, effect: OpenFlow) -> None:
        listener = self._listeners.get(effect.listener)
        try:
            if listener is None:
                raise OSError(f"there is no listener {effect.listener}")
            if listener.transport is Transport.TLS:
                raise OSError("phones are not dialed over TLS")
            connection = _Connection(self, effect.flow, effect.address)
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    *effect.address,
                    ssl=listener.client,
                    server_hostname="" if listener.client else None,
                    ssl_shutdown_timeout=CLOSE_SECONDS if listener.client else None,
                )
            node = self._peer_of(connection, listener, effect.node)
        except TimeoutError:
            reason = f"no connection within {CONNECT_SECONDS:g} s"
            self._tell(FlowFailed(effect.flow, reason))
        except (OSError, OverflowError, ValueError) as error:  # the last two: no host, no port
            self._tell(FlowFailed(effect.flow, _why(error)))
        else:
            self._flows[effect.flow] = connection
            opened = FlowOpened(effect.flow, effect.listener, effect.address, node)
            connection.begin(self._tell, opened, may_be_silent=True)

    # connections that are accepted

    async def _accept(self, number: int, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, source = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors left, or gone before it was accepted
                self._refused("accept", _why(error), "")
                await asyncio.sleep(0.1)
                continue
            remote: Address = (source[0], source[1])
            count = self._of_address[remote[0]]
            everyone = len(self._made) + len(self._work)  # those in the handshake are work
            if count >= MOST_OF_ONE_ADDRESS or everyone >= MOST_CONNECTIONS:
                accepted.close()
                told = f"{count} connections of one address, {everyone} of all"
                self._refused("too_many", told, remote[0])
                continue
            self._of_address[remote[0]] += 1
            self._start(self._admit(number, accepted, remote), _NOT_YET)

    async def _admit(self, number: int, accepted: socket.socket, remote: Address) -> None:
        listener = self._listeners[number]
        flow = self._next_accepted
        self._next_accepted += 2
        connection = _Connection(self, flow, remote, is_counted=True)
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=listener.server,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if listener.server else None,
                ssl_shutdown_timeout=CLOSE_SECONDS if listener.server else None,
            )
            node = self._peer_of(connection, listener, None)
        except BaseException as error:
            if not connection.is_made:
                accepted.close()
                self.forget(remote[0])
            if not isinstance(error, OSError | IdentityError):
                raise
            kind = error.refusal if isinstance(error, IdentityError) else "handshake"
            self._refused(kind, _why(error), f"{remote[0]}:{remote[1]}")
            return
        self._flows[flow] = connection
        opened = FlowOpened(flow, number, remote, node)
        connection.begin(self._tell, opened, may_be_silent=False)

    # both

    def _peer_of(
        self, connection: "_Connection", listener: StreamListener, expected: NodeId | None
    ) -> NodeId | None:
        if listener.transport is not Transport.PEER:
            return None
        try:
            connection.node = self._trust.peer_of(connection.certificate(), time.time(), expected)
            return connection.node
        except IdentityError:
            connection.close()
            raise

    def lose(self, connection: "_Connection", reason: str) -> None:
        """End a connection, and tell the core if it still knows it."""
        connection.close()
        if self._flows.pop(connection.flow, None) is not None:
            self._tell(FlowLost(connection.flow, reason))

    def made(self, connection: "_Connection") -> None:
        """Keep a connection in mind until it is gone, whatever the core knows of it."""
        self._made[connection] = None

    def gone(self, connection: "_Connection") -> None:
        """Forget a connection."""
        self._made.pop(connection, None)
        if self._all_gone is not None and not self._made:
            self._all_gone.set()

    def forget(self, host: str) -> None:
        """Count one accepted connection less of an address."""
        self._of_address[host] -= 1
        if self._of_address[host] <= 0:
            del self._of_address[host]


class _Connection(asyncio.Protocol):
    """One connection: what comes before the core knows of it waits, bounded by the transport."""

    __slots__ = (
        "_closing", "_early", "_is_counted", "_owner", "_remote", "_silence", "_tell",
        "_transport", "flow", "is_made", "node",
    )  # fmt: skip

    def __init__(
        self, owner: SipStreams, flow: int, remote: Address, *, is_counted: bool = False
    ) -> None:
        self.flow = flow
        self.is_made = False
        self.node: NodeId | None = None
        """The peer at the other end, of a connection between peers."""
        self._owner = owner
        self._remote = remote
        self._is_counted = is_counted
        self._transport: asyncio.Transport | None = None
        self._tell: Callable[[Event], None] | None = None
        self._early: list[bytes] = []
        self._silence: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.is_made = True
        self._owner.made(self)
        self._transport = cast("asyncio.Transport", transport)

    def begin(
        self, tell: Callable[[Event], None], opened: FlowOpened, *, may_be_silent: bool
    ) -> None:
        """Let the core know of this connection, and of what came in the meantime."""
        self._tell = tell
        if not may_be_silent and not self._early:
            self._silence = asyncio.get_running_loop().call_later(
                SILENCE_SECONDS, self._owner.lose, self, "it said nothing"
            )
        tell(opened)
        for data in self._early:
            tell(FlowReceived(self.flow, data))
        self._early = []
        if self._transport is None or self._transport.is_closing():
            self._owner.lose(self, "the other end closed it")

    def data_received(self, data: bytes) -> None:
        if self._tell is None:
            self._early.append(data)
            return
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._tell(FlowReceived(self.flow, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.gone(self)
        for timer in (self._silence, self._closing):
            if timer is not None:
                timer.cancel()
        if self._is_counted:
            self._owner.forget(self._remote[0])
        self._owner.lose(self, "the other end closed it" if exc is None else _why(exc))

    def write(self, data: bytes) -> bool:
        """Write, unless too much waits already."""
        if self._transport is None:
            return True  # its loss is about to be told
        self._transport.write(data)
        return self._transport.get_write_buffer_size() <= LONGEST_WRITE_QUEUE

    def certificate(self) -> bytes:
        """Return what the other end has shown, DER; IdentityError when it is no peer's protocol."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() is None:
            raise IdentityError(Refusal.MALFORMED, "no ALPN: this listener is for peers alone")
        shown: bytes = tls.getpeercert(binary_form=True)
        return shown

    def close(self) -> None:
        """Close after what was written has left: at once when that is too much, or takes long."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self._transport is None or self._closing is not None:
            return
        if self._transport.get_write_buffer_size() > LONGEST_WRITE_QUEUE:
            self._transport.abort()
        else:
            self._closing = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _listening_socket(bind: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    made = socket.create_server(bind.address, family=family, backlog=BACKLOG)
    made.setblocking(False)
    return made


def _why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not count: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake ended: {error.reason or error}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own texts do not say what happened
    return str(error) or type(error).__name__
