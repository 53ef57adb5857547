"""The line of a phone: its socket and account, digest answers, and the registration it keeps.

RFC 3261 §10 and §22 as plain desk phones do them: one contact, refreshed at half of what was
granted, tried again from the same socket with growing pauses. Calls stand in `phone.py`.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable

import msgspec

from chordial_node.sip import digest
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import AuthParams, parse_auth, parse_expires, sent_by
from chordial_node.sip.message import Message
from tests.cluster.phones.dialog import compose, is_same, new_via
from tests.cluster.phones.flow import (
    Address,
    Flow,
    NoAnswerError,
    OnProvisional,
    OnRequest,
    OnStray,
)
from tests.cluster.phones.ledger import Ledger

MOST_CHALLENGES = 4
LONGEST_PAUSE = 60.0
ANSWERS = {
    401: (b"www-authenticate", b"Authorization"),
    407: (b"proxy-authenticate", b"Proxy-Authorization"),
}
Build = Callable[[bytes, int, bytes], bytes]
"""Makes a request from a Via value, a CSeq and an authorization line."""


class Settings(msgspec.Struct, frozen=True):
    """What all phones of a swarm share."""

    domain: str = "chordial.test"
    expires: int = 300
    hold: float = 3.0
    ring: float = 0.1
    retry_pause: float = 2.0
    patience: float = 40.0
    """How long a caller lets it ring."""


class Line:
    """One account on one socket."""

    def __init__(
        self, user: str, password: str, server: Address, settings: Settings, ledger: Ledger,
        on_request: OnRequest, on_stray: OnStray,
    ) -> None:  # fmt: skip
        self.user = user
        self.settings = settings
        self.ledger = ledger
        self.flow = Flow(server, ledger, on_request, on_stray)
        self.registered_until = 0.0
        self._password = password.encode()
        self._realm = settings.domain.encode()
        self._call_id = secrets.token_hex(12).encode()
        self._tag = secrets.token_hex(4).encode()
        self._expires = settings.expires
        self._cseq = 0
        self._challenges: dict[int, AuthParams] = {}
        self._counts: dict[bytes, int] = {}

    @property
    def aor(self) -> bytes:
        """The address of record."""
        return f"sip:{self.user}@{self.settings.domain}".encode()

    @property
    def contact(self) -> bytes:
        """The URI that we registered."""
        host, port = self.flow.local
        return b"sip:%b@%b" % (self.user.encode(), sent_by(host.encode(), port))

    async def stay_registered(self, on_settled: Callable[[str], None]) -> None:
        """Register, refresh, try again, until cancelled; the first result is told."""
        pause = self.settings.retry_pause
        is_first = True
        while True:
            cause, wait = await self._try_to_register()
            if cause:
                wait = max(wait, pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                pause = self.settings.retry_pause
            if is_first:
                on_settled(cause)
                is_first = False
            await asyncio.sleep(wait)

    async def unregister(self) -> None:
        """Remove the binding."""
        try:
            await self._register(0)
        except NoAnswerError:
            self.ledger.count("unregistered_without_answer")

    async def exchange(
        self, method: bytes, uri: bytes, build: Build, cseq: int, where: Address | None = None,
        on_provisional: OnProvisional | None = None,
        on_late: Callable[[Message], None] | None = None,
    ) -> tuple[Message, Message]:  # fmt: skip
        """Send a request, answer challenges; NoAnswerError when no final response comes."""
        nonces: list[bytes] = []
        while True:
            lines = self._authorization(method, uri)
            message, response = await self.flow.ask(
                build(new_via(self.flow.local), cseq, lines), where, on_provisional,
                self.settings.patience, on_late,
            )  # fmt: skip
            if response.status not in ANSWERS:
                return message, response
            nonce = self._take_challenge(response)
            if not nonce or nonce in nonces or len(nonces) >= MOST_CHALLENGES:
                return message, response
            nonces.append(nonce)
            cseq += 1

    async def _try_to_register(self) -> tuple[str, float]:
        """Return why it failed (empty: it did not) and how long to wait."""
        began = time.time()
        status, wait = 0, 0.0
        try:
            response, granted = await self._register(self._expires)
            if response.status == 423 and self._take_least(response):
                response, granted = await self._register(self._expires)
            status = response.status
            if granted:
                self._note_granted(granted)
                return "", granted * random.uniform(0.45, 0.55)
            cause = f"{status} {response.reason.decode('utf-8', 'replace')}"
            wait = min(parse_expires(response.first(b"retry-after") or b"0"), LONGEST_PAUSE)
        except NoAnswerError as error:
            cause = str(error)
        self.ledger.fail(
            "registration", self.user, "", self._call_id.decode(), began, "register", status, cause
        )
        return cause, wait

    def _note_granted(self, granted: int) -> None:
        now = time.time()
        self.ledger.count("registrations")
        if 0 < self.registered_until < now:
            self.ledger.count("registrations_lapsed")
        self.registered_until = now + granted

    async def _register(self, expires: int) -> tuple[Message, int]:
        registrar = b"sip:" + self._realm
        own = b"<%b>" % self.aor

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            self._cseq = cseq
            lines = b"Contact: <%b>;expires=%d\r\n%b" % (self.contact, expires, authorization)
            return compose(
                b"REGISTER", registrar, via, own + b";tag=" + self._tag, own, self._call_id, cseq,
                lines,
            )  # fmt: skip

        _, response = await self.exchange(b"REGISTER", registrar, build, self._cseq + 1)
        if not 200 <= response.status < 300 or not expires:
            return response, 0
        return response, self._granted(response, expires)

    def _take_least(self, response: Message) -> bool:
        """Ask for as much as the registrar wants at least (§10.2.8)."""
        least = parse_expires(response.first(b"min-expires") or b"0")
        if least <= self._expires:
            self.ledger.accuse("423 without a Min-Expires above what was asked", response.raw)
            return False
        self._expires = least
        return True

    def _granted(self, response: Message, asked: int) -> int:
        ours = [each for each in response.addresses(b"contact") if is_same(each.uri, self.contact)]
        if len(ours) != 1:
            self.ledger.accuse("200 to REGISTER without our Contact, once", response.raw)
            return 0
        value = ours[0].params.get(b"expires") or response.first(b"expires")
        granted = parse_expires(value) if value else 0
        if not 0 < granted <= asked:
            self.ledger.accuse("200 to REGISTER with a strange expires", response.raw)
            return 0
        return granted

    def _authorization(self, method: bytes, uri: bytes) -> bytes:
        """The credentials for the challenges known, as phones send them without being asked."""
        lines = b""
        for status, challenge in self._challenges.items():
            if (status == 401) != (method == b"REGISTER"):
                continue
            nonce = challenge.params[b"nonce"]
            count = self._counts[nonce] = self._counts.get(nonce, 0) + 1
            value = digest.answer(
                challenge, user=self.user.encode(), password=self._password, method=method,
                uri=uri, count=count, cnonce=secrets.token_hex(8).encode(),
            )  # fmt: skip
            lines += b"%b: %b\r\n" % (ANSWERS[status][1], value)
        return lines

    def _take_challenge(self, response: Message) -> bytes:
        """Keep a challenge and return its nonce, empty if it is none."""
        value = response.first(ANSWERS[response.status][0])
        try:
            challenge = parse_auth(value or b"")
        except RemoteProtocolError:
            self.ledger.accuse("unreadable challenge", response.raw)
            return b""
        nonce = challenge.params.get(b"nonce", b"")
        if not nonce or challenge.params.get(b"realm") != self._realm:
            self.ledger.accuse("challenge without nonce or of another realm", response.raw)
            return b""
        self.ledger.count("challenges")
        before = self._challenges.get(response.status)
        if before is not None:
            self._counts.pop(before.params[b"nonce"], None)
        self._challenges[response.status] = challenge
        return nonce
