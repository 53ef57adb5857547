"""Exchanging an overlay's authority, its keys and who is revoked, step by step (fleet H17, H18).

Each step waits until every peer tells the hash of the bundle that holds the step before: a peer
that has not heard of a new authority must not be met with its certificates, and one whose
certificate the old authority signed must not find it dropped. Pure: one step at most for each
question, so that every step is written before it is acted on.

* A second authority is announced; when all peers trust it, it signs; when all peers have its
  certificates, the old one is dropped.
* A new SIP key is announced; when all peers have it, it becomes the present one. Its predecessor
  opens what it sealed until the next new key, which waits until nothing sealed by it is left.
"""

from collections.abc import Sequence

import msgspec

from chordial_node.ids import NodeId
from chordial_node.security.authority import Authority
from chordial_node.security.bundles import bundle_hash
from chordial_node.security.derived_keys import HIGHEST_NUMBER, KEY_LENGTH, OverlayKey
from chordial_operator.enrollment.authority import (
    AuthorityError,
    AuthorityPhase,
    AuthorityRecord,
    CaPair,
    Draw,
    PeerKey,
    make_ca,
)

ROTATE_CA_ANNOTATION = "chordial.dev/rotate-ca"
AGE_OF_ROTATION = 0.8
"""The part of its life after which an authority of our own making is exchanged."""
MOST_REVOKED = 1_000
MOST_PEER_KEYS = 2_000
"""Those that end first give way."""


class PeerBundle(msgspec.Struct, frozen=True):
    """What a peer that lives, or may come back at any time, said of its last enrollment."""

    peer: str
    bundle_hash: str
    """Empty: it said nothing yet."""


class RotationWishes(msgspec.Struct, frozen=True, kw_only=True):
    """What asks for a rotation."""

    annotation: str = ""
    """The present value of `chordial.dev/rotate-ca` on the Overlay; a changed one asks."""
    lifetime_seconds: float
    """Of a new authority of our own."""
    own: CaPair | None = None
    """What `certificates.caSecretRef` holds at present; another one than ours asks."""
    brings_own: bool = False
    """Whether there is a `caSecretRef`, readable or not: then none is made here."""
    is_resealed: bool = True
    """Whether every user record is under the present key."""


def next_record(
    record: AuthorityRecord,
    wishes: RotationWishes,
    peers: Sequence[PeerBundle],
    *,
    draw: Draw,
    now: float,
) -> AuthorityRecord:
    """Return the record after the one step that may be taken now; the same one when there is none.

    `peers` are all that have an identity but those that are given up as lost: a peer that says
    nothing holds a rotation up.
    """
    is_everywhere = all(peer.bundle_hash == hash_of(record) for peer in peers)
    if record.phase is AuthorityPhase.STEADY:
        started = _announced(record, wishes, draw, now)
        return started if started is not record else _key_step(record, wishes, is_everywhere, draw)
    if not is_everywhere:
        return record
    if record.next is not None:
        return msgspec.structs.replace(
            record, current=record.next, next=None, old=record.current.certificate
        )
    return msgspec.structs.replace(record, old=b"")


def hash_of(record: AuthorityRecord) -> str:
    """Return the hash that peers tell once they have enrolled with this record."""
    return bundle_hash(record.roots, [key.number for key in record.keys])


def founded(record: AuthorityRecord, now: float) -> AuthorityRecord:
    """Return the record of an overlay whose ring stands; the first time counts."""
    if record.founded_at:
        return record
    return msgspec.structs.replace(record, founded_at=now)


def founded_again(
    record: AuthorityRecord, founders: tuple[NodeId, ...], draw: Draw
) -> AuthorityRecord:
    """Return the record under a new instance id: another overlay of the same name (fleet H7)."""
    return msgspec.structs.replace(
        record,
        founders=founders,
        instance_id=draw(len(record.instance_id) // 2).hex(),
        founded_at=0.0,
        sequence=record.sequence + 1,
    )


def revoked(record: AuthorityRecord, node: NodeId) -> AuthorityRecord:
    """Return the record after a peer was shut out for good; a new SIP key will follow."""
    if node in record.revoked:
        return record
    if len(record.revoked) >= MOST_REVOKED:
        raise AuthorityError(
            f"{MOST_REVOKED} peers are revoked already: exchange the authority instead"
            " (annotation chordial.dev/rotate-ca), which shuts out all that do not enroll again"
        )
    return msgspec.structs.replace(
        record, revoked=(*record.revoked, node), sequence=record.sequence + 1, wants_key=True
    )


def rekeyed(
    record: AuthorityRecord, key: PeerKey, now: float, *, is_stolen: bool
) -> AuthorityRecord:
    """Return the record in which one key of a peer counts, and none that it had before.

    Who stole that one has the overlay's SIP keys as well: a new one will follow. Keys whose
    predecessors' certificates have ended by themselves need not be told any more.
    """
    present = next((each for each in record.peer_keys if each.node == key.node), None)
    if present is not None and present.key_hash == key.key_hash:
        return record
    until = max(key.until, present.until if present is not None else 0)
    others = [each for each in record.peer_keys if each.until > now and each.node != key.node]
    others.sort(key=lambda each: each.until)
    kept = (*others[-(MOST_PEER_KEYS - 1) :], PeerKey(key.node, key.key_hash, until))
    return msgspec.structs.replace(
        record,
        peer_keys=kept,
        sequence=record.sequence + 1,
        wants_key=record.wants_key or is_stolen,
    )


def _announced(
    record: AuthorityRecord, wishes: RotationWishes, draw: Draw, now: float
) -> AuthorityRecord:
    """Trust a second authority if something asks for one."""
    asked = msgspec.structs.replace(record, rotation=wishes.annotation)
    if wishes.brings_own:
        if wishes.own is None or wishes.own.certificate == record.current.certificate:
            return record
        return msgspec.structs.replace(asked, next=wishes.own)
    is_asked = wishes.annotation != "" and wishes.annotation != record.rotation
    if not is_asked and not _is_aged(record, now):
        return record
    following = make_ca(record.overlay_name, wishes.lifetime_seconds, draw, now)
    return msgspec.structs.replace(asked, next=following)


def _is_aged(record: AuthorityRecord, now: float) -> bool:
    ours = Authority(record.overlay_name, record.current.certificate, record.current.private_key)
    return now > ours.not_before + AGE_OF_ROTATION * (ours.not_after - ours.not_before)


def _key_step(
    record: AuthorityRecord, wishes: RotationWishes, is_everywhere: bool, draw: Draw
) -> AuthorityRecord:
    present = record.keys[0]
    following = (present.number + 1) % (HIGHEST_NUMBER + 1)
    if any(key.number == following for key in record.keys):
        if not is_everywhere:
            return record
        return msgspec.structs.replace(record, keys=(record.keys[1], present))
    if not record.wants_key or not wishes.is_resealed:
        return record
    announced = OverlayKey(following, draw(KEY_LENGTH))
    return msgspec.structs.replace(record, keys=(present, announced), wants_key=False)
