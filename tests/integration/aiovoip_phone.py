"""A phone that others made, as a process of its own: aiovoip, told what to do line by line.

`python aiovoip_phone.py HOST PORT USER`; reads commands from standard input (`register`,
`unregister`, `invite USER`, `bye`, `quit`) and writes a JSON line for whatever happens.
"""
# mypy: disable-error-code="no-untyped-call"

import asyncio
import json
import sys

from aiovoip import Application, BaseDialplan
from aiovoip.contact import Contact
from aiovoip.dialog import InviteDialog

DOMAIN = "chordial.test"
SDP = "\r\n".join(
    (
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        "m=audio 9 RTP/AVP 0",
        "",
    )
)


def tell(**what: object) -> None:
    """Write a line for the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Phone(Application):
    """aiovoip, helped over two faults of its own.

    It forgets a call at a 100, which has no To tag, and cannot read Vias that stand in two lines.
    """

    async def _dispatch(self, protocol: object, message: object, address: object) -> None:
        if getattr(message, "status_code", 0) != 100:
            await super()._dispatch(protocol, message, address)

    async def _run_dialplan(self, protocol: object, message: object) -> None:
        headers = message.headers  # type: ignore[attr-defined]
        if isinstance(headers["Via"], list):
            headers["Via"] = ", ".join(headers["Via"])
        await super()._run_dialplan(protocol, message)


class Answering(BaseDialplan):
    """Takes every call and every message."""

    async def resolve(self, method: str, *arguments: object, **more: object) -> object:
        """Return what serves a request."""
        return {"INVITE": self.invited, "MESSAGE": self.written}.get(method)

    async def written(self, request: object, message: object) -> None:
        """Take a message."""
        tell(happened="MESSAGE", text=message.payload)  # type: ignore[attr-defined]
        await request.prepare(status_code=200)  # type: ignore[attr-defined]

    async def invited(self, request: object, message: object) -> None:
        """Take a call, and tell of everything in it."""
        tell(happened="INVITE")
        headers = {"Content-Type": "application/sdp"}
        record = message.headers.get("Record-Route")  # type: ignore[attr-defined]
        if record:
            headers["Record-Route"] = record
        dialog = await request.prepare(200, payload=SDP, headers=headers)  # type: ignore[attr-defined]
        async for heard in dialog:
            tell(happened=heard.method)
            if heard.method == "BYE":
                await dialog.reply(heard, status_code=200)
                return


class Session:
    """What the commands do."""

    def __init__(self, host: str, port: int, user: str) -> None:
        self.user = user
        self.server = (host, port)
        defaults = {"override_contact_host": "127.0.0.1"}
        self.app = Phone(defaults=defaults, dialplan=Answering())
        self.registration: object = None
        self.call: InviteDialog | None = None

    async def run(self) -> None:
        """Serve commands until the last one."""
        loop = asyncio.get_running_loop()
        self.peer = await self.app.connect(self.server, local_addr=("127.0.0.1", 0))
        while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            if words[0] == "quit":
                return
            await getattr(self, words[0])(*words[1:])

    async def register(self) -> None:
        """Register with digest."""
        me = Contact.from_header(f"sip:{self.user}@{DOMAIN}")
        to = Contact.from_header(f"sip:{self.user}@{DOMAIN}")
        self.registration = await self.peer.register(
            from_details=me, to_details=to, password=f"{self.user}pw", expires=120
        )
        tell(status=self.registration.status_code)  # type: ignore[attr-defined]

    async def unregister(self) -> None:
        """Take the registration back."""
        answer = await self.registration.request("REGISTER", headers={"Expires": "0"})  # type: ignore[attr-defined]
        tell(status=answer.status_code)

    async def invite(self, whom: str) -> None:
        """Call as a stranger: aiovoip cannot answer a 407."""
        self.call = await self.peer.invite(
            from_details=Contact.from_header("sip:guest@elsewhere.test"),
            to_details=Contact.from_header(f"sip:{whom}@{DOMAIN}"),
            headers={"Content-Type": "application/sdp"},
            payload=SDP,
        )
        async for heard in self.call.wait_for_terminate():
            tell(status=heard.status_code)

    async def bye(self) -> None:
        """End the call, without a route set."""
        assert self.call is not None
        await self.call.close(timeout=5)
        tell(happened="ended")


async def main() -> None:
    """Run one phone; aiovoip wants to be made inside its loop."""
    await Session(sys.argv[1], int(sys.argv[2]), sys.argv[3]).run()


if __name__ == "__main__":
    asyncio.run(main())
