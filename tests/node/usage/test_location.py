"""The location service: keys, generations, order, markers."""

import msgspec
import pytest

from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.sip.uri import parse_uri
from chordial_node.usage.bindings import (
    FLOW,
    Bindings,
    Change,
    Registration,
    cseq_of,
    device_key,
    is_same_call,
)
from chordial_node.usage.credentials import CredentialStore
from chordial_node.usage.domains import resource_of
from chordial_node.usage.location import Location
from tests.node.usage.solo import Solo

BOB = resource_of(b"bob@chordial.test")
KEYS = KeyRing("test", (OverlayKey(1, bytes(32)),))
DESK = device_key(parse_uri(b"sip:bob@10.0.0.9"), b"", 0)


def location(solo: Solo) -> Location:
    return Location(solo.kernel, solo.peer, solo.own, CredentialStore(solo.kernel, solo.peer, KEYS))


def registration(solo: Solo, call_id: bytes = b"r1", cseq: int = 1) -> Registration:
    return Registration(
        edge=solo.own,
        boot=1,
        listener=0,
        transport="udp",
        remote=("10.0.0.9", 5060),
        reach=FLOW,
        contact=b"sip:bob@10.0.0.9",
        params=b"",
        path=(),
        q=1000,
        instance=b"",
        reg_id=0,
        call_id=call_id,
        cseq=cseq,
        granted=60,
    )


def bind(solo: Solo, where: Location, call_id: bytes = b"r1", cseq: int = 1) -> Bindings:
    change = Change(DESK, registration(solo, call_id, cseq), call_id, cseq)
    found = solo.result(where.find(BOB), 0.1)
    return solo.result(where.change(BOB, found, lambda _: [change]), 0.1)


def test_a_device_is_its_instance_and_reg_id_else_its_contact() -> None:
    contact, other = parse_uri(b"sip:bob@10.0.0.9:5060"), parse_uri(b"sip:bob@10.0.0.7:1024")
    assert device_key(contact, b"urn:uuid:A", 1) == device_key(other, b"urn:uuid:A", 1)
    assert device_key(contact, b"urn:uuid:A", 1) != device_key(contact, b"urn:uuid:A", 2)
    assert device_key(contact, b"", 0) != device_key(other, b"", 0)
    assert device_key(parse_uri(b"sip:bob@HOST"), b"", 0) == device_key(
        parse_uri(b"sip:bob@host"), b"", 0
    )


def test_what_is_bound_is_found_and_lives_sixty_seconds_longer_than_granted() -> None:
    solo = Solo()
    where = location(solo)
    bind(solo, where)
    binding = solo.result(where.find(BOB), 0.1).get(DESK)
    assert binding is not None
    assert binding.expires_at_ms - binding.stored_ms == 120_000
    assert binding.expires_in(binding.stored_ms) == 60
    assert where.count == 1
    solo.run(121.0)
    assert solo.result(where.find(BOB), 0.1).live == ()
    assert where.accepted(BOB, DESK) is None
    solo.run(60.0)
    assert where.count == 0


def test_a_change_is_decided_again_when_the_generation_has_moved_on() -> None:
    solo = Solo()
    where = location(solo)
    bind(solo, where)
    stale = solo.result(where.find(BOB), 0.1)
    bind(solo, where, cseq=2)
    seen: list[int] = []

    def decide(found: Bindings) -> list[Change]:
        seen.append(found.generation)
        return [Change(DESK, registration(solo, cseq=3), b"r1", 3)]

    after = solo.result(where.change(BOB, stale, decide), 0.5)
    assert seen == [stale.generation, stale.generation + 1]
    binding = after.get(DESK)
    assert binding is not None
    assert binding.registration.cseq == 3


def test_a_call_id_keeps_the_time_it_was_first_accepted() -> None:
    solo = Solo()
    where = location(solo)
    first = bind(solo, where).orders[DESK]
    solo.run(10.0)
    second = bind(solo, where, cseq=2).orders[DESK]
    assert first[:24] == second[:24]
    assert cseq_of(second) == 2
    assert is_same_call(second, b"r1")
    assert bind(solo, where, call_id=b"r2").orders[DESK] > second


def test_another_peer_with_a_slow_clock_still_supersedes() -> None:
    solo = Solo()
    where = location(solo)
    bind(solo, where)
    late = Solo(b"\x22" * 16, solo.shared)
    late.kernel.set_wall_offset(1_800_000_000.0 - 4.0)
    assert bind(late, location(late), call_id=b"r2").get(DESK) is not None


def test_a_removal_is_remembered_with_its_order() -> None:
    solo = Solo()
    where = location(solo)
    found = bind(solo, where)
    gone = solo.result(where.change(BOB, found, lambda _: [Change(DESK, None, b"r1", 5)]), 0.1)
    assert gone.live == ()
    again = solo.result(where.find(BOB), 0.1)
    assert again.live == ()
    assert cseq_of(again.orders[DESK]) == 5
    marker = solo.shared.shelves[BOB, KindId.REGISTRATION].entries[DESK]
    assert not marker.exists
    assert where.count == 0


def test_an_edge_learns_that_a_device_has_moved() -> None:
    solo = Solo()
    here = location(solo)
    bind(solo, here)
    other = Solo(b"\x22" * 16, solo.shared)
    bind(other, location(other), call_id=b"r2")
    solo.result(here.find(BOB), 0.1)
    assert here.accepted(BOB, DESK) is None


def test_after_a_restart_the_ring_tells_what_this_edge_accepted() -> None:
    solo = Solo()
    bind(solo, location(solo))
    again = location(solo)
    assert again.accepted(BOB, DESK) is None
    solo.result(again.find(BOB), 0.1)
    assert again.accepted(BOB, DESK) is not None


def test_a_ring_that_is_silent_for_four_seconds_is_an_error() -> None:
    solo = Solo()
    where = location(solo)
    found = solo.result(where.find(BOB), 0.1)
    solo.shared.is_silent = True
    change = Change(DESK, registration(solo), b"r1", 1)
    with pytest.raises(OverlayError) as failed:
        solo.result(where.change(BOB, found, lambda _: [change]), 4.1)
    assert failed.value.code is ErrorCode.REQUEST_TIMEOUT
    solo.shared.is_silent = False
    solo.run(2.0)


def test_a_value_of_a_later_version_with_more_fields_is_read() -> None:
    solo = Solo()
    value = msgspec.msgpack.decode(msgspec.msgpack.encode(registration(solo)), type=list[object])
    longer = msgspec.msgpack.encode([*value, "of a later version"])
    assert msgspec.msgpack.decode(longer, type=Registration) == registration(solo)
