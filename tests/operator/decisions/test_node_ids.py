"""Founders' places first, then the widest gap; two names never share one (fleet H7)."""

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import ID_LENGTH, RING_SIZE, NodeId, distance, spread_node_ids
from chordial_operator.decisions.node_ids import next_node_id, salt_of, twins
from tests.operator.decisions.views_made import peer

FOUNDERS = spread_node_ids(4)
node_ids = st.binary(min_size=ID_LENGTH, max_size=ID_LENGTH).map(NodeId)


def test_founders_places_are_filled_first_and_in_their_order() -> None:
    given_out: list[NodeId] = []
    for number in range(4):
        given_out.append(next_node_id(given_out, FOUNDERS, f"seeds-{number}"))
    assert given_out == FOUNDERS
    assert next_node_id(given_out, FOUNDERS, "seeds-4") not in FOUNDERS


def test_a_freed_founders_place_is_filled_again_but_not_by_a_relay() -> None:
    left = [FOUNDERS[0], FOUNDERS[2], FOUNDERS[3]]
    assert next_node_id(left, FOUNDERS, "seeds-1") == FOUNDERS[1]
    assert next_node_id(left, FOUNDERS, "edge-0", may_found=False) not in FOUNDERS


@given(st.lists(node_ids, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_two_names_never_get_one_node_id(existing: list[NodeId], one: str, other: str) -> None:
    first = next_node_id(existing, (), one)
    second = next_node_id(existing, (), other)
    assert (first == second) == (one == other)
    assert first not in existing


@given(st.lists(node_ids, max_size=20), st.permutations(list(range(8))))
def test_the_choice_does_not_depend_on_the_order_of_the_view(
    existing: list[NodeId], order: list[int]
) -> None:
    shuffled = [existing[index] for index in order if index < len(existing)] + existing[8:]
    assert next_node_id(existing, (), "edge-0") == next_node_id(shuffled, (), "edge-0")


@given(st.integers(5, 60))
def test_the_choice_spreads(count: int) -> None:
    ring: list[NodeId] = []
    for number in range(count):
        ring.append(next_node_id(ring, FOUNDERS, salt_of("i", "n", "s", f"s-{number}")))
    ordered = sorted(ring)
    gaps = [distance(a, b) for a, b in zip(ordered, [*ordered[1:], ordered[0]], strict=True)]
    assert max(gaps) < 2.01 * RING_SIZE / count
    assert max(gaps) / min(gaps) < 4.01


def test_the_younger_of_two_with_one_node_id_is_told() -> None:
    older = peer("edge-1", node=FOUNDERS[0], created_at=1.0)
    younger = peer("edge-0", node=FOUNDERS[0], created_at=2.0)
    assert twins([younger, older, peer("edge-2", node=FOUNDERS[1])]) == ("edge-0",)
