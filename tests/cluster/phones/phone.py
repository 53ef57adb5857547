"""A phone that is called: takes requests strictly by RFC 3261 and answers calls.

§8.2, §9.2, §13.3, §15.1.2 and §17.2 from the side of a phone that others made: it answers 482 to
a second copy of an INVITE, 481 to what fits no dialog, and says so when a proxy brings what it
must not. Who hangs up is told by the first letter of the Call-ID. Placing calls: `calling.py`.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Coroutine

from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from tests.cluster.phones.dialog import Dialog, faults_in_dialog, faults_of_request, sdp
from tests.cluster.phones.flow import GIVE_UP, T1, T2, Address, NoAnswerError
from tests.cluster.phones.ledger import Ledger
from tests.cluster.phones.line import Line, Settings

CALLER_ENDS = b"a"
CALLEE_ENDS = b"b"
"""First letters of the Call-IDs of swarm calls: who hangs up after the holding time."""
BYE_PATIENCE = 40.0
"""A side that waits for BYE waits this long beyond the holding time: a transaction and more."""
FIRST_MEDIA_PORT = 40_000
MOST_REMEMBERED = 200
ALLOW = (b"Allow", b"INVITE, ACK, BYE, CANCEL, OPTIONS")
SDP_TYPE = (b"Content-Type", b"application/sdp")


class Call:
    """A call of one phone, whichever side it is."""

    def __init__(self, dialog: Dialog, invite: Message) -> None:
        self.dialog = dialog
        self.invite = invite
        self.acknowledged = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.ended = asyncio.Event()
        """The other side hung up."""
        self.ack = b""
        """The ACK that a caller sent for the 2xx."""


class Phone:
    """One phone of a swarm."""

    def __init__(
        self, user: str, password: str, server: Address, settings: Settings, ledger: Ledger,
        heard: "OrderedDict[bytes, str]",
    ) -> None:  # fmt: skip
        self.user = user
        self.settings = settings
        self.ledger = ledger
        self.line = Line(user, password, server, settings, ledger, self._on_request, self._on_stray)
        self.calls: OrderedDict[bytes, Call] = OrderedDict()
        """By Call-ID and our tag."""
        self._heard = heard
        self._served: OrderedDict[bytes, bytes] = OrderedDict()
        """The last response of each request, by branch and method (§17.2)."""
        self._invites: OrderedDict[bytes, Call] = OrderedDict()
        """Calls that may be cancelled or copied, by Call-ID and From tag."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Switch the phone off."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.line.flow.close()

    async def settled(self) -> None:
        """Return when the calls that came in have ended."""
        await asyncio.gather(*self._tasks)

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Run something that ends with the phone."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def contact_line(self) -> tuple[bytes, bytes]:
        """The Contact header of our requests and responses."""
        return b"Contact", b"<%b>" % self.line.contact

    def body(self) -> bytes:
        """Our session description."""
        local = self.line.flow.local
        return sdp(local, FIRST_MEDIA_PORT + local[1] % 10_000 * 2)

    async def hang_up(self, call: Call) -> tuple[int, str]:
        """Send BYE; returns its final status and, where it failed, the cause."""
        dialog = call.dialog

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            dialog.cseq = cseq
            return dialog.request(b"BYE", via, cseq, authorization)

        where = dialog.next_hop(self.line.flow.server)
        try:
            _, response = await self.line.exchange(
                b"BYE", dialog.target, build, dialog.cseq + 1, where
            )
        except NoAnswerError:
            return 0, "BYE unanswered"
        if response.status < 300 or (response.status == 481 and call.ended.is_set()):
            return response.status, ""
        return response.status, f"BYE {response.status} {response.reason.decode(errors='replace')}"

    # requests -----------------------------------------------------------------------------------

    def _on_request(self, request: Message, place: Address) -> None:
        key = request.via.branch + b" " + request.method
        if key in self._served:
            self.ledger.count("repeated_requests")
            self._send(self._served[key], request, place)
            return
        if request.method == b"ACK":
            self._on_ack(request)
            return
        for fault in faults_of_request(request, self.line.contact, self.settings.domain.encode()):
            self.ledger.accuse(fault, request.raw)
        request.note_source(place[0].encode(), place[1])
        if b"require" in request:
            unsupported = request.first(b"require") or b""
            self._answer(request, place, 420, headers=[(b"Unsupported", unsupported)])
        elif request.method == b"INVITE":
            self._on_invite(request, place)
        elif request.method == b"CANCEL":
            self._on_cancel(request, place)
        elif request.method == b"BYE":
            self._on_bye(request, place)
        elif request.method == b"OPTIONS":
            self._answer(request, place, 200, headers=[ALLOW, self.contact_line])
        else:
            self._answer(request, place, 405, headers=[ALLOW])

    def _on_invite(self, invite: Message, place: Address) -> None:
        if invite.to_tag:
            self._on_reinvite(invite, place)
            return
        same = invite.call_id + b" " + invite.from_tag
        other = self._invites.get(same)
        if other is not None and other.invite.cseq == invite.cseq:
            self.ledger.count("merged_requests")  # §8.2.2.2
            self._answer(invite, place, 482)
            return
        if not invite.values(b"contact"):
            self._answer(invite, place, 400, "INVITE without Contact")
            return
        tag = secrets.token_hex(5).encode()
        call = Call(Dialog.of_callee(invite, tag), invite)
        _remember(self._invites, same, call)
        _remember(self.calls, invite.call_id + tag, call)
        self._heard[invite.call_id] = self.user
        while len(self._heard) > 200_000:
            self._heard.popitem(last=False)
        self.ledger.count("heard")
        self.keep(self._ring(call, tag, place))

    def _on_reinvite(self, invite: Message, place: Address) -> None:
        call = self._in_dialog(invite, place)
        if call is not None:
            headers = [self.contact_line, SDP_TYPE]
            self._answer(invite, place, 200, headers=headers, body=self.body())

    def _on_ack(self, ack: Message) -> None:
        call = self.calls.get(ack.call_id + ack.to_tag)
        if call is None:
            if ack.via.branch + b" INVITE" in self._served:
                return  # of a call that was refused: this hop's own
            self.ledger.accuse("ACK that fits no call", ack.raw)
            return
        if b"route" in ack:
            self.ledger.accuse("ACK with a Route left for the phone", ack.raw)
        call.acknowledged.set()

    def _on_cancel(self, request: Message, place: Address) -> None:
        call = self._invites.get(request.call_id + b" " + request.from_tag)
        if call is None or call.invite.via.branch != request.via.branch:
            self._answer(request, place, 481)
            return
        self._answer(request, place, 200)
        call.cancelled.set()

    def _on_bye(self, request: Message, place: Address) -> None:
        call = self._in_dialog(request, place)
        if call is not None:
            call.ended.set()
            self._answer(request, place, 200)

    def _in_dialog(self, request: Message, place: Address) -> Call | None:
        call = self.calls.get(request.call_id + request.to_tag)
        if call is None:
            self.ledger.accuse("in-dialog request that fits no call", request.raw)
            self._answer(request, place, 481)
            return None
        for fault in faults_in_dialog(call.dialog, request):
            self.ledger.accuse(fault, request.raw)
        call.dialog.remote_cseq = request.cseq.number
        return call

    def _answer(
        self, request: Message, place: Address, status: int, reason: str = "", *,
        tag: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b"",
    ) -> None:  # fmt: skip
        to_tag = tag or secrets.token_hex(5).encode()
        response = respond(request, status, reason, to_tag=to_tag, headers=headers or (), body=body)
        _remember(self._served, request.via.branch + b" " + request.method, response)
        self._send(response, request, place)

    def _send(self, response: bytes, request: Message, place: Address) -> None:
        """Send a response where RFC 3261 §18.2.2 and RFC 3581 §4 want it."""
        via = request.via
        port = place[1] if via.wants_rport else via.port or 5060
        self.line.flow.send(response, (place[0], port))

    # calls that come in -------------------------------------------------------------------------

    async def _ring(self, call: Call, tag: bytes, place: Address) -> None:
        began = time.time()
        invite = call.invite
        self._answer(invite, place, 180, tag=tag, headers=[self.contact_line])
        if await _within(call.cancelled, self.settings.ring):
            self.ledger.count("cancelled")
            await self._until_acknowledged(call, tag, place, 487)
            return
        if not await self._until_acknowledged(call, tag, place, 200):
            self._fail(call, began, "set-up", 0, "no ACK came")
            await self.hang_up(call)
            return
        status, cause = await self._talk(call)
        if cause:
            self._fail(call, began, "end", status, cause)
        else:
            self.ledger.count("answers_completed")

    async def _talk(self, call: Call) -> tuple[int, str]:
        """Stay in the call; returns status and cause of a failed end."""
        hold = self.settings.hold
        if call.invite.call_id.startswith(CALLEE_ENDS):
            if await _within(call.ended, hold):
                return 0, "BYE came though it was ours to send"
            return await self.hang_up(call)
        if await _within(call.ended, hold + BYE_PATIENCE):
            return 0, ""
        await self.hang_up(call)
        return 0, "no BYE came"

    async def _until_acknowledged(
        self, call: Call, tag: bytes, place: Address, status: int
    ) -> bool:
        """Repeat a final response until its ACK comes; False when none does (§13.3.1.4)."""
        headers, body = [self.contact_line, ALLOW], b""
        if status == 200:
            headers.append(SDP_TYPE)
            body = self.body()
        self._answer(call.invite, place, status, tag=tag, headers=headers, body=body)
        response = self._served[call.invite.via.branch + b" INVITE"]
        pause, waited = T1, 0.0
        while not await _within(call.acknowledged, pause):
            waited += pause
            if waited >= GIVE_UP:
                return False
            pause = min(pause * 2, T2)
            self.ledger.count("retransmissions")
            self._send(response, call.invite, place)
        return True

    def _fail(self, call: Call, began: float, phase: str, status: int, cause: str) -> None:
        caller = call.invite.from_address.uri.decode(errors="replace")
        self.ledger.fail(
            "answer", self.user, caller.removeprefix("sip:").partition("@")[0],
            call.invite.call_id.decode(errors="replace"), began, phase, status, cause,
        )  # fmt: skip

    def _on_stray(self, response: Message) -> None:
        """A 2xx that came again, or from a second phone that answered (§13.2.2.4)."""
        call = self.calls.get(response.call_id + response.from_tag)
        if call is None:
            self.ledger.accuse("2xx to no call of ours", response.raw)
            return
        flow = self.line.flow
        if (response.first(b"to") or b"") == call.dialog.remote:
            self.ledger.count("repeated_responses")
            flow.send(call.ack, call.dialog.next_hop(flow.server))
            return
        self.ledger.accuse("a second phone answered", response.raw)


def _remember(kept: "OrderedDict[bytes, Call] | OrderedDict[bytes, bytes]", key: bytes,
              value: Call | bytes) -> None:  # fmt: skip
    kept[key] = value  # type: ignore[assignment]
    if len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether something happens within a time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
