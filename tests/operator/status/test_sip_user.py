"""Every condition of a SipUser (fleet 2.1)."""

from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.sip_user import SipUser, parse_sip_user
from chordial_operator.status.sip_user import UserFacts, user_contacts, user_status
from chordial_operator.status.slow_numbers import SlowNumber

NOW = 1000.0


def sip_user(**spec: object) -> SipUser:
    told = {"overlayRef": {"name": "calls"}, "user": "alice", "generate": {}, **spec}
    return parse_sip_user({"metadata": {"name": "alice", "generation": 3}, "spec": told})


STORED = UserFacts(realm="voice.example", secret_name="alice-sip", secret_version="7", contacts=2)


def status(facts: UserFacts, **spec: object) -> Manifest:
    return user_status(sip_user(**spec), facts, user_contacts(facts, None, None, NOW), None, NOW)


def told(said: Manifest) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in said["conditions"]}


def test_a_user_that_is_stored_and_registered() -> None:
    said = status(STORED)
    assert said["address"] == "sip:alice@voice.example"
    assert (said["secretName"], said["observedSecretVersion"], said["contacts"]) == (
        "alice-sip", "7", 2,
    )  # fmt: skip
    assert told(said) == {
        "Ready": ("True", "Stored"),
        "CredentialsReady": ("True", "SecretFound"),
        "Registered": ("True", "Registered"),
        "Conflict": ("False", "Unique"),
    }
    assert told(status(STORED, state="Disabled"))["Ready"] == ("True", "Disabled")


def test_what_keeps_a_user_from_being_ready() -> None:
    for facts, reason in (
        (UserFacts(overlay_problem="no Overlay"), "OverlayNotFound"),
        (UserFacts(older_user="bob"), "UserTaken"),
        (UserFacts(secret_problem="no Secret"), "SecretNotFound"),
        (UserFacts(record_problem="nobody acknowledged it"), "NotStored"),
    ):
        assert told(status(facts))["Ready"] == ("False", reason)
    assert told(status(UserFacts(older_user="bob")))["Conflict"] == ("True", "UserTaken")
    assert told(status(UserFacts()))["Registered"] == ("Unknown", "NotHeard")


def test_registered_is_told_at_most_once_a_minute() -> None:
    first = user_contacts(STORED, None, None, NOW)
    gone = UserFacts(contacts=0)
    assert user_contacts(gone, first, None, NOW + 59) == SlowNumber(2, NOW)
    later = user_contacts(gone, first, None, NOW + 60)
    assert later == SlowNumber(0, NOW + 60)
    said = user_status(sip_user(), gone, later, None, NOW + 60)
    assert told(said)["Registered"] == ("False", "NotRegistered")


def test_a_new_operator_says_what_is_said_already() -> None:
    asked_nobody = UserFacts(realm="voice.example")
    said = user_status(sip_user(), asked_nobody, None, {"contacts": 2}, NOW)
    assert said["contacts"] == 2
    assert told(said)["Registered"] == ("True", "Registered")
