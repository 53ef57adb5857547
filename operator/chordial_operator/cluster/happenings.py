"""Events as the API server stores them, and which ones were posted a moment ago.

Pure: time and the random part of a name are arguments. Which changes users see is decided where
they are made, never here.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from chordial_operator.cluster.protocol import Happening
from chordial_operator.names import FIELD_MANAGER
from chordial_operator.spec.manifest import Manifest

SAME_SECONDS = 600.0
_MOST_REMEMBERED = 2_000
_NOTE_LENGTH = 1_024
_NAME_LENGTH = 253


class Posted:
    """Remembers what was posted in the last ten minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with nothing posted."""
        self._clock = clock
        self._until: dict[tuple[str, str, str], float] = {}

    def is_new(self, about: Manifest, happening: Happening) -> bool:
        """Tell whether this was not posted of late, and remember it."""
        now = self._clock()
        key = (about["metadata"]["uid"], happening.reason, happening.note)
        if self._until.get(key, 0.0) > now:
            return False
        self._until.pop(key, None)
        while len(self._until) >= _MOST_REMEMBERED:
            self._until.pop(next(iter(self._until)))
        self._until[key] = now + SAME_SECONDS
        return True


def event_manifest(
    about: Manifest, happening: Happening, *, at: float, instance: str, mark: str
) -> Manifest:
    """Return the Event that tells a user what happened to an object."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace", "default")
    when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][: _NAME_LENGTH - len(mark) - 1]}.{mark}",
            "namespace": namespace,
        },
        "eventTime": when,
        "reportingController": "chordial.dev/operator",
        "reportingInstance": (instance or FIELD_MANAGER)[:128],
        "action": happening.action,
        "reason": happening.reason,
        "type": happening.kind,
        "note": happening.note[:_NOTE_LENGTH],
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata["uid"],
        },
    }


def notes(events: Sequence[Manifest]) -> list[str]:
    """Return what Events say, the newest first; old and new fields tell when it last happened."""

    def last(event: Manifest) -> str:
        series = event.get("series") or {}
        seen = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"))
        told = (*seen, event.get("eventTime"), event["metadata"].get("creationTimestamp"))
        # to the second: some of them have fractions and some have none
        return max(str(each or "")[:19] for each in told)

    found = sorted(events, key=last, reverse=True)
    return [str(event["note"]) for event in found if event.get("note")]
