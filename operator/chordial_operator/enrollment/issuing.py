"""Certificates that an overlay's authority issues: for peers, listeners, the operator and admins.

Who deserves one was decided before (`checks`). The time and what is drawn are arguments.
"""

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from chordial_node.ids import NodeId
from chordial_node.security.authority import Term, make_private_key, public_key_of
from chordial_node.security.certificates import IdentityError, Role, TlsCredentials, Trust
from chordial_operator.enrollment.authority import (
    Draw,
    OverlayIdentity,
    OverlaySecrets,
    draw_serial,
)

OPERATOR_SECONDS = 86_400.0
ADMIN_SECONDS = 7 * 86_400.0
RENEWED_AT = 1 / 3
"""The part of its life after which a certificate is made anew."""
MOST_NAME_LENGTH = 64
MOST_LISTENER_NAMES = 100
ADMIN = "admin"
CA_FILE, ADMIN_FILE, ADMIN_KEY_FILE = "ca.pem", "admin.pem", "admin.key"


class Issued(msgspec.Struct, frozen=True):
    """A certificate, and what is kept of it."""

    certificate: bytes
    serial: int
    not_after: float


def issue_peer(
    secrets: OverlaySecrets, public_key: bytes, node: NodeId, name: str, *, term: Term
) -> Issued:
    """Issue the certificate of a peer."""
    certificate = secrets.authority.issue_peer(public_key, node, name[:MOST_NAME_LENGTH], term)
    ends = min(term.now + term.lifetime_seconds, secrets.authority.not_after)
    return Issued(certificate, term.serial, ends)


def issue_listener(
    secrets: OverlaySecrets,
    public_key: bytes,
    domains: Sequence[str],
    advertised: Sequence[str],
    *,
    term: Term,
) -> bytes:
    """Issue what a peer's TLS listeners show: the SIP domains, and what phones dial."""
    hosts, addresses = list(domains), []
    for each in advertised[:MOST_LISTENER_NAMES]:
        try:
            addresses.append(str(ipaddress.ip_address(each.strip("[]"))))
        except ValueError:
            if each not in hosts:
                hosts.append(each)
    return secrets.authority.issue_listener(public_key, hosts, addresses, term)


def operator_credentials(
    identity: OverlayIdentity, secrets: OverlaySecrets, *, now: float, draw: Draw
) -> TlsCredentials:
    """Make what the operator shows to peers: for a day, never written anywhere."""
    private_key = make_private_key()
    certificate = secrets.authority.issue_user(
        public_key_of(private_key),
        Role.OPERATOR,
        "chordial-operator",
        Term(now, OPERATOR_SECONDS, draw_serial(draw)),
    )
    return TlsCredentials(certificate, private_key, identity.roots)


def admin_files(
    identity: OverlayIdentity,
    secrets: OverlaySecrets,
    present: Mapping[str, bytes],
    *,
    now: float,
    draw: Draw,
) -> dict[str, bytes]:
    """Return the files of an overlay's admin; the present ones while they are good and young."""
    certificate, private_key = present.get(ADMIN_FILE, b""), present.get(ADMIN_KEY_FILE, b"")
    if not _is_young(identity, secrets, certificate, private_key, now):
        private_key = make_private_key()
        certificate = secrets.authority.issue_user(
            public_key_of(private_key),
            Role.ADMIN,
            ADMIN,
            Term(now, ADMIN_SECONDS, draw_serial(draw)),
        )
    return {CA_FILE: identity.roots, ADMIN_FILE: certificate, ADMIN_KEY_FILE: private_key}


def _is_young(
    identity: OverlayIdentity,
    secrets: OverlaySecrets,
    certificate: bytes,
    private_key: bytes,
    now: float,
) -> bool:
    """Tell whether who signs now has signed it, for this key, and its renewal is not due."""
    try:
        trust = Trust(identity.overlay_name, secrets.authority.certificate)
        shown = trust.identity_of(certificate, now, (Role.ADMIN,))
        belongs = public_key_of(private_key) == shown.public_key
    except (IdentityError, ValueError):
        return False
    due = shown.not_after - (1 - RENEWED_AT) * ADMIN_SECONDS
    return belongs and now < due
