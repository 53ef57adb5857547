"""Conditions keep their transition times, and their messages a bound (style A19)."""

import re

from chordial_operator.spec.manifest import InvalidSpecError, Manifest
from chordial_operator.status.conditions import (
    Condition,
    Reason,
    holds,
    invalid_status,
    kept,
    listed,
    not_ready_status,
    set_conditions,
    unknown_status,
)

READY = Condition("Ready", "True", Reason.ALL_READY, "all are ready")
BEFORE: Manifest = {
    "observedGeneration": -1,
    "conditions": [
        {
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "The operator has not looked at this object yet.",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
    ],
}


def test_a_transition_time_changes_with_the_status_alone() -> None:
    first = set_conditions(BEFORE, [READY], 1, 100.0)
    assert first == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllReady",
            "message": "all are ready",
            "observedGeneration": 1,
            "lastTransitionTime": "1970-01-01T00:01:40Z",
        }
    ]
    other = Condition("Ready", "True", Reason.RING_STANDS, "still")
    (second,) = set_conditions({"conditions": first}, [other], 2, 200.0)
    assert (second["reason"], second["observedGeneration"]) == ("RingStands", 2)
    assert second["lastTransitionTime"] == "1970-01-01T00:01:40Z"
    lost = Condition("Ready", "False", Reason.LOST, "gone")
    (third,) = set_conditions({"conditions": [second]}, [lost], 2, 300.0)
    assert third["lastTransitionTime"] == "1970-01-01T00:05:00Z"


def test_every_reason_is_one_word_for_programs() -> None:
    for reason in Reason:
        assert re.fullmatch(r"([A-Z][a-z]*)+", reason.value), reason
        assert reason.name.replace("_", "").lower() == reason.value.lower()


def test_a_condition_is_one_of_two_things() -> None:
    so, otherwise = (Reason.PAUSED, "it is"), (Reason.NOT_PAUSED, "it is not")
    assert holds("Paused", True, so, otherwise).status == "True"
    assert holds("Paused", False, so, otherwise) == Condition(
        "Paused", "False", Reason.NOT_PAUSED, "it is not"
    )


def test_what_was_told_can_be_told_again_unless_it_is_not_our_word() -> None:
    told = {"conditions": set_conditions(None, [READY], 1, 0.0)}
    assert kept(told, "Ready") == READY
    assert kept(told, "Converged") is None
    assert kept(BEFORE, "Ready") is None
    assert kept(None, "Ready") is None


def test_an_invalid_spec_stalls_and_keeps_what_else_was_told() -> None:
    draining = Condition("Draining", "True", Reason.DRAINING, "edge-1")
    before = {"replicas": 3, "conditions": set_conditions(None, [READY, draining], 1, 0.0)}
    error = InvalidSpecError("spec.replicas", "must be a number")
    status = invalid_status(before, error, 2, 50.0)
    assert (status["observedGeneration"], status["replicas"]) == (2, 3)
    told = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert told == {
        "Ready": ("False", "InvalidSpec"),
        "Stalled": ("True", "InvalidSpec"),
        "Draining": ("True", "Draining"),
    }
    assert status["conditions"][0]["message"] == "spec.replicas: must be a number"
    mended = not_ready_status(status, Reason.OVERLAY_NOT_FOUND, "no such Overlay", 3, 60.0)
    assert [each["type"] for each in mended["conditions"]] == ["Ready", "Draining"]
    failed = unknown_status(mended, 3, 70.0)
    assert (failed["conditions"][0]["status"], failed["conditions"][0]["reason"]) == (
        "Unknown",
        "Unexpected",
    )


def test_a_message_is_bounded_and_so_is_a_list_of_names() -> None:
    long = Condition("Ready", "False", Reason.UNEXPECTED, "x" * 5000)
    (told,) = set_conditions(None, [long], 1, 0.0)
    assert len(told["message"]) == 1024
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
