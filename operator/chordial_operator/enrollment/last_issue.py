"""One Node-ID has one key: what was issued last stands on the peer's StatefulSet.

An operator keeps nothing in memory. Whoever issues writes the annotation first, with a precondition
on the resource version that it judged, so that two replicas never give one Node-ID to two keys.
The rule (fleet 2.2): the same key is renewed; another key is taken only by another pod, when the
pod of the first one is gone, or by the pod itself when it says that somebody else has its key. Then
it supersedes the certificate of the first one.
"""

from enum import StrEnum

import msgspec

from chordial_node.security.certificates import key_hash_of

ENROLLED_ANNOTATION = "chordial.dev/enrolled"


class Step(StrEnum):
    """What a certificate is to the one before it."""

    FIRST = "first"
    RENEWAL = "renewal"
    REPLACEMENT = "replacement"
    """Of a key that went with its pod or was stolen: the old certificate is superseded."""
    REFUSED = "refused"
    """The pod of the other key is this one."""


class LastIssue(msgspec.Struct, frozen=True):
    """The certificate that was issued last for a Node-ID."""

    key_hash: str
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER), hexadecimal."""
    pod_uid: str
    serial: str
    """Hexadecimal."""
    not_after: int
    """Seconds since 1970."""

    def text(self) -> str:
        """Return the value of the annotation."""
        return f"{self.key_hash}/{self.pod_uid}/{self.serial}/{self.not_after}"


def read_last_issue(text: str) -> LastIssue | None:
    """Return what an annotation says, or None when it says nothing."""
    parts = text.split("/")
    if len(parts) != 4 or not all(parts) or not parts[3].isdecimal():
        return None
    return LastIssue(parts[0], parts[1], parts[2], int(parts[3]))


def judge(
    last: LastIssue | None, public_key: bytes, pod_uid: str, now: float, *, is_superseded: bool
) -> Step:
    """Return what a certificate for this key, asked for by this pod, would be.

    `is_superseded`: the pod says that another process shows the certificate it had.
    """
    if last is not None and last.key_hash == key_hash_of(public_key):
        return Step.RENEWAL
    if last is None or last.not_after <= now:
        return Step.FIRST
    is_refused = last.pod_uid == pod_uid and not is_superseded
    return Step.REFUSED if is_refused else Step.REPLACEMENT
