"""Simulated phones: they speak real SIP over UDP, register with digest, call, answer and hang up.

RFC 3261 as a plain desk phone does it: one address, timers T1 and T2, one dialog a call. What is
asked of them, and when, is the workload's matter; that the right phone rings is the checkers'.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.simulation import sip_text
from chordial_node.simulation.population import DOMAIN
from chordial_node.simulation.sip_text import Sip
from chordial_node.simulation.world import World

T1 = 0.5
T2 = 4.0
TIMER_F = 64 * T1
MOST_CHALLENGES = 3
"""A phone whose packets reach another peer is challenged again (`stale=true`)."""
PATIENCE_SECONDS = 120.0
"""Nobody lets it ring for longer."""
RING_SECONDS = 0.3

Then = Callable[[Sip | None], None]


class Outcome(msgspec.Struct, frozen=True):
    """What a request of a phone came to."""

    status: int
    """0: nobody answered."""
    seconds: float
    expires: int = 0
    """Of a REGISTER: for how long the phone is registered."""


Ended = Callable[[Outcome], None]


class _Sent:
    """A request that waits for its final response."""

    __slots__ = ("edge", "is_done", "is_ringing", "request", "then")

    def __init__(self, request: Sip, edge: Address, then: Then) -> None:
        self.request = request
        self.edge = edge
        self.then = then
        self.is_done = False
        self.is_ringing = False


class _Dialog:
    """A call that stands, as this phone sees it."""

    __slots__ = ("call_id", "cseq", "edge", "local", "remote", "routes", "target")

    def __init__(
        self, message: Sip, edge: Address, *, local: str, remote: str, routes: list[str]
    ) -> None:
        self.call_id = message.get("Call-ID")
        self.edge = edge
        self.local = local
        self.remote = remote
        self.routes = routes
        self.target = sip_text.address_of(message.get("Contact"))
        self.cseq = 1000


class Phone:
    """One phone of one user."""

    def __init__(
        self, world: World, user: str, password: str, address: Address, contact: str = ""
    ) -> None:
        self.user = user
        self.address = address
        self.flow: Address | None = None
        """Behind a NAT and a Service: the one peer that its packets reach, and that reaches it."""
        self.calls_answered = 0
        self.messages: list[bytes] = []
        self.cseq = 0
        """CSeq of the last REGISTER; the Contact carries it as `n`."""
        self.heard: Callable[[Phone, Sip], None] = lambda phone, request: None
        """Called with each request that begins something here."""
        self._world = world
        self._password = password
        self._contact = contact or f"sip:{user}@{address[0]}:{address[1]}"
        self._sent: dict[tuple[str, str], _Sent] = {}
        self._dialogs: dict[str, _Dialog] = {}
        self._answered: dict[tuple[str, str], bytes] = {}
        self._numbers = 0
        self._counts = 0
        world.network.add_phone(address, self)

    @property
    def aor(self) -> str:
        """The address of record."""
        return f"sip:{self.user}@{DOMAIN}"

    # what a person does

    def register(self, edge: Address, expires: int, ended: Ended) -> int:
        """Register at a peer; return the CSeq under which it is asked."""
        self.cseq += 2  # one more for the repeat with credentials
        number = self.cseq
        contact = f'<{self._contact};n={number}>;+sip.instance="<urn:uuid:{self.user}>"'
        extra = [("Contact", f"{contact};expires={expires}")]
        request = self._request(
            "REGISTER", f"sip:{DOMAIN}", self.aor, f"reg-{self.user}", number - 1, extra
        )
        self._ask(request, edge, ended)
        return number

    def call(self, edge: Address, aor: str, hold_seconds: float, ended: Ended) -> None:
        """Call somebody, hold the call for a while, hang up; told when the INVITE is answered."""
        self._numbers += 1
        extra = [("Contact", f"<{self._contact}>"), ("Content-Type", "application/sdp")]
        request = self._request("INVITE", aor, aor, f"call-{self.user}-{self._numbers}", 1, extra)
        request.body = b"v=0\r\n"

        def answered(response: Sip | None) -> None:
            if response is not None and 200 <= response.status < 300:
                routes = list(reversed(response.all("Record-Route")))
                dialog = _Dialog(
                    response,
                    edge,
                    local=response.get("From"),
                    remote=response.get("To"),
                    routes=routes,
                )
                self._dialogs[dialog.call_id] = dialog
                cseq = int(response.get("CSeq").split()[0])
                self._send(self._within(dialog, "ACK", cseq), edge)
                self._world.at(hold_seconds, lambda: self.hang_up(dialog.call_id))

        self._ask(request, edge, ended, answered)

    def hang_up(self, call_id: str, ended: Ended = lambda outcome: None) -> None:
        """End a call."""
        dialog = self._dialogs.pop(call_id, None)
        if dialog is not None:
            dialog.cseq += 1
            self._ask(self._within(dialog, "BYE", dialog.cseq), dialog.edge, ended)

    def message(self, edge: Address, aor: str, text: bytes, ended: Ended) -> None:
        """Send a page-mode message (RFC 3428)."""
        self._numbers += 1
        extra = [("Content-Type", "text/plain")]
        request = self._request("MESSAGE", aor, aor, f"text-{self.user}-{self._numbers}", 1, extra)
        request.body = text
        self._ask(request, edge, ended)

    # what comes

    def on_datagram(self, source: Address, data: bytes) -> None:
        """Take a datagram."""
        if not data.strip() or (self.flow is not None and source != self.flow):
            return
        message = sip_text.parse(data)
        if message.status:
            self._on_response(message)
        else:
            self._on_request(message, source)

    def _on_response(self, response: Sip) -> None:
        sent = self._sent.get((response.branch, response.method))
        if sent is None or sent.is_done:
            return
        if response.status < 200:
            sent.is_ringing = True
            return
        sent.is_done = True
        if response.method == "INVITE" and response.status >= 300:
            self._send(self._ack_of(sent.request, response), sent.edge)
        sent.then(response)

    def _on_request(self, request: Sip, source: Address) -> None:
        if request.method == "ACK":
            return
        key = (request.branch, request.method)
        if key in self._answered:
            self._world.network.datagram(self.address, self.flow or source, self._answered[key])
            return
        tag = f"{self.user}-{len(self._answered)}"
        if request.method == "INVITE":
            self.heard(self, request)
            self._answer(request, source, 180, "Ringing", tag)
            self._world.at(RING_SECONDS, lambda: self._pick_up(request, source, tag))
        elif request.method == "BYE":
            known = self._dialogs.pop(request.get("Call-ID"), None)
            status, reason = (200, "OK") if known else (481, "Call Does Not Exist")
            self._answer(request, source, status, reason, tag)
        else:
            if request.method == "MESSAGE":
                self.heard(self, request)
                self.messages.append(request.body)
            self._answer(request, source, 200, "OK", tag)

    def _pick_up(self, request: Sip, source: Address, tag: str) -> None:
        self.calls_answered += 1
        response = self._answer(request, source, 200, "OK", tag)
        dialog = _Dialog(
            request,
            source,
            local=response.get("To"),
            remote=request.get("From"),
            routes=request.all("Record-Route"),
        )
        self._dialogs[dialog.call_id] = dialog

    # sending

    def _ask(
        self, request: Sip, edge: Address, ended: Ended, answered: Then = lambda response: None
    ) -> None:
        """Send a request, answer one challenge, tell how it ended."""
        started_us = self._world.now_us

        def finish(response: Sip | None) -> None:
            answered(response)
            took = (self._world.now_us - started_us) / 1_000_000
            ended(Outcome(response.status if response is not None else 0, took, _expires(response)))

        def prove(sent: Sip, challenges: int) -> Then:
            def then(response: Sip | None) -> None:
                for challenge, proof in _CHALLENGES if challenges else ():
                    if response is not None and response.get(challenge):
                        value = self._proof(response.get(challenge), sent)
                        again = self._again(sent, proof, value)
                        self._transmit(again, edge, prove(again, challenges - 1))
                        return
                finish(response)

            return then

        self._transmit(request, edge, prove(request, MOST_CHALLENGES))

    def _transmit(self, request: Sip, edge: Address, then: Then) -> None:
        sent = _Sent(request, edge, then)
        self._sent[(request.branch, request.method)] = sent
        self._send(request, edge)

        def repeat(after: float) -> None:
            if not sent.is_done and not (sent.is_ringing and request.method == "INVITE"):
                self._send(request, edge)
                longest = TIMER_F if request.method == "INVITE" else T2
                self._world.at(min(after * 2, longest), lambda: repeat(min(after * 2, longest)))

        def give_up() -> None:
            self._sent.pop((request.branch, request.method), None)
            if not sent.is_done:
                sent.is_done = True
                then(None)

        def lose_patience() -> None:
            if not sent.is_done and sent.is_ringing:
                self._world.at(PATIENCE_SECONDS, give_up)
            else:
                give_up()

        self._world.at(T1, lambda: repeat(T1))
        self._world.at(TIMER_F, lose_patience)

    def _send(self, message: Sip, to: Address) -> None:
        self._world.network.datagram(self.address, self.flow or to, sip_text.write(message))

    def _answer(self, request: Sip, source: Address, status: int, reason: str, tag: str) -> Sip:
        extra = [("Contact", f"<{self._contact}>")] if request.method == "INVITE" else []
        response = sip_text.answer(request, status, reason, tag, extra)
        data = sip_text.write(response)
        if len(self._answered) > 1000:
            self._answered.pop(next(iter(self._answered)))
        self._answered[(request.branch, request.method)] = data
        self._world.network.datagram(self.address, self.flow or source, data)
        return response

    # writing

    def _via(self) -> tuple[str, str]:
        self._numbers += 1
        host, port = self.address
        branch = f"z9hG4bK-{self.user}-{self._numbers}"
        return ("Via", f"SIP/2.0/UDP {host}:{port};branch={branch};rport")

    def _request(
        self,
        method: str,
        uri: str,
        to: str,
        call_id: str,
        cseq: int,
        extra: list[tuple[str, str]],
    ) -> Sip:
        headers = [
            self._via(),
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag={call_id}"),
            ("To", f"<{to}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        return Sip(f"{method} {uri} SIP/2.0", headers + extra)

    def _within(self, dialog: _Dialog, method: str, cseq: int) -> Sip:
        headers = [
            self._via(),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in dialog.routes),
            ("From", dialog.local),
            ("To", dialog.remote),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        return Sip(f"{method} {dialog.target} SIP/2.0", headers)

    def _ack_of(self, request: Sip, response: Sip) -> Sip:
        """The ACK to a refusal (RFC 3261 §17.1.1.3)."""
        cseq = request.get("CSeq").split()[0]
        headers = [
            ("Via", request.get("Via")),
            ("Max-Forwards", "70"),
            ("From", request.get("From")),
            ("To", response.get("To")),
            ("Call-ID", request.get("Call-ID")),
            ("CSeq", f"{cseq} ACK"),
        ]
        return Sip(f"ACK {request.uri} SIP/2.0", headers)

    def _proof(self, challenge: str, request: Sip) -> str:
        self._counts += 1
        return sip_text.authorization(
            challenge, self.user, self._password, request.method, request.uri, 1
        )

    def _again(self, request: Sip, proof: str, value: str) -> Sip:
        cseq = int(request.get("CSeq").split()[0]) + 1
        headers = [(proof, value)]
        for name, old in request.headers:
            if name == proof:
                continue
            if name == "Via":
                headers.insert(0, self._via())
            elif name == "CSeq":
                headers.append((name, f"{cseq} {request.method}"))
            else:
                headers.append((name, old))
        return Sip(request.first, headers, request.body)


def _expires(response: Sip | None) -> int:
    """What a phone takes from its own Contact in the answer to its REGISTER."""
    if response is None or response.method != "REGISTER":
        return 0
    _, _, value = response.get("Contact").partition(";expires=")
    digits = value.partition(";")[0]
    return int(digits) if digits.isdigit() else 0


_CHALLENGES = (
    ("WWW-Authenticate", "Authorization"),
    ("Proxy-Authenticate", "Proxy-Authorization"),
)
