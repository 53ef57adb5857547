"""SIP over asyncio for a user agent: one socket, client transactions, digest answers.

RFC 3261 §17.1 and §22 from the side of a phone; the proxy's transaction layer is the core's. It
reads messages with the core's own parser, which is what makes the demonstration honest: what a
phone sends and gets here are the bytes on the wire. What a request means stands in
`user_agent.py`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.sip import digest
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.framing import Framing
from chordial_node.sip.headers import parse_auth, sent_by
from chordial_node.sip.message import Message
from chordial_node.sip.response import acknowledge, cancel

T1_SECONDS = 0.5
T2_SECONDS = 4.0
GIVE_UP_SECONDS = 32.0
CANCEL_SECONDS = 1.0
"""How long a call that was given up waits for its last response."""
MOST_CHALLENGES = 4
"""A phone that changes its edge is told `stale` by each new one; more than this is a loop."""

Provisional = Callable[[Message], None]
Incoming = Callable[[Message], Awaitable[None]]


class SipError(Exception):
    """A SIP exchange did not come about; the message says why."""


class Account(msgspec.Struct, frozen=True):
    """Who a user agent is."""

    user: str
    domain: str
    password: str

    @property
    def aor(self) -> str:
        """The address of record."""
        return f"sip:{self.user}@{self.domain}"


class SipClient:
    """One socket to one SIP server: requests out with their answers, requests in to a callback."""

    def __init__(self, account: Account, server: Address, transport: str) -> None:
        if transport not in ("udp", "tcp"):
            raise SipError(f"the transport is udp or tcp, not {transport!r}")
        self.account = account
        self.server = server
        self.transport = transport
        self.local: Address = ("", 0)
        self.on_request: Incoming | None = None
        self._waiting: dict[bytes, asyncio.Queue[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: asyncio.DatagramTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._nonce_counts: dict[bytes, int] = {}
        self._is_refused = False
        """The last that the network said of the server: nobody listens there."""

    async def open(self) -> None:
        """Connect; SipError when nobody listens there."""
        loop = asyncio.get_running_loop()
        try:
            if self.transport == "udp":
                self._socket, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self._on_datagram, self._on_refused),
                    remote_addr=self.server,
                )
                self.local = self._socket.get_extra_info("sockname")[:2]
            else:
                async with asyncio.timeout(2.0):
                    reader, self._writer = await asyncio.open_connection(*self.server)
                self.local = self._writer.get_extra_info("sockname")[:2]
                self._keep(self._read(reader))
        except OSError as error:
            told = f"no SIP server answers at {self._where()} ({self.transport})"
            raise SipError(told) from error

    async def close(self) -> None:
        """End the socket and whatever still runs on it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._writer is not None:
            self._writer.close()
            await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    @property
    def sent_by(self) -> bytes:
        """Our address as Via and Contact name it."""
        return sent_by(self.local[0].encode(), self.local[1])

    def via(self, branch: bytes) -> bytes:
        """A Via value of ours."""
        name = self.transport.upper().encode()
        return b"SIP/2.0/%b %b;branch=%b;rport" % (name, self.sent_by, branch)

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        if self._socket is not None:
            self._socket.sendto(data)
        elif self._writer is not None:
            self._writer.write(data)

    async def exchange(
        self,
        build: Callable[[bytes, int, bytes], bytes],
        cseq: int,
        on_provisional: Provisional | None = None,
    ) -> tuple[Message, Message, int]:
        """Send a request, answer challenges, and return request, final response and CSeq.

        `build` makes the request from a Via value, a CSeq and an authorization line.
        """
        authorization = b""
        for _ in range(MOST_CHALLENGES):
            via = self.via(b"z9hG4bK" + secrets.token_hex(8).encode())
            request = Message.parse(build(via, cseq, authorization))
            response = await self._transact(request, on_provisional)
            answer = self._answer_challenge(request, response)
            if answer is None or answer == authorization:
                return request, response, cseq
            authorization = answer
            cseq += 1
        raise SipError("the server challenges again and again: check its clock and realm")

    async def _transact(self, request: Message, on_provisional: Provisional | None) -> Message:
        branch = request.via.branch
        answers: asyncio.Queue[Message] = asyncio.Queue()
        self._waiting[branch] = answers
        is_invite = request.method == b"INVITE"
        has_begun = self._is_refused = False
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS) as limit:
                pause = T1_SECONDS
                self.send(request.raw)
                while True:
                    wait = pause if self.transport == "udp" and limit.when() else None
                    try:
                        response = await asyncio.wait_for(answers.get(), wait)
                    except TimeoutError:
                        self._check_reached()
                        self.send(request.raw)
                        pause = pause * 2 if is_invite else min(pause * 2, T2_SECONDS)
                        continue
                    if response.status < 200:
                        has_begun = True
                        if is_invite:
                            limit.reschedule(None)  # it rings: as long as the caller waits
                        if on_provisional is not None:
                            on_provisional(response)
                        continue
                    if is_invite and response.status >= 300:
                        self.send(acknowledge(request, response))
                    return response
        except TimeoutError as error:
            raise SipError(f"no answer to {request.method.decode()} in 32 seconds") from error
        except asyncio.CancelledError:
            if is_invite and has_begun:
                await self._cancel(request, answers)
            raise
        finally:
            del self._waiting[branch]
            self._hand_on(answers)

    async def _cancel(self, invite: Message, answers: "asyncio.Queue[Message]") -> None:
        """Stop the ringing of an INVITE that nobody waits for any more (RFC 3261 §9.1)."""
        self.send(cancel(invite))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                while (response := await answers.get()).status < 200 or (
                    response.cseq.method != b"INVITE"
                ):
                    pass
                if response.status >= 300:
                    self.send(acknowledge(invite, response))

    def _check_reached(self) -> None:
        if self._is_refused:
            raise SipError(f"no SIP server answers at {self._where()} ({self.transport})")

    def _where(self) -> str:
        return sent_by(self.server[0].encode(), self.server[1]).decode()

    def _answer_challenge(self, request: Message, response: Message) -> bytes | None:
        names = {
            401: (b"www-authenticate", b"Authorization"),
            407: (b"proxy-authenticate", b"Proxy-Authorization"),
        }
        if response.status not in names:
            return None
        asked, answered = names[response.status]
        value = response.first(asked)
        if value is None:
            return None
        challenge = parse_auth(value)
        nonce = challenge.params.get(b"nonce", b"")
        is_stale = challenge.params.get(b"stale", b"").lower() == b"true"
        if request.first(answered.lower()) is not None and not is_stale:
            return None  # the password was wrong
        count = self._nonce_counts.get(nonce, 0) + 1
        self._nonce_counts = {nonce: count}
        credentials = digest.answer(
            challenge,
            user=self.account.user.encode(),
            password=self.account.password.encode(),
            method=request.method,
            uri=request.target,
            count=count,
            cnonce=secrets.token_hex(8).encode(),
        )
        return b"%b: %b\r\n" % (answered, credentials)

    def _on_refused(self) -> None:
        self._is_refused = True

    def _on_datagram(self, data: bytes) -> None:
        self._is_refused = False
        if data.strip(b"\r\n\0"):
            self._on_bytes(data)

    def _on_bytes(self, data: bytes) -> None:
        try:
            message = Message.parse(data)
        except RemoteProtocolError:
            return  # a phone ignores what it cannot read
        if not message.is_request:
            answers = self._waiting.get(message.via.branch)
            if answers is not None:
                answers.put_nowait(message)
            elif message.cseq.method == b"INVITE" and 200 <= message.status < 300:
                self._deliver(message)
        else:
            self._deliver(message)

    def _hand_on(self, answers: "asyncio.Queue[Message]") -> None:
        """Hand on what came right behind the final response: a second phone's 200."""
        while not answers.empty():
            message = answers.get_nowait()
            if message.cseq.method == b"INVITE" and 200 <= message.status < 300:
                self._deliver(message)  # as a task: the caller sees the first one before

    def _deliver(self, message: Message) -> None:
        if self.on_request is not None:
            self._keep(self.on_request(message))

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        framing = Framing()
        while data := await reader.read(65536):
            framing.receive(data)
            while (message := framing.next_message()) is not None:
                if isinstance(message, bytes):
                    self._on_bytes(message)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams on, and that nobody listens at the other end."""

    def __init__(
        self, on_datagram: Callable[[bytes], None], on_refused: Callable[[], None]
    ) -> None:
        self._on_datagram = on_datagram
        self._on_refused = on_refused

    def error_received(self, exc: Exception) -> None:
        """Hand on what an ICMP error says: the socket is connected, so it is about the server."""
        if isinstance(exc, ConnectionRefusedError):
            self._on_refused()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Hand one datagram on."""
        self._on_datagram(data)
