"""A call from its caller's side: INVITE, what became of it, ACK, the talk, BYE.

RFC 3261 §13.2 and §15.1.1. A call has failed unless it was answered, held as long as agreed and
ended by a BYE that was answered. The callee's side stands in `phone.py`.
"""

import asyncio
import secrets
import time

import msgspec

from chordial_node.sip.message import Message
from chordial_node.sip.response import cancel
from tests.cluster.phones.dialog import Dialog, compose, faults_of_answer, joined, new_via
from tests.cluster.phones.flow import NoAnswerError
from tests.cluster.phones.phone import (
    ALLOW,
    BYE_PATIENCE,
    CALLEE_ENDS,
    CALLER_ENDS,
    SDP_TYPE,
    Call,
    Phone,
)

CANCEL_SECONDS = 5.0


class Outcome(msgspec.Struct, frozen=True):
    """What became of a call."""

    caller: str
    callee: str
    call_id: str
    began: float
    set_up: float
    """Seconds from INVITE to final response."""
    phase: str
    status: int
    cause: str
    """Why it failed; empty: it did not."""


async def place_call(phone: Phone, callee: str) -> Outcome:
    """Call somebody and see it through; failures are counted."""
    ledger = phone.ledger
    ledger.count("tried")
    letter = secrets.choice((CALLER_ENDS, CALLEE_ENDS))
    call_id = letter + secrets.token_hex(10).encode()
    began = time.time()
    phase, status, cause, set_up = await _call(phone, callee, call_id)
    outcome = Outcome(phone.user, callee, call_id.decode(), began, set_up, phase, status, cause)
    if cause:
        ledger.fail("call", phone.user, callee, outcome.call_id, began, phase, status, cause)
    else:
        ledger.count("completed")
    return outcome


async def _call(phone: Phone, callee: str, call_id: bytes) -> tuple[str, int, str, float]:
    began = time.monotonic()
    tag = secrets.token_hex(5).encode()
    try:
        invite, response = await _invite(phone, callee, call_id, tag)
    except NoAnswerError as error:
        return "set-up", 0, str(error), time.monotonic() - began
    set_up = time.monotonic() - began
    if response.status >= 300:
        reason = response.reason.decode("utf-8", "replace")
        return "set-up", response.status, f"{response.status} {reason}", set_up
    for fault in faults_of_answer(response):
        phone.ledger.accuse(fault, response.raw)
    call = Call(Dialog.of_caller(invite, response), invite)
    phone.calls[call_id + tag] = call
    flow = phone.line.flow
    call.ack = call.dialog.request(b"ACK", new_via(flow.local), invite.cseq.number)
    flow.send(call.ack, call.dialog.next_hop(flow.server))
    phone.ledger.answered()
    ended, cause = await _talk(phone, call)
    asyncio.get_running_loop().call_later(BYE_PATIENCE, phone.calls.pop, call_id + tag, None)
    return "end", ended or response.status, cause, set_up


async def _invite(phone: Phone, callee: str, call_id: bytes, tag: bytes) -> tuple[Message, Message]:
    line = phone.line
    target = f"sip:{callee}@{phone.settings.domain}".encode()
    sender = b"<%b>;tag=%b" % (line.aor, tag)
    headers = joined([phone.contact_line, ALLOW, SDP_TYPE])
    body = phone.body()

    def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
        return compose(
            b"INVITE", target, via, sender, b"<%b>" % target, call_id, cseq,
            headers + authorization, body,
        )  # fmt: skip

    def on_late(invite: Message) -> None:
        phone.keep(_cancel(phone, invite))

    def on_provisional(response: Message) -> None:
        if response.status == 180:
            phone.ledger.count("ringing")

    return await line.exchange(b"INVITE", target, build, 1, None, on_provisional, on_late)


async def _cancel(phone: Phone, invite: Message) -> None:
    """Cancel an INVITE that rings for too long; the transaction ends with its 487, or soon."""
    flow = phone.line.flow
    try:
        await flow.ask(cancel(invite))
    except NoAnswerError:
        phone.ledger.count("cancels_unanswered")
    await asyncio.sleep(CANCEL_SECONDS)
    flow.abandon(invite, "no final response")


async def _talk(phone: Phone, call: Call) -> tuple[int, str]:
    """Hold the call and end it, or hear it end; returns status and cause of a failed end."""
    hold = phone.settings.hold
    is_ours = call.dialog.call_id.startswith(CALLER_ENDS)
    try:
        async with asyncio.timeout(hold if is_ours else hold + BYE_PATIENCE):
            await call.ended.wait()
    except TimeoutError:
        status, cause = await phone.hang_up(call)
        return (status, cause) if is_ours else (0, "no BYE came")
    return (0, "BYE came too early") if is_ours else (0, "")
