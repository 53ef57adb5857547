"""Ring arithmetic against plain numbers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import (
    RING_SIZE,
    between,
    distance,
    node_id,
    offset,
    resource_id_of,
    spread_node_ids,
    within,
)

identifiers = st.binary(min_size=16, max_size=16)


def number(identifier: bytes) -> int:
    return int.from_bytes(identifier, "big")


@given(identifiers, identifiers, identifiers)
def test_between_is_the_open_clockwise_arc(a: bytes, x: bytes, c: bytes) -> None:
    """RFC 6940 §10.1: the arc from an identifier to itself is the whole ring but that one."""
    around = (number(x) - number(a)) % RING_SIZE
    length = (number(c) - number(a)) % RING_SIZE or RING_SIZE
    assert between(a, x, c) == (0 < around < length)


@given(identifiers, identifiers, identifiers)
def test_within_adds_the_end_of_the_range(a: bytes, x: bytes, c: bytes) -> None:
    assert within(a, x, c) == (x == c or between(a, x, c))


@given(identifiers, st.integers(0, RING_SIZE - 1))
def test_offset_and_distance_are_each_others_inverse(start: bytes, by: int) -> None:
    assert distance(start, offset(start, by)) == by


def test_a_resource_id_is_the_first_128_bits_of_sha_1() -> None:
    """RFC 6940 §10.2."""
    assert resource_id_of(b"abc").hex() == "a9993e364706816aba3e25717850c26c"


@pytest.mark.parametrize("text", ["", "00", "zz" * 16, "00" * 17])
def test_a_malformed_node_id_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        node_id(text)


def test_spread_node_ids_divide_the_ring_evenly() -> None:
    nodes = spread_node_ids(5)
    gaps = {distance(a, b) for a, b in itertools.pairwise(nodes)}
    assert nodes == sorted(nodes)
    assert len(gaps) == 1
