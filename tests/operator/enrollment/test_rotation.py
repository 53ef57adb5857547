"""A rotation goes one step at a time, and none before every peer is ready for it."""

import msgspec
import pytest

from chordial_node.ids import NodeId
from chordial_operator.enrollment.authority import (
    AuthorityError,
    AuthorityPhase,
    AuthorityRecord,
    PeerKey,
    open_authority,
)
from chordial_operator.enrollment.rotation import (
    MOST_PEER_KEYS,
    MOST_REVOKED,
    PeerBundle,
    RotationWishes,
    founded,
    founded_again,
    hash_of,
    next_record,
    rekeyed,
    revoked,
)
from tests.operator.enrollment.records import DAY, NOW, made, seeded

LIFE = 3650 * DAY


def step(
    record: AuthorityRecord,
    *told: str,
    wishes: RotationWishes | None = None,
    annotation: str = "",
    now: float = NOW,
) -> AuthorityRecord:
    asked = wishes or RotationWishes(annotation=annotation, lifetime_seconds=LIFE)
    peers = [PeerBundle(f"edge-{number}", each) for number, each in enumerate(told)]
    return next_record(record, asked, peers, draw=seeded(9), now=now)


def test_nothing_happens_when_nobody_asks() -> None:
    record = made()
    assert step(record, hash_of(record)) is record


def test_an_authority_is_exchanged_in_three_steps_that_each_wait_for_every_peer() -> None:
    record = made()
    before = hash_of(record)
    announced = step(record, before, annotation="once")
    assert announced.phase is AuthorityPhase.ANNOUNCED
    assert announced.current == record.current
    both = hash_of(announced)
    assert step(announced, both, before, annotation="once") is announced
    assert step(announced, both, "", annotation="once") is announced

    switched = step(announced, both, both, annotation="once")
    assert switched.phase is AuthorityPhase.SWITCHED
    assert switched.current == announced.next
    assert switched.old == record.current.certificate
    after = hash_of(switched)
    assert step(switched, after, both, annotation="once") is switched

    done = step(switched, after, after, annotation="once")
    assert done.phase is AuthorityPhase.STEADY
    assert done.current == announced.next
    assert step(done, hash_of(done), annotation="once") is done


def test_another_value_of_the_annotation_asks_again_but_a_dropped_one_does_not() -> None:
    record = msgspec.structs.replace(made(), rotation="once")
    assert step(record, annotation="once") is record
    assert step(record, annotation="") is record
    assert step(record, annotation="twice").phase is AuthorityPhase.ANNOUNCED


def test_an_authority_is_exchanged_when_four_fifths_of_its_life_are_over() -> None:
    record = made()
    assert step(record, now=NOW + 0.79 * LIFE) is record
    assert step(record, now=NOW + 0.81 * LIFE).phase is AuthorityPhase.ANNOUNCED


def test_another_own_authority_in_the_secret_is_announced_and_none_is_made_instead() -> None:
    record, other = made(), made(5).current
    same = RotationWishes(lifetime_seconds=LIFE, own=record.current, brings_own=True)
    assert step(record, wishes=same, now=NOW + 0.9 * LIFE) is record
    unreadable = RotationWishes(annotation="x", lifetime_seconds=LIFE, brings_own=True)
    assert step(record, wishes=unreadable) is record
    asks = RotationWishes(lifetime_seconds=LIFE, own=other, brings_own=True)
    assert step(record, wishes=asks).next == other


def test_a_revoked_peer_stands_in_the_next_configuration_and_a_new_key_follows() -> None:
    record = made()
    shut_out = revoked(record, record.founders[0])
    identity, _ = open_authority(shut_out)
    assert (identity.sequence, identity.revoked) == (2, record.founders[:1])
    assert revoked(shut_out, record.founders[0]) is shut_out

    announced = step(shut_out, hash_of(shut_out))
    assert [key.number for key in announced.keys] == [1, 2]
    assert step(announced, hash_of(shut_out)) is announced
    changed = step(announced, hash_of(announced))
    assert [key.number for key in changed.keys] == [2, 1]
    assert step(changed, hash_of(changed)) is changed


def test_a_third_key_waits_until_nothing_is_sealed_by_the_first() -> None:
    record = revoked(made(), made().founders[0])
    twice = revoked(step(step(record)), made().founders[1])
    held_up = RotationWishes(lifetime_seconds=LIFE, is_resealed=False)
    assert step(twice, wishes=held_up) is twice
    assert [key.number for key in step(twice).keys] == [2, 3]


def test_the_number_after_the_highest_is_the_lowest() -> None:
    last = msgspec.structs.replace(made().keys[0], number=255)
    record = msgspec.structs.replace(made(), keys=(last,), wants_key=True)
    announced = step(record)
    assert [key.number for key in announced.keys] == [255, 0]
    assert [key.number for key in step(announced).keys] == [0, 255]


def test_an_overlay_is_founded_once_and_again_only_under_another_instance_id() -> None:
    record = founded(made(), NOW)
    assert record.founded_at == NOW
    assert founded(record, NOW + 5) is record
    others = made(2).founders
    again = founded_again(record, others, seeded(3))
    assert again.instance_id != record.instance_id
    assert len(again.instance_id) == len(record.instance_id)
    assert (again.founded_at, again.sequence) == (0, 2)
    assert again.founders == others != record.founders


def test_one_key_counts_until_the_certificates_of_the_others_have_ended() -> None:
    one, other = made().founders[:2]
    first = rekeyed(made(), PeerKey(one, "aa", int(NOW) + 10), NOW, is_stolen=True)
    assert first.wants_key
    assert (first.sequence, first.peer_keys) == (2, (PeerKey(one, "aa", int(NOW) + 10),))
    assert rekeyed(first, PeerKey(one, "aa", int(NOW) + 20), NOW, is_stolen=False) is first
    second = rekeyed(first, PeerKey(one, "bb", 0), NOW, is_stolen=False)
    assert second.peer_keys == (PeerKey(one, "bb", int(NOW) + 10),)
    both = rekeyed(second, PeerKey(other, "cc", int(NOW) + 20), NOW, is_stolen=False)
    assert [each.key_hash for each in both.peer_keys] == ["bb", "cc"]
    later = rekeyed(both, PeerKey(other, "dd", int(NOW) + 30), NOW + 15, is_stolen=False)
    assert [each.key_hash for each in later.peer_keys] == ["dd"]


def test_the_keys_that_count_alone_are_bounded() -> None:
    ids = [NodeId(number.to_bytes(16)) for number in range(MOST_PEER_KEYS)]
    full = msgspec.structs.replace(
        made(), peer_keys=tuple(PeerKey(each, "aa", int(NOW) + 9) for each in ids)
    )
    more = rekeyed(full, PeerKey(made().founders[0], "bb", int(NOW) + 9), NOW, is_stolen=False)
    assert len(more.peer_keys) == MOST_PEER_KEYS
    assert more.peer_keys[-1].key_hash == "bb"


def test_the_list_of_revoked_peers_is_bounded() -> None:
    full = msgspec.structs.replace(
        made(), revoked=tuple(made().founders[:1] * MOST_REVOKED)
    )  # fmt: skip
    with pytest.raises(AuthorityError, match="rotate-ca"):
        revoked(full, made().founders[1])
