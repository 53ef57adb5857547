"""Certificates for the tests of this folder: one overlay, one authority, a fixed time."""

from chordial_node.ids import NodeId, node_id
from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_node.security.certificates import Trust

OVERLAY = "chordial.test"
NOW = 1_800_000_000.0
YEAR = 365 * 86_400.0
ALICE_NODE = node_id("0123456789abcdef0123456789abcdef")
BOB_NODE = node_id("fedcba9876543210fedcba9876543210")


def make_authority(overlay_name: str = OVERLAY, now: float = NOW, serial: int = 1) -> Authority:
    return Authority.make(overlay_name, Term(now, YEAR, serial))


def peer_certificate(
    authority: Authority,
    node: NodeId = ALICE_NODE,
    now: float = NOW,
    lifetime_seconds: float = 86_400.0,
    private_key: bytes | None = None,
) -> bytes:
    public_key = public_key_of(private_key or make_private_key())
    return authority.issue_peer(public_key, node, "p1", Term(now, lifetime_seconds, 2))


def trust_in(*authorities: Authority, revoked: tuple[NodeId, ...] = ()) -> Trust:
    return Trust(OVERLAY, b"".join(each.certificate for each in authorities), revoked)
