"""Certificates prove an identity, or say why they do not."""

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import NodeId
from chordial_node.security.authority import Term, make_private_key, public_key_of
from chordial_node.security.certificates import (
    Identity,
    IdentityError,
    Refusal,
    Role,
    Trust,
    claims_of,
    identity_uri,
    key_hash_of,
    peer_host,
)
from tests.node.security.issued import (
    ALICE_NODE,
    BOB_NODE,
    NOW,
    OVERLAY,
    YEAR,
    make_authority,
    peer_certificate,
    trust_in,
)

AUTHORITY = make_authority()
PEER_PEM = peer_certificate(AUTHORITY)
PEER_DER = x509.load_pem_x509_certificate(PEER_PEM).public_bytes(Encoding.DER)
KEY = make_private_key()


def refusal(trust: Trust, certificate: bytes, now: float = NOW) -> Refusal:
    with pytest.raises(IdentityError) as caught:
        trust.identity_of(certificate, now)
    return caught.value.refusal


def test_a_peers_certificate_proves_its_identity() -> None:
    certificate = peer_certificate(AUTHORITY, private_key=KEY)
    assert trust_in(AUTHORITY).identity_of(certificate, NOW) == Identity(
        overlay_name=OVERLAY,
        role=Role.PEER,
        name="p1",
        node_id=ALICE_NODE,
        public_key=public_key_of(KEY),
        not_after=NOW + 86_400,
    )


def test_pem_and_der_prove_the_same() -> None:
    trust = trust_in(AUTHORITY)
    assert trust.identity_of(PEER_PEM, NOW) == trust.identity_of(PEER_DER, NOW)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.CLIENT])
def test_a_users_certificate_proves_role_and_name(role: Role) -> None:
    term = Term(NOW, 60.0, 3)
    certificate = AUTHORITY.issue_user(public_key_of(KEY), role, "carol", term)
    identity = trust_in(AUTHORITY).identity_of(certificate, NOW)
    assert (identity.role, identity.name, identity.node_id) == (role, "carol", None)
    assert identity.uri == f"chordial://{OVERLAY}/{role}/carol"


def test_a_role_that_is_not_asked_for_is_refused() -> None:
    trust = trust_in(AUTHORITY)
    certificate = AUTHORITY.issue_user(public_key_of(KEY), Role.CLIENT, "carol", Term(NOW, 60.0, 3))
    with pytest.raises(IdentityError, match="role is client, needed is peer") as caught:
        trust.peer_of(certificate, NOW)
    assert caught.value.refusal is Refusal.WRONG_ROLE


def test_both_authorities_count_while_they_are_exchanged() -> None:
    new = make_authority(serial=9)
    both = trust_in(AUTHORITY, new)
    assert both.peer_of(PEER_PEM, NOW) == ALICE_NODE
    assert both.peer_of(peer_certificate(new, BOB_NODE), NOW) == BOB_NODE
    assert refusal(trust_in(new), PEER_PEM) is Refusal.UNKNOWN_AUTHORITY


def test_an_authority_of_the_same_name_with_another_key_is_unknown() -> None:
    assert refusal(trust_in(make_authority()), PEER_PEM) is Refusal.UNKNOWN_AUTHORITY


def test_a_certificate_counts_between_its_times_alone() -> None:
    trust = trust_in(make_authority(now=NOW - YEAR / 2), AUTHORITY)
    assert refusal(trust, PEER_PEM, NOW - 301) is Refusal.NOT_YET_VALID
    assert trust.peer_of(PEER_PEM, NOW - 300) == ALICE_NODE
    assert trust.peer_of(PEER_PEM, NOW + 86_400) == ALICE_NODE
    assert refusal(trust, PEER_PEM, NOW + 86_401) is Refusal.EXPIRED


def test_nothing_counts_after_its_authority_has_ended() -> None:
    certificate = peer_certificate(AUTHORITY, lifetime_seconds=2 * YEAR)
    assert claims_of(certificate).not_after == NOW + YEAR
    assert refusal(trust_in(AUTHORITY), certificate, NOW + YEAR + 1) is Refusal.EXPIRED


def test_a_certificate_of_another_overlay_is_refused_even_by_the_same_authority() -> None:
    trust = Trust("elsewhere.test", AUTHORITY.certificate)
    assert refusal(trust, PEER_PEM) is Refusal.OTHER_OVERLAY


def test_a_revoked_peer_is_refused_and_the_others_are_not() -> None:
    trust = trust_in(AUTHORITY, revoked=(ALICE_NODE,))
    assert refusal(trust, PEER_PEM) is Refusal.REVOKED
    assert trust.is_revoked(ALICE_NODE)
    assert trust.peer_of(peer_certificate(AUTHORITY, BOB_NODE), NOW) == BOB_NODE


def test_where_one_key_counts_another_is_superseded_and_its_host_is_not_dialed() -> None:
    stolen, own = make_private_key(), make_private_key()
    old, new = (peer_certificate(AUTHORITY, private_key=each) for each in (stolen, own))
    key_hash = key_hash_of(public_key_of(own))
    trust = trust_in(AUTHORITY)
    assert trust.host_of(ALICE_NODE) == peer_host(ALICE_NODE)
    later = Trust(OVERLAY, AUTHORITY.certificate, keys={ALICE_NODE: key_hash})
    assert trust.rekeyed(later) == (ALICE_NODE,)
    trust.take(later)
    assert trust.rekeyed(later) == ()
    assert refusal(trust, old) is Refusal.OTHER_KEY
    assert trust.peer_of(new, NOW) == ALICE_NODE
    assert trust.peer_of(peer_certificate(AUTHORITY, BOB_NODE), NOW) == BOB_NODE
    names = [hosts_of(each) for each in (old, new)]
    assert [trust.host_of(ALICE_NODE) in each for each in names] == [False, True]


def hosts_of(certificate: bytes) -> list[str]:
    names = x509.load_pem_x509_certificate(certificate).extensions
    found = names.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def test_somebody_elses_node_id_is_refused() -> None:
    trust = trust_in(AUTHORITY)
    assert trust.peer_of(PEER_PEM, NOW, expected=ALICE_NODE) == ALICE_NODE
    with pytest.raises(IdentityError, match=f"expected was {BOB_NODE.hex()}") as caught:
        trust.peer_of(PEER_PEM, NOW, expected=BOB_NODE)
    assert caught.value.refusal is Refusal.OTHER_NODE


def test_an_authoritys_own_certificate_is_no_identity() -> None:
    assert refusal(trust_in(AUTHORITY), AUTHORITY.certificate) is Refusal.MALFORMED


def test_a_listeners_certificate_is_no_identity() -> None:
    listener = AUTHORITY.issue_listener(public_key_of(KEY), [OVERLAY], [], Term(NOW, 60.0, 4))
    assert refusal(trust_in(AUTHORITY), listener) is Refusal.MALFORMED


@pytest.mark.parametrize("rubbish", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x03abc"])
def test_rubbish_is_malformed(rubbish: bytes) -> None:
    assert refusal(trust_in(AUTHORITY), rubbish) is Refusal.MALFORMED


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.integers(0, len(PEER_DER) - 1), st.integers(1, 255))
def test_one_changed_byte_proves_nothing_else(position: int, difference: int) -> None:
    trust = trust_in(AUTHORITY)
    changed = bytearray(PEER_DER)
    changed[position] ^= difference
    with suppress(IdentityError):
        # The copy of the algorithm outside of what is signed may differ, and says nothing.
        assert trust.identity_of(bytes(changed), NOW) == trust.identity_of(PEER_DER, NOW)


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.integers(0, len(PEER_DER) - 1), st.integers(1, 255))
def test_claims_of_anything_are_read_or_refused(position: int, difference: int) -> None:
    changed = bytearray(PEER_DER)
    changed[position] ^= difference
    with suppress(IdentityError):
        claims_of(bytes(changed))


def test_a_bundle_holds_one_or_two_authorities() -> None:
    with pytest.raises(ValueError, match="at most 2 authorities, this one 3"):
        trust_in(AUTHORITY, AUTHORITY, AUTHORITY)
    with pytest.raises(ValueError, match="is no authority"):
        Trust(OVERLAY, PEER_PEM)
    with pytest.raises(ValueError, match="Unable to load PEM"):
        Trust(OVERLAY, b"")


@pytest.mark.parametrize(
    ("overlay_name", "role", "name", "node"),
    [
        ("Upper.test", Role.CLIENT, "carol", None),
        ("a/b", Role.CLIENT, "carol", None),
        ("", Role.CLIENT, "carol", None),
        (OVERLAY, Role.CLIENT, "carol/../admin", None),
        (OVERLAY, Role.CLIENT, "", None),
        (OVERLAY, Role.CLIENT, "carol", ALICE_NODE),
        (OVERLAY, Role.PEER, "p1", None),
    ],
)
def test_what_cannot_stand_in_a_uri_is_a_callers_fault(
    overlay_name: str, role: Role, name: str, node: NodeId | None
) -> None:
    with pytest.raises(ValueError, match=r"overlay name is|name is 1 to 64|Node-ID"):
        identity_uri(overlay_name, role, name, node)


def test_the_host_of_a_peer_is_one_label_under_peer_invalid() -> None:
    assert peer_host(ALICE_NODE) == "0123456789abcdef0123456789abcdef.peer.invalid"
