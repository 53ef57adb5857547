"""What `chordial up` shows: two phones at two peers, a call, a message, and the way there."""

import asyncio
import contextlib
import secrets

import msgspec

from chordial_node.boundary.control import AskTrace, ForcedTrace, ForceTrace, TraceAnswer
from chordial_node.cli.asking import ask
from chordial_node.cli.fleet import Fleet, write_whole
from chordial_node.cli.output import Output, Value
from chordial_node.cli.phones import DEMO_FILE, demo_passwords, sip_address
from chordial_node.cli.sip_client import Account, SipError
from chordial_node.cli.trace import hop_values, show_path
from chordial_node.cli.user_agent import UserAgent
from chordial_node.cli.users import set_user

USERS = ("alice", "bob")
TEXT = "hello through the ring"
TALK_SECONDS = 0.5
RING_SECONDS = 0.2
TEXT_LIMIT_SECONDS = 5.0


class Demonstration:
    """Two phones of our own, registered at two different peers."""

    def __init__(self, fleet: Fleet, output: Output) -> None:
        self._fleet = fleet
        self._output = output
        self._caller_edge, self._callee_edge = fleet.file.peers[0], fleet.file.peers[-1]
        self._text: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> tuple[bool, dict[str, Value]]:
        """Register, call, write, draw; tell whether all of it worked, and what there is to show."""
        passwords = await self._users()
        await self._choose_edges()
        alice, bob = (self._phone(user, passwords[user]) for user in USERS)
        await alice.open()
        await bob.open()
        try:
            await self._register(alice, self._caller_edge.name)
            await self._register(bob, self._callee_edge.name)
            call = await self._call(alice, bob)
            message = await self._message(alice, bob)
            await self._draw()
        finally:
            await _hang_up_phones(alice, bob)
        works = call["status"] == 200 and message["status"] == 200
        return works, {"call": call, "message": message}

    async def _choose_edges(self) -> None:
        """Take a caller's edge that has to ask others for the callee, and another one for him."""
        peers = self._fleet.file.peers
        for peer in peers:
            self._caller_edge = peer
            if len((await self._path()).hops) > 1:
                break
        others = [peer for peer in peers if peer is not self._caller_edge]
        self._callee_edge = others[len(others) // 2] if others else self._caller_edge

    async def _users(self) -> dict[str, str]:
        passwords = demo_passwords(self._fleet)
        if not passwords:
            passwords = {user: secrets.token_urlsafe(16) for user in USERS}
            write_whole(self._fleet.state / DEMO_FILE, msgspec.json.encode(passwords))
        for user, password in passwords.items():
            await set_user(self._fleet, user, self._fleet.file.domain, password)
        return passwords

    def _phone(self, user: str, password: str) -> UserAgent:
        edge = self._caller_edge if user == USERS[0] else self._callee_edge
        return UserAgent(
            Account(user, self._fleet.file.domain, password),
            sip_address(self._fleet, edge, "udp"),
            on_text=self._on_text,
            ring_seconds=RING_SECONDS,
        )

    def _on_text(self, _sender: str, text: str) -> None:
        if not self._text.done():
            self._text.set_result(text)

    async def _register(self, phone: UserAgent, edge: str) -> None:
        binding = await phone.register()
        self._output.done(f"{phone.account.aor} registered at {edge} for {binding.expires} s")

    async def _call(self, alice: UserAgent, bob: UserAgent) -> dict[str, Value]:
        call_id = secrets.token_hex(12).encode()
        forced = await ask(self._fleet, self._caller_edge, ForceTrace(call_id=call_id), ForcedTrace)
        path = await self._path()
        call = await alice.call(bob.account.aor, call_id=call_id)
        if call.is_answered:
            await asyncio.sleep(TALK_SECONDS)
            await alice.hang_up(call)
            self._output.done(
                f"{alice.account.aor} called {bob.account.aor}: rang after "
                f"{call.ringing_ms or 0.0:.1f} ms, talked, hung up"
            )
        else:
            self._output.failed(f"the call was refused: {call.status} {call.reason}")
        return {
            "from": alice.account.aor,
            "to": bob.account.aor,
            "status": call.status,
            "set_up_ms": round(call.set_up_ms, 3),
            "path": hop_values(path),
            "trace_id": forced.trace_id.hex(),
        }

    async def _message(self, alice: UserAgent, bob: UserAgent) -> dict[str, Value]:
        status, reason, taken = await alice.message(bob.account.aor, TEXT)
        if status == 200:
            async with asyncio.timeout(TEXT_LIMIT_SECONDS):
                text = await self._text
            self._output.done(
                f"{alice.account.aor} wrote {bob.account.aor}: “{text}” ({taken:.1f} ms)"
            )
        else:
            self._output.failed(f"the message was refused: {status} {reason}")
        return {
            "from": alice.account.aor,
            "to": bob.account.aor,
            "status": status,
            "set_up_ms": round(taken, 3),
            "path": [],
            "trace_id": "",
        }

    async def _draw(self) -> None:
        self._output.say("")
        show_path(self._output, await self._path())

    async def _path(self) -> TraceAnswer:
        question = AskTrace(target=f"sip:{USERS[1]}@{self._fleet.file.domain}")
        return await ask(self._fleet, self._caller_edge, question, TraceAnswer)


async def _hang_up_phones(*phones: UserAgent) -> None:
    """Take the phones' bindings back, as far as that still works, and end them."""
    for phone in phones:
        with contextlib.suppress(SipError):
            await phone.register(0)
        await phone.close()
