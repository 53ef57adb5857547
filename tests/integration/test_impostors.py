"""Who holds a certificate that does not count, or is not theirs: refused, told, counted.

The fleet's own authority signs for the impostors, so nothing but the tested fault is wrong.
"""

import json
import secrets
import socket
import ssl
import time
import urllib.request
from pathlib import Path

import grpc
import msgspec
import pytest

from chordial_node.ids import WILDCARD, NodeId, node_id
from chordial_node.overlay.messages import Envelope, Hello, MemberRecord
from chordial_node.overlay.messages.codec import encode_body, encode_frame
from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_node.security.certificates import ANY_PEER_HOST, Role
from chordial_node.wire.link_pb2 import Frame
from tests.integration.rig import LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OVERLAY = "laptop"
STRANGER = node_id("42" * 16)
HOUR = 3600.0
EDGE_REFUSED = "chordial_edge_refused_total"
LINKS_REFUSED = "chordial_links_refused_total"


class Paper(msgspec.Struct):
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Impostor:
    """Comes to one peer with papers of the fleet's own authority."""

    def __init__(self, fleet: LocalFleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.state = fleet.state
        self.authority = Authority(
            OVERLAY, (self.state / "ca.pem").read_bytes(), (self.state / "ca.key").read_bytes()
        )

    def paper(self, node: NodeId, now: float | None = None) -> Paper:
        """Have a peer's certificate signed, which counts for an hour from a time on."""
        key = make_private_key()
        term = Term(now or time.time(), HOUR, secrets.randbits(100))
        return self._write(self.authority.issue_peer(public_key_of(key), node, "eve", term), key)

    def client_paper(self) -> Paper:
        """Have the certificate of a client of the control service signed."""
        key = make_private_key()
        term = Term(time.time(), HOUR, secrets.randbits(100))
        public = public_key_of(key)
        return self._write(self.authority.issue_user(public, Role.CLIENT, "eve", term), key)

    def _write(self, certificate: bytes, key: bytes) -> Paper:
        paper = Paper(self.folder / "eve.pem", self.folder / "eve.key")
        paper.certificate.write_bytes(certificate)
        paper.key.write_bytes(key)
        return paper

    def link(self, paper: Paper, *frames: bytes) -> str:
        """Open a link, say frames, and return why it ended."""
        credentials = grpc.ssl_channel_credentials(
            (self.state / "ca.pem").read_bytes(),
            paper.key.read_bytes(),
            paper.certificate.read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", ANY_PEER_HOST)]
        target = str(self.fleet.peer(1)["grpc"])
        with grpc.secure_channel(target, credentials, options) as channel:
            open_stream = channel.stream_stream("/chordial.link.v1.Link/Open", bytes, bytes)
            call = open_stream(iter(frames), timeout=10.0)
            try:
                for _ in call:
                    pass
            except grpc.RpcError as error:
                return str(error.details())
        return "it was closed"

    def peer_hop(self, paper: Paper) -> str:
        """Try the SIP hop between peers, and return what became of it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.state / "ca.pem")
        context.load_cert_chain(paper.certificate, paper.key)
        context.set_alpn_protocols(["chordial-sip"])
        sip = self.fleet.peer(1)["sip"]
        assert isinstance(sip, dict)
        host, _, port = str(sip["peer"]).rpartition(":")
        try:
            with (
                socket.create_connection((host, int(port)), 5) as raw,
                context.wrap_socket(raw) as secured,
            ):
                return "closed" if secured.recv(100) == b"" else "answered"
        except OSError as error:
            return str(error)

    def refusals(self, message: str) -> list[dict[str, str]]:
        """Return the lines that the peer has logged under a message."""
        lines = map(json.loads, self.fleet.log(1).splitlines())
        return [line for line in lines if line["message"] == message]

    def counted(self, name: str) -> float:
        """Return a counter of the peer's /metrics, over all its labels."""
        with urllib.request.urlopen(f"http://{self.fleet.peer(1)['http']}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.fixture
def impostor(shared_fleet: LocalFleet, tmp_path: Path) -> Impostor:
    """Somebody at the door of the first peer."""
    return Impostor(shared_fleet, tmp_path)


def hello_of(node: NodeId, incarnation: int = 9_000, overlay_name: str = OVERLAY) -> bytes:
    """Return the first frame of a link, which claims to come from a peer."""
    place = ("127.0.0.1", 9)
    member = MemberRecord(node, incarnation, 0, "eve", place, place, "eve", True)
    hello = Hello(1, overlay_name, member, int(time.time() * 1000), True)
    envelope = Envelope(
        method=Hello.CODE,
        transaction=0,
        source=node,
        destination=WILDCARD,
        to_resource=False,
        ttl=1,
        via=[],
        avoid=[],
        trace=None,
        hops=0,
        body=encode_body(hello),
    )
    return Frame(envelopes=encode_frame([envelope])).SerializeToString()


def peer_ids(fleet: LocalFleet) -> list[str]:
    """Return the Node-IDs of the fleet, in its order."""
    return [
        each["node_id"] for each in json.loads((fleet.state / "fleet.json").read_text())["peers"]
    ]


def test_an_expired_certificate_opens_no_link(impostor: Impostor) -> None:
    """RFC 6940 §11.3, RFC 5280 §6.1.3: the time of a certificate is checked on every link."""
    before, counted = len(impostor.refusals("outsider refused")), impostor.counted(EDGE_REFUSED)
    impostor.link(impostor.paper(STRANGER, time.time() - 2 * HOUR))
    refused = wait_for(lambda: impostor.refusals("outsider refused")[before:])
    assert "certificate has expired" in refused[-1]["told"]
    assert impostor.counted(EDGE_REFUSED) > counted


def test_an_expired_certificate_opens_no_hop_between_peers(impostor: Impostor) -> None:
    """sip.md 8: the listener of peers asks for a certificate that counts."""
    before, counted = len(impostor.refusals("outsider refused")), impostor.counted(EDGE_REFUSED)
    assert impostor.peer_hop(impostor.paper(STRANGER, time.time() - 2 * HOUR)) != "answered"
    refused = wait_for(lambda: impostor.refusals("outsider refused")[before:])
    assert "expired" in refused[-1]["told"]
    assert impostor.counted(EDGE_REFUSED) > counted


def test_a_client_is_no_peer(impostor: Impostor) -> None:
    """RFC 6940 §11.3: a certificate of the overlay that names no Node-ID opens no link."""
    before, counted = len(impostor.refusals("outsider refused")), impostor.counted(EDGE_REFUSED)
    told = impostor.link(impostor.client_paper(), hello_of(STRANGER))
    assert "the certificate's role is client, needed is peer" in told
    (refused,) = wait_for(lambda: impostor.refusals("outsider refused")[before:])
    assert refused["reason"] == "wrong_role"
    assert impostor.counted(EDGE_REFUSED) == counted + 1


def test_nobody_links_with_the_peers_own_node_id(impostor: Impostor) -> None:
    """RFC 6940 §11.3: a copy of the peer's identity is refused by the peer itself."""
    before = len(impostor.refusals("outsider refused"))
    told = impostor.link(impostor.paper(node_id(peer_ids(impostor.fleet)[0])))
    assert "the Node-ID is this peer's own" in told
    (refused,) = wait_for(lambda: impostor.refusals("outsider refused")[before:])
    assert refused["reason"] == "other_node"


def test_a_node_id_that_the_certificate_does_not_prove_is_refused(impostor: Impostor) -> None:
    """RFC 6940 §11.3: who says to be another than the certificate does gets no link."""
    before, counted = len(impostor.refusals("peer refused")), impostor.counted(LINKS_REFUSED)
    second = node_id(peer_ids(impostor.fleet)[1])
    impostor.link(impostor.paper(STRANGER), hello_of(second))
    (refused,) = wait_for(lambda: impostor.refusals("peer refused")[before:])
    assert refused["node"] == STRANGER.hex()
    assert second.hex() in refused["reason"]
    assert impostor.counted(LINKS_REFUSED) == counted + 1
    assert impostor.fleet.command("status")["overlay"] == {"size": 5, "copies": 3, "health": "ok"}


def test_another_overlay_of_the_same_authority_is_refused(impostor: Impostor) -> None:
    """RFC 6940 §6.3.2: the overlay's name is compared before anything is believed."""
    before, counted = len(impostor.refusals("peer refused")), impostor.counted(LINKS_REFUSED)
    impostor.link(impostor.paper(STRANGER), hello_of(STRANGER, overlay_name="elsewhere"))
    (refused,) = wait_for(lambda: impostor.refusals("peer refused")[before:])
    assert "elsewhere" in refused["reason"]
    assert impostor.counted(LINKS_REFUSED) == counted + 1
