"""The admin's Secret is the same until its certificate must be made anew."""

from chordial_node.security.certificates import Role, Trust
from chordial_operator.enrollment.admin import admin_secret
from chordial_operator.enrollment.authority import open_authority
from chordial_operator.enrollment.authority_secret import decode_data
from chordial_operator.enrollment.issuing import ADMIN_FILE, ADMIN_SECONDS
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.enrollment.objects_made import overlay
from tests.operator.enrollment.records import NOW, OVERLAY, made, seeded

IDENTITY, SECRETS = open_authority(made())
VOICE = parse_overlay(overlay())


def secret(present: Manifest | None, now: float = NOW) -> Manifest:
    return admin_secret(VOICE, IDENTITY, SECRETS, present, now=now, draw=seeded())


def test_it_belongs_to_the_overlay_and_names_an_admin() -> None:
    built = secret(None)
    assert (built["metadata"]["namespace"], built["metadata"]["name"]) == ("phones", "voice-admin")
    assert [owner["uid"] for owner in built["metadata"]["ownerReferences"]] == ["overlay-1"]
    shown = decode_data(built)[ADMIN_FILE]
    assert Trust(OVERLAY, IDENTITY.roots).identity_of(shown, NOW).role is Role.ADMIN


def test_nothing_changes_until_a_third_of_its_life() -> None:
    first = secret(None)
    assert secret(first, NOW + ADMIN_SECONDS / 3 - 1) == first
    assert secret(first, NOW + ADMIN_SECONDS / 3 + 1) != first


def test_a_broken_one_is_made_anew() -> None:
    assert ADMIN_FILE in decode_data(secret({"data": {"admin.pem": "%"}}))
