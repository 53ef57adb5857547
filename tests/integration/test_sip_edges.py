"""Bare sockets against a real peer: keepalives, malformed input, replays, attempts to relay."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.raw_phone import SHORT, Heard, RawPhone
from tests.integration.rig import DOMAIN, LocalFleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def fleet(shared_fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory) -> LocalFleet:
    """The shared ring with the users of this file."""
    names = ("alice", "bob", "carol", "mallory")
    shared_fleet.add_users(names, tmp_path_factory.mktemp("users"))
    return shared_fleet


@pytest.fixture(autouse=True)
def no_fault(fleet: LocalFleet) -> Iterator[None]:
    """Nothing that a test sends may end in a fault of ours."""
    yield
    fleet.assert_no_fault()


@contextmanager
def phone(
    fleet: LocalFleet, number: int, user: str = "", transport: str = "udp"
) -> Iterator[RawPhone]:
    """A phone at a peer, by its number."""
    with RawPhone(fleet.sip(number, transport), user, transport=transport) as opened:
        yield opened


@contextmanager
def registered(fleet: LocalFleet, number: int, user: str) -> Iterator[RawPhone]:
    """A phone at a peer that is registered while the test runs."""
    with phone(fleet, number, user) as opened:
        assert opened.register()[0].status == 200
        yield opened
        assert opened.register(0, 11)[0].status == 200


def bindings(fleet: LocalFleet, user: str) -> list[str]:
    """The contacts of a user as the ring has them."""
    done = fleet.run("trace", f"sip:{user}@{DOMAIN}", "--json")
    return [each["contact"] for each in json.loads(done.stdout)["contacts"]]


# what is no message


def test_two_line_ends_are_answered_with_one_over_tcp(fleet: LocalFleet) -> None:
    """RFC 5626 §4.4.1: CRLF CRLF is a ping, CRLF its pong."""
    with phone(fleet, 1, transport="tcp") as tcp:
        tcp.send(b"\r\n\r\n")
        assert tcp.octets() == b"\r\n"
        tcp.send(b"\r\n\r\n" + tcp.request("OPTIONS", f"sip:{DOMAIN}"))
        assert (tcp.octets(SHORT) or b"").startswith(b"\r\n")


def test_stun_on_the_udp_port_tells_the_address(fleet: LocalFleet) -> None:
    """RFC 5626 §4.4.2: a Binding request on the SIP port is answered with its own address."""
    with phone(fleet, 2) as udp:
        transaction = b"twelve bytes"
        udp.send(struct.pack("!HHI", 1, 0, 0x2112A442) + transaction)
        answer = udp.octets()
        assert answer is not None
        kind, _, cookie, echoed = struct.unpack_from("!HHI12s", answer)
        assert (kind, cookie, echoed) == (0x0101, 0x2112A442, transaction)
        attribute, _, family, port, host = struct.unpack_from("!HHHHI", answer, 20)
        assert (attribute, family) == (0x0020, 1)
        assert port ^ 0x2112 == udp.local[1]
        assert socket.inet_ntoa(struct.pack("!I", host ^ cookie)) == "127.0.0.1"


@pytest.mark.parametrize(
    "noise",
    [b"", b"\r\n", b"\0" * 64, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 1500,
     b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"\x00\x01\x00\x08\x21\x12\xa4\x42short"],
)  # fmt: skip
def test_noise_gets_silence(fleet: LocalFleet, noise: bytes) -> None:
    with phone(fleet, 3) as udp:
        udp.send(noise)
        assert udp.octets(0.2) is None
        udp.send(udp.request("OPTIONS", f"sip:{DOMAIN}"))
        assert udp.final().status == 200


@pytest.mark.parametrize(
    ("old", "new"),
    [("CSeq: 1 OPTIONS", "CSeq: 99999999999 OPTIONS"), ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
     ("Max-Forwards: 70", "Max-Forwards: many"), ("Content-Length: 0", "Content-Length: -1"),
     ("Content-Length: 0", "Content-Length: 50"), ("From: <sip:", "From: <<sip:"),
     (f"OPTIONS sip:{DOMAIN} ", f"OPTIONS <sip:{DOMAIN}> ")],
)  # fmt: skip
def test_malformed_requests_get_400(fleet: LocalFleet, old: str, new: str) -> None:
    """RFC 3261 §21.4.1: the answer to what cannot be understood, over each transport."""
    for transport in ("udp", "tcp"):
        if transport == "tcp" and new == "Content-Length: 50":
            continue  # on a stream more may come
        with phone(fleet, 4, transport=transport) as raw:
            message = raw.request("OPTIONS", f"sip:{DOMAIN}").decode()
            assert old in message
            raw.send(message.replace(old, new).encode())
            assert raw.final().status == 400


def test_an_unknown_version_gets_505_and_an_unknown_scheme_416(fleet: LocalFleet) -> None:
    """RFC 3261 §21.5.6 and §8.2.2.1: versions and schemes that are not ours are named."""
    with phone(fleet, 4) as udp:
        udp.send(
            udp.request("OPTIONS", f"sip:{DOMAIN}").replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia")
        )
        assert udp.final().status == 505
        udp.send(udp.request("INVITE", "tel:+15551212"))
        assert udp.final().status == 416


def test_a_stream_whose_boundaries_are_lost_is_closed(fleet: LocalFleet) -> None:
    """RFC 3261 §18.3: without a length there is no next message on a stream."""
    with phone(fleet, 5, transport="tcp") as tcp:
        tcp.send(b"OPTIONS sip:x SIP/2.0\r\n" + b"A: b\r\n" * 4000)
        heard = tcp.octets()
        while heard:
            heard = tcp.octets()
        assert heard == b"", "it was not closed"


# questions


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_options_to_the_server_lists_what_it_takes(fleet: LocalFleet, transport: str) -> None:
    """RFC 3261 §11.2: Allow, Accept and Supported are told."""
    with phone(fleet, 2, transport=transport) as raw:
        raw.send(raw.request("OPTIONS", f"sip:{DOMAIN}"))
        heard = raw.final()
        assert heard.status == 200
        assert {"INVITE", "MESSAGE", "REGISTER"} <= set(heard.get("Allow").split(", "))
        assert "outbound" in heard.get("Supported")


def test_ipv6_is_spoken_where_the_machine_speaks_it(fleet: LocalFleet) -> None:
    """RFC 3261 §18, RFC 5118: the same peer listens on the IPv6 loopback."""
    config = (fleet.state / "peers" / "peer-1" / "config.json").read_text()
    if "::1" not in config:
        pytest.skip("this machine has no IPv6 loopback (::1)")
    port = fleet.sip(1)[1]
    for transport in ("udp", "tcp"):
        with RawPhone(("::1", port), "carol", transport=transport) as raw:
            heard, _ = raw.register()
            assert heard.status == 200
            assert f"[::1]:{raw.local[1]}" in heard.get("Contact")
            assert raw.register(0, 11)[0].status == 200


# proofs


def test_a_challenge_is_sent_once_and_leaves_nothing_behind(fleet: LocalFleet) -> None:
    """RFC 3261 §8.2.7: a stateless 401 or 407 is not repeated, and its ACK is absorbed."""
    with phone(fleet, 1, "alice") as udp:
        request = udp.request("INVITE", f"sip:bob@{DOMAIN}", to=f"<sip:bob@{DOMAIN}>")
        udp.send(request)
        heard = udp.hear()
        assert heard is not None
        assert heard.status == 407, "a 100 before the challenge would be an amplifier"
        assert udp.octets(1.3) is None, "T1 and 2·T1 have passed and it was sent again"
        udp.send(request)
        again = udp.hear()
        assert again is not None
        assert again.status == 407
        assert again.get("To") == heard.get("To")
        branch = heard.get("Via").partition("branch=")[2].partition(";")[0]
        udp.send(udp.request("ACK", f"sip:bob@{DOMAIN}", to=heard.get("To"), branch=branch))
        assert udp.octets(SHORT) is None


def test_a_replayed_authorization_takes_nothing_over(fleet: LocalFleet) -> None:
    """RFC 7616 §5.5, sip.md 5: what was sniffed serves nobody, at no peer."""
    with registered(fleet, 1, "bob") as bob:
        second, request = bob.register(120, 3)
        assert second.status == 200
        before = bindings(fleet, "bob")
        assert len(before) == 1
        for number in (1, 2, 5):
            with phone(fleet, number, "mallory") as thief:
                stolen = request.replace(bob.place.encode(), thief.place.encode())
                assert stolen != request
                thief.send(stolen)
                heard = thief.final()
                assert heard.status == 401
                assert "stale=true" in heard.get("WWW-Authenticate").lower().replace(" ", "")
        assert bindings(fleet, "bob") == before


def test_a_user_registers_nobody_else(fleet: LocalFleet) -> None:
    """RFC 3261 §10.3: the authenticated user must be the one of To."""
    with phone(fleet, 2, "mallory") as thief:
        uri, lines = f"sip:{DOMAIN}", [thief.contact()]
        other = f"<sip:alice@{DOMAIN}>"
        thief.send(thief.request("REGISTER", uri, lines=lines, to=other))
        lines.append(thief.answer(thief.final(), "REGISTER", uri))
        thief.send(thief.request("REGISTER", uri, 2, lines=lines, to=other))
        assert thief.final().status == 403
    assert bindings(fleet, "alice") == []


def test_known_and_unknown_users_are_challenged_alike(fleet: LocalFleet) -> None:
    """sip.md 22: nobody learns from a challenge whether a user exists."""
    seen: list[tuple[int, ...]] = []
    for user in ("alice", "nobody-at-all"):
        with phone(fleet, 3, user) as udp:
            answers = [_refused(udp), _refused(udp)]
            seen.append(tuple(heard.status for heard in answers))
    assert seen == [(401, 401), (401, 401)]


def _refused(udp: RawPhone) -> Heard:
    uri = f"sip:{DOMAIN}"
    udp.send(udp.request("REGISTER", uri, lines=[udp.contact()]))
    line = udp.answer(udp.final(), "REGISTER", uri)
    start = line.index('response="') + len('response="')
    wrong = line[:start] + "0" * 32 + line[start + 32 :]
    udp.send(udp.request("REGISTER", uri, 2, lines=[udp.contact(), wrong]))
    return udp.final()


# attempts to relay


def test_a_stranger_relays_nothing_by_route_or_request_uri(fleet: LocalFleet) -> None:
    """sip.md 3: a Route without our token gives no right, a To tag neither."""
    with phone(fleet, 1) as stranger, RawPhone(fleet.sip(1)) as victim:
        target = f"<sip:{victim.place};lr>"
        tries = (
            stranger.request("INVITE", f"sip:x@{victim.place}", lines=[f"Route: {target}"]),
            stranger.request("INVITE", f"sip:x@{victim.place}", 2, lines=[f"Route: {target}"],
                             to="<sip:x@a.test>;tag=forged"),
            stranger.request("BYE", f"sip:x@{victim.place}", 3, lines=[f"Route: {target}"],
                             to=f"<sip:bob@{DOMAIN}>;tag=forged"),
            stranger.request("MESSAGE", f"sip:bob@{DOMAIN}", 4, lines=[f"Route: {target}"]),
            stranger.request("INVITE", f"sip:x@{victim.place};transport=tcp", 5),
        )  # fmt: skip
        for attempt in tries:
            stranger.send(attempt)
            heard = stranger.hear(SHORT)  # a second try at a bare address gets silence: a scanner
            assert heard is None or heard.status in (403, 404, 481), heard
        assert victim.octets(SHORT) is None


def test_a_forged_token_gives_no_right(fleet: LocalFleet) -> None:
    """sip.md 1 and 3: a token of another call, or one with a bit changed, opens nothing."""
    with registered(fleet, 2, "bob") as bob, phone(fleet, 4) as stranger:
        invite = stranger.request(
            "INVITE", f"sip:bob@{DOMAIN}", to=f"<sip:bob@{DOMAIN}>",
            lines=[f"Contact: <sip:stranger@{stranger.place}>"],
        )  # fmt: skip
        stranger.send(invite)
        asked = bob.hear()
        assert asked is not None
        assert asked.first.startswith("INVITE")
        bob.reply(asked, "200 OK", bob.contact())
        answer = stranger.final()
        assert answer.status == 200
        routes = [f"Route: {each}" for each in reversed(answer.all("Record-Route"))]
        assert len(routes) == 2, "each phone side has its own"
        to, uri = answer.get("To"), f"sip:bob@{bob.place}"
        stranger.send(stranger.request("ACK", uri, lines=routes, to=to))
        heard = bob.hear()
        assert heard is not None
        assert heard.first.startswith("ACK")
        with phone(fleet, 4) as thief:
            spoilt = [f"{line[:20]}{'A' if line[20] != 'A' else 'B'}{line[21:]}" for line in routes]
            for cseq, lines in enumerate((routes, routes[1:], spoilt), 1):
                thief.send(thief.request("INFO", uri, cseq, lines=lines, to=to))
                assert thief.final().status in (403, 481)
        assert bob.octets(SHORT) is None
        stranger.send(stranger.request("BYE", uri, 7, lines=routes, to=to))
        bye = bob.hear()
        assert bye is not None
        assert bye.first.startswith("BYE")
        bob.reply(bye, "200 OK")
        assert stranger.final().status == 200


def test_strangers_steer_no_phone(fleet: LocalFleet) -> None:
    """sip.md 7: no NOTIFY, REFER or MESSAGE of strangers, and no header that opens a microphone."""
    with registered(fleet, 3, "carol") as carol, phone(fleet, 3) as stranger:
        uri, to = f"sip:carol@{DOMAIN}", f"<sip:carol@{DOMAIN}>"
        for cseq, method in enumerate(("NOTIFY", "REFER", "MESSAGE", "SUBSCRIBE"), 1):
            stranger.send(stranger.request(method, uri, cseq, to=to))
            assert stranger.final().status in (403, 481)
        assert carol.octets(SHORT) is None
        opening = (
            "Alert-Info: <http://a/>;info=auto-answer",
            "Answer-Mode: Auto",
            "Call-Info: <sip:a>;answer-after=0",
            "P-Asserted-Identity: <sip:boss@a.test>",
            f"traceparent: 00-{'1' * 32}-{'2' * 16}-01",
        )
        stranger.send(stranger.request("INVITE", uri, 9, to=to, lines=opening))
        asked = carol.hear()
        assert asked is not None
        assert asked.first.startswith("INVITE")
        for name in ("Alert-Info", "Answer-Mode", "P-Asserted-Identity", "traceparent"):
            assert not asked.get(name), name
        assert "answer-after" not in asked.get("Call-Info")
        carol.reply(asked, "486 Busy Here")
        assert stranger.final().status == 486
