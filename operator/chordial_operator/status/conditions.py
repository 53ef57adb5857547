"""Conditions: what users wait for, in the form of the Kubernetes API (style A19, fleet H15).

kstatus and `helm --wait` read them: an object is done when `observedGeneration` is its generation
and `Ready` is True, has failed when `Stalled` is True, and is on its way otherwise. Messages must
never hold what changes by itself (seconds, counters): each change is a write that wakes watchers.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

import msgspec

from chordial_operator.spec.manifest import InvalidSpecError, Manifest

MESSAGE_LENGTH = 1024
_MOST_NAMES = 5


class Reason(StrEnum):
    """The cause of a condition, in one word, for programs."""

    ADDRESS_FOUND = "AddressFound"
    ALL_READY = "AllReady"
    ALL_UP_TO_DATE = "AllUpToDate"
    AS_WANTED = "AsWanted"
    BELOW_FLOOR = "BelowFloor"
    CERTIFICATE_ENDING = "CertificateEnding"
    CERTIFICATE_MISSING = "CertificateMissing"
    COPIES_COMPLETE = "CopiesComplete"
    COPIES_MISSING = "CopiesMissing"
    CREATING = "Creating"
    DISABLED = "Disabled"
    DISAGREEMENT = "Disagreement"
    DRAINING = "Draining"
    FORMING = "Forming"
    HELD_BACK = "HeldBack"
    INVALID_SPEC = "InvalidSpec"
    IN_STEP = "InStep"
    ISSUED = "Issued"
    LOST = "Lost"
    NAME_TAKEN = "NameTaken"
    NOBODY_LEAVES = "NobodyLeaves"
    NOT_HEARD = "NotHeard"
    NOT_PAUSED = "NotPaused"
    NOT_REGISTERED = "NotRegistered"
    NOT_STORED = "NotStored"
    OVERLAY_FOUND = "OverlayFound"
    OVERLAY_NOT_FOUND = "OverlayNotFound"
    PAUSED = "Paused"
    PEERS_NOT_READY = "PeersNotReady"
    PODS_REFUSED = "PodsRefused"
    PODS_TAKEN = "PodsTaken"
    REGISTERED = "Registered"
    RING_STANDS = "RingStands"
    ROTATING = "Rotating"
    SCALE_IN_PLANNED = "ScaleInPlanned"
    SECRET_FOUND = "SecretFound"
    SECRET_NOT_FOUND = "SecretNotFound"
    STORED = "Stored"
    TOO_FEW_PEERS = "TooFewPeers"
    UNEXPECTED = "Unexpected"
    UNIQUE = "Unique"
    UPGRADE_STALLED = "UpgradeStalled"
    UPGRADING = "Upgrading"
    USER_TAKEN = "UserTaken"
    VOLUMES_BOUND = "VolumesBound"
    VOLUMES_PENDING = "VolumesPending"
    WAITING_FOR_ADDRESS = "WaitingForAddress"


class Condition(msgspec.Struct, frozen=True):
    """One thing that is or is not so, and why."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str


def holds(
    kind: str, is_so: bool, when_so: tuple[Reason, str], otherwise: tuple[Reason, str]
) -> Condition:
    """Return a condition with one of two causes and sentences."""
    reason, message = when_so if is_so else otherwise
    return Condition(kind, "True" if is_so else "False", reason, message)


def set_conditions(
    previous: Manifest | None, conditions: Iterable[Condition], generation: int, now: float
) -> list[Manifest]:
    """Return conditions for a status; one whose status is as it was keeps its transition time.

    `previous` is the status as it is now. What is not among the new ones is dropped.
    """
    old = {each["type"]: each for each in (previous or {}).get("conditions") or ()}
    made = []
    for condition in conditions:
        before = old.get(condition.type, {})
        is_as_before = before.get("status") == condition.status
        made.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": str(condition.reason),
                "message": _shortened(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"]
                if is_as_before
                else timestamp(now),
            }
        )
    return made


def kept(previous: Manifest | None, kind: str) -> Condition | None:
    """Return a condition as it was last told; None when it never was, or not by this version."""
    for each in (previous or {}).get("conditions") or ():
        if each.get("type") == kind:
            try:
                return msgspec.convert(
                    {key: each[key] for key in ("type", "status", "reason", "message")}, Condition
                )
            except (KeyError, msgspec.ValidationError):
                return None
    return None


def invalid_status(
    previous: Manifest | None, error: InvalidSpecError, generation: int, now: float
) -> Manifest:
    """Return the status of an object whose spec cannot be used: quiet until the spec changes."""
    told = (
        Condition("Ready", "False", Reason.INVALID_SPEC, str(error)),
        Condition("Stalled", "True", Reason.INVALID_SPEC, str(error)),
    )
    return partial_status(previous, told, generation, now)


def not_ready_status(
    previous: Manifest | None, reason: Reason, message: str, generation: int, now: float
) -> Manifest:
    """Return the status of an object that waits for something outside it."""
    told = (Condition("Ready", "False", reason, message),)
    return partial_status(previous, told, generation, now)


def unknown_status(previous: Manifest | None, generation: int, now: float) -> Manifest:
    """Return the status of an object whose turn failed in a way that nobody foresaw."""
    message = "The operator cannot tell now, and tries again; its log says why."
    return partial_status(
        previous, (Condition("Ready", "Unknown", Reason.UNEXPECTED, message),), generation, now
    )


def partial_status(
    previous: Manifest | None, told: Sequence[Condition], generation: int, now: float
) -> Manifest:
    """Return a status of which only these conditions are known now; all else stays as it was.

    What is applied server-side and left out would go.
    """
    fresh = set_conditions(previous, told, generation, now)
    names = [each["type"] for each in fresh]
    rest = [
        each
        for each in (previous or {}).get("conditions") or ()
        if each["type"] not in (*names, "Stalled")
    ]
    return {**(previous or {}), "observedGeneration": generation, "conditions": [*fresh, *rest]}


def timestamp(seconds: float) -> str:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence, the first few of many."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"


def _shortened(message: str) -> str:
    return message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…"
