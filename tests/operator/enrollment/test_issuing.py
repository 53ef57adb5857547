"""What an overlay's authority issues is believed by its peers, and for no longer than it should."""

import pytest
from cryptography import x509

from chordial_node.ids import node_id
from chordial_node.security.authority import Term, make_private_key, public_key_of
from chordial_node.security.certificates import Role, Trust, claims_of
from chordial_operator.enrollment.authority import CaPair, open_authority
from chordial_operator.enrollment.issuing import (
    ADMIN_FILE,
    ADMIN_KEY_FILE,
    ADMIN_SECONDS,
    CA_FILE,
    admin_files,
    issue_listener,
    issue_peer,
    operator_credentials,
)
from tests.operator.enrollment.records import DAY, NOW, OVERLAY, made, seeded

IDENTITY, SECRETS = open_authority(made())
TRUST = Trust(OVERLAY, IDENTITY.roots)
NODE = node_id("0123456789abcdef0123456789abcdef")
KEY = public_key_of(make_private_key())


def admin(present: dict[str, bytes], now: float = NOW) -> dict[str, bytes]:
    return admin_files(IDENTITY, SECRETS, present, now=now, draw=seeded(3))


def test_a_peers_certificate_names_its_node_id_and_end() -> None:
    issued = issue_peer(SECRETS, KEY, NODE, "edge-0", term=Term(NOW, 7 * DAY, 1 << 80))
    shown = TRUST.identity_of(issued.certificate, NOW, (Role.PEER,))
    assert (shown.node_id, shown.name, shown.public_key) == (NODE, "edge-0", KEY)
    assert shown.not_after == issued.not_after == NOW + 7 * DAY


def test_no_certificate_outlives_the_authority() -> None:
    issued = issue_peer(SECRETS, KEY, NODE, "edge-0", term=Term(NOW, 9999 * DAY, 1 << 80))
    assert issued.not_after == IDENTITY.not_after == claims_of(issued.certificate).not_after


def test_a_listeners_certificate_names_domains_and_what_phones_dial() -> None:
    advertised = ("sip.example.org", "192.0.2.7", "[2001:db8::1]", "voice.example.org")
    shown = issue_listener(
        SECRETS, KEY, ["voice.example.org"], advertised, term=Term(NOW, DAY, 1 << 80)
    )
    names = x509.load_pem_x509_certificate(shown).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    hosts = names.value.get_values_for_type(x509.DNSName)
    assert hosts == ["voice.example.org", "sip.example.org"]
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert [str(each) for each in addresses] == ["192.0.2.7", "2001:db8::1"]


def test_the_operator_shows_peers_its_role_for_a_day() -> None:
    shown = operator_credentials(IDENTITY, SECRETS, now=NOW, draw=seeded())
    identity = TRUST.identity_of(shown.certificate, NOW, (Role.OPERATOR,))
    assert identity.not_after == NOW + DAY
    assert public_key_of(shown.private_key) == identity.public_key
    assert shown.authorities == IDENTITY.roots


def test_the_admins_files_stay_until_a_third_of_their_life() -> None:
    first = admin({})
    assert TRUST.identity_of(first[ADMIN_FILE], NOW).role is Role.ADMIN
    assert admin(first, NOW + ADMIN_SECONDS / 3 - 1) == first
    later = admin(first, NOW + ADMIN_SECONDS / 3 + 1)
    assert later[ADMIN_FILE] != first[ADMIN_FILE]
    assert public_key_of(later[ADMIN_KEY_FILE]) == claims_of(later[ADMIN_FILE]).public_key


@pytest.mark.parametrize("broken", [ADMIN_FILE, ADMIN_KEY_FILE])
def test_broken_files_of_the_admin_are_made_anew(broken: str) -> None:
    first = admin({})
    healed = admin({**first, broken: b"?"})
    assert public_key_of(healed[ADMIN_KEY_FILE]) == claims_of(healed[ADMIN_FILE]).public_key


def test_the_admins_files_follow_the_authority_that_signs() -> None:
    first, other = admin({}), made()
    switched, secrets = open_authority(other)
    after = admin_files(switched, secrets, first, now=NOW, draw=seeded(3))
    assert after[CA_FILE] == other.current.certificate
    assert Trust(OVERLAY, switched.roots).identity_of(after[ADMIN_FILE], NOW).role is Role.ADMIN


def test_an_authoritys_pair_has_no_text_form() -> None:
    assert repr(CaPair(b"certificate", b"PRIVATE KEY")) == "CaPair()"
