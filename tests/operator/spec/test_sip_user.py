"""A user has exactly one place for the password."""

import pytest

from chordial_operator.spec.manifest import InvalidSpecError, SecretKeyRef
from chordial_operator.spec.sip_user import SipUser, parse_sip_user


def user(**spec: object) -> SipUser:
    known = {"overlayRef": {"name": "voice"}, "user": "alice"}
    return parse_sip_user({"metadata": {"name": "alice-smith"}, "spec": known | spec})


def test_the_password_lies_in_a_secret() -> None:
    alice = user(passwordSecretRef={"name": "alice"})
    assert (alice.overlay, alice.user, alice.state) == ("voice", "alice", "Enabled")
    assert alice.password_secret_ref == SecretKeyRef("alice", "password")
    assert alice.generate is None
    assert alice.max_contacts is None


def test_or_is_made_and_written_to_one() -> None:
    assert user(generate={"secretName": "made"}).generate == "made"
    assert user(generate={}).generate == "alice-smith-sip"
    assert user(generate={}).password_secret_ref is None


@pytest.mark.parametrize("spec", [{}, {"generate": {}, "passwordSecretRef": {"name": "a"}}])
def test_never_both_and_never_neither(spec: dict[str, object]) -> None:
    with pytest.raises(InvalidSpecError, match="say where the password is"):
        user(**spec)
