"""RFC 4475 over the wire: its thirteen valid messages as real peers of `example.com` take them.

What the parser makes of them stands in `tests/node/sip/test_rfc4475_torture.py`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.raw_phone import LONG, SHORT, Heard, RawPhone
from tests.integration.rig import LocalFleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
FOLDER = Path(__file__).parents[3] / "shared" / "data" / "rfc4475-valid"
PLACE = ("127.0.0.77", 5060)
"""Where answers go to a Via without a port, at an address that no peer has."""
OVER_TCP = ("esc02", "intmeth", "longreq")
DOMAIN = "example.com"


def published(name: str) -> bytes:
    """Return a message of the RFC."""
    path = FOLDER / f"{name}.dat"
    if not path.exists():
        pytest.skip(f"the message {name}.dat of RFC 4475 is not in {FOLDER}")
    return path.read_bytes()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A ring of the domain that the messages are for."""
    fleet = LocalFleet(tmp_path_factory.mktemp("example") / "state", peers=4)
    try:
        fleet.up("--domain", DOMAIN)
        fleet.add_users(["user", "caller"], tmp_path_factory.mktemp("users"))
        yield fleet
    finally:
        fleet.down()


@pytest.fixture(autouse=True)
def no_fault(fleet: LocalFleet) -> Iterator[None]:
    """No message may end in a fault of ours."""
    yield
    fleet.assert_no_fault()


@pytest.fixture
def sender(fleet: LocalFleet, request: pytest.FixtureRequest) -> Iterator[RawPhone]:
    """Who says a message: over the transport of its first Via, at the second peer."""
    name = request.node.callspec.params["name"]
    try:
        opened = _opened(fleet, name)
    except OSError as error:
        pytest.skip(f"{PLACE[0]}:{PLACE[1]} cannot be had on this machine: {error}")
    with opened:
        yield opened


@pytest.fixture
def callee(fleet: LocalFleet) -> Iterator[RawPhone]:
    """The phone of user@example.com, at the third peer."""
    with RawPhone(fleet.sip(3), "user", domain=DOMAIN) as phone:
        assert phone.register()[0].status == 200
        yield phone
        assert phone.register(0, 11)[0].status == 200


def _opened(fleet: LocalFleet, name: str) -> RawPhone:
    if name in OVER_TCP:
        return RawPhone(fleet.sip(2, "tcp"), "caller", transport="tcp", domain=DOMAIN)
    return RawPhone(fleet.sip(2), "caller", local=PLACE, domain=DOMAIN)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("dblreq", 401),
        ("esc01", 403),  # of a stranger, for another domain
        ("esc02", 407),  # no REGISTER: a method that nobody knows, of a user of ours
        ("escnull", 401),
        ("intmeth", 407),
        ("lwsdisp", 407),
        ("mpart01", 407),
        ("semiuri", 480),  # of a stranger, for a user of ours that has no phone
        ("transports", 407),
        ("wsinv", 407),
    ],
)  # fmt: skip
def test_requests_are_answered(sender: RawPhone, name: str, status: int) -> None:
    """RFC 4475 §3.1.1: one answer to each valid request, with its Vias, Call-ID and CSeq."""
    raw = published(name)
    if name == "mpart01":  # its Via names a port and wants rport
        raw = raw.replace(b"SIP/2.0/UDP 127.0.0.1:5070", b"SIP/2.0/UDP 192.0.2.9:5070")
    sender.send(raw)
    heard = sender.hear(LONG)
    assert heard is not None
    assert heard.status == status, heard
    call_id = re.search(rb"(?mi)^(?:call-id|i)\s*:\s*(\S+)", raw)
    assert call_id is not None
    assert heard.get("Call-ID") == call_id[1].decode()
    if name in ("wsinv", "transports"):
        vias = [each for line in heard.all("Via") for each in line.split(",")]
        assert len(vias) == {"wsinv": 3, "transports": 5}[name]
    assert sender.hear(SHORT) is None, "one message, one answer"


@pytest.mark.parametrize("name", ["noreason", "unreason"])
def test_responses_that_nobody_waits_for_are_dropped(sender: RawPhone, name: str) -> None:
    """RFC 4475 §3.1.1.12 and §3.1.1.13: reason phrases that are odd or empty harm nobody."""
    sender.send(published(name))
    assert sender.hear(SHORT) is None
    sender.send(sender.request("OPTIONS", f"sip:{DOMAIN}"))
    assert sender.final().status == 200


@pytest.mark.parametrize("name", ["longreq"])
def test_long_values_reach_the_phone_unharmed(
    sender: RawPhone, callee: RawPhone, name: str
) -> None:
    """RFC 4475 §3.1.1.7: forwarded between peers and to a phone, and its answer comes back."""
    raw = published(name)
    sender.send(raw)
    asked = callee.hear(LONG)
    assert asked is not None
    assert asked.first.startswith("INVITE sip:user@")
    assert len(asked.all("Via")) == 34 + 2
    for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        key, _, value = line.decode().partition(":")
        if key.strip().lower() in ("to", "unknown-" + "long" * 20 + "-name", "call-id", "contact"):
            assert asked.get(key) == value.strip()
    assert asked.body == raw.partition(b"\r\n\r\n")[2][: len(asked.body)]
    assert len(asked.body) == 150
    callee.reply(asked, "486 Busy Here")
    answer = sender.final()
    assert answer.status == 486
    assert len(answer.all("Via")) == 34


@pytest.mark.parametrize("name", ["lwsdisp", "transports"])
def test_with_a_password_they_are_forwarded(sender: RawPhone, callee: RawPhone, name: str) -> None:
    """RFC 4475 §3.1.1.6 and §3.1.1.10: what only touches others passes through byte for byte."""
    raw = published(name)
    sender.send(raw)
    line = sender.answer(sender.final(), "OPTIONS", f"sip:user@{DOMAIN}")
    first, _, rest = raw.partition(b"\r\n")
    sender.send(first + b"\r\n" + line.encode() + b"\r\n" + rest)
    asked = _the_options(callee)
    assert asked.get("From") == read_header(raw, b"From")
    assert not asked.get("Proxy-Authorization"), "it is consumed here"
    assert len(asked.all("Via")) == raw.count(b"Via:") + 2
    callee.reply(asked, "200 OK")
    assert sender.final().status == 200


def _the_options(callee: RawPhone) -> Heard:
    asked = callee.hear(LONG)
    assert asked is not None
    assert asked.first.startswith("OPTIONS")
    return asked


def read_header(raw: bytes, name: bytes) -> str:
    """Return the value of a header as it stands in a message."""
    found = re.search(rb"(?m)^" + name + rb":\s*(.*?)\r$", raw)
    assert found is not None
    return found[1].decode()
