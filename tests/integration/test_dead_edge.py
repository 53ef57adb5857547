"""A call outlives its caller's edge: both phones hang up through whoever is left (sip.md 2)."""

from pathlib import Path

import pytest

from tests.integration.raw_phone import Heard, RawPhone
from tests.integration.rig import DOMAIN, LocalFleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Call:
    """An answered call between two phones, as each of them knows it."""

    def __init__(self, caller: RawPhone, callee: RawPhone) -> None:
        self.caller, self.callee = caller, callee
        uri, to = f"sip:{callee.user}@{DOMAIN}", f"<sip:{callee.user}@{DOMAIN}>"
        lines = [caller.contact()]
        caller.send(caller.request("INVITE", uri, to=to, lines=lines))
        lines.append(caller.answer(caller.final(), "INVITE", uri))
        caller.send(caller.request("INVITE", uri, 2, to=to, lines=lines))
        self.asked = self._heard(callee, "INVITE")
        callee.reply(self.asked, "200 OK", callee.contact())
        self.answered = caller.final()
        assert self.answered.status == 200
        caller.send(self.of_caller("ACK", 2))
        self._heard(callee, "ACK")

    def of_caller(self, method: str, cseq: int) -> bytes:
        """Return a request of the caller in this call."""
        routes = [f"Route: {each}" for each in reversed(self.answered.all("Record-Route"))]
        uri, to = f"sip:{self.callee.user}@{self.callee.place}", self.answered.get("To")
        return self.caller.request(method, uri, cseq, lines=routes, to=to)

    def of_callee(self, method: str, cseq: int) -> bytes:
        """Return a request of the callee in this call."""
        routes = [f"Route: {each}" for each in self.asked.all("Record-Route")]
        uri = f"sip:{self.caller.user}@{self.caller.place}"
        own = f"<sip:{self.callee.user}@{DOMAIN}>;tag=callee"
        request = self.callee.request(
            method, uri, cseq, lines=routes, to=self.asked.get("From"), sender=own,
            call_id=self.caller.call_id,
        )  # fmt: skip
        return request.replace(f";tag={self.callee.call_id[:8]}".encode(), b"", 1)

    def ends(self, by: RawPhone, request: bytes, at: RawPhone, through: tuple[str, int]) -> None:
        """Hang up at one phone, and have the other agree."""
        by.send(request)
        bye = self._heard(at, "BYE")
        at.server = through  # answers go back where the request came from
        at.reply(bye, "200 OK")
        assert by.final().status == 200

    @staticmethod
    def _heard(phone: RawPhone, method: str) -> Heard:
        heard = phone.hear()
        assert heard is not None
        assert heard.first.startswith(method), heard.first
        return heard


def test_both_sides_hang_up_after_the_callers_edge_was_killed(
    own_fleet: LocalFleet, tmp_path: Path
) -> None:
    """RFC 5626 §4.3 for a fleet: no dialog belongs to the peer that carried it."""
    own_fleet.add_users(["alice", "bob"], tmp_path)
    second, third = own_fleet.sip(2), own_fleet.sip(3)
    with RawPhone(own_fleet.sip(1), "alice") as alice, RawPhone(second, "bob") as bob:
        for phone in (alice, bob):
            assert phone.register()[0].status == 200
        first = Call(alice, bob)
        alice.call_id = "a-second-call"
        other = Call(alice, bob)
        own_fleet.kill(1)
        alice.server = third
        other.ends(alice, other.of_caller("BYE", 3), bob, second)
        alice.call_id = first.asked.get("Call-ID")
        first.ends(bob, first.of_callee("BYE", 1), alice, second)
