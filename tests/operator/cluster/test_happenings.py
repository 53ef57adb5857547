"""Events: what they say, and that the same one is not posted all the time."""

from chordial_operator.cluster.happenings import SAME_SECONDS, Posted, event_manifest, notes
from chordial_operator.cluster.protocol import Happening
from chordial_operator.spec.manifest import Manifest

OVERLAY = {
    "apiVersion": "chordial.dev/v1alpha1",
    "kind": "Overlay",
    "metadata": {"name": "voice", "namespace": "calls", "uid": "u-1"},
}
STARTED = Happening("DrainStarted", "edge-3 leaves: fewest calls.")


def test_the_same_event_is_posted_once_in_ten_minutes() -> None:
    now = 0.0
    posted = Posted(lambda: now)
    assert posted.is_new(OVERLAY, STARTED)
    assert not posted.is_new(OVERLAY, STARTED)
    assert posted.is_new(OVERLAY, Happening("DrainStarted", "edge-4 leaves: fewest calls."))
    now = SAME_SECONDS
    assert posted.is_new(OVERLAY, STARTED)


def test_an_event_names_its_object_and_the_time() -> None:
    event = event_manifest(OVERLAY, STARTED, at=1.5, instance="op-0", mark="ab")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "voice.ab", "namespace": "calls"},
        "eventTime": "1970-01-01T00:00:01.500000Z",
        "reportingController": "chordial.dev/operator",
        "reportingInstance": "op-0",
        "action": "Reconcile",
        "reason": "DrainStarted",
        "type": "Normal",
        "note": "edge-3 leaves: fewest calls.",
        "regarding": {
            "apiVersion": "chordial.dev/v1alpha1",
            "kind": "Overlay",
            "name": "voice",
            "namespace": "calls",
            "uid": "u-1",
        },
    }


def test_a_long_note_is_cut_to_what_the_api_takes() -> None:
    event = event_manifest(OVERLAY, Happening("A", "x" * 3000), at=0.0, instance="", mark="ab")
    assert len(event["note"]) == 1024


def test_the_newest_note_comes_first_whichever_field_tells_its_time() -> None:
    made = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    events: list[Manifest] = [
        {"metadata": made, "note": "first"},
        {"metadata": made, "note": "third", "eventTime": "2026-01-01T00:00:02.000001Z"},
        {"metadata": made, "note": "second", "deprecatedLastTimestamp": "2026-01-01T00:00:01Z"},
        {"metadata": made, "note": "last", "series": {"lastObservedTime": "2026-01-02T00:00:00Z"}},
        {"metadata": made},
    ]
    assert notes(events) == ["last", "third", "second", "first"]
