"""Which number the next peer of a set gets: the lowest that nothing of that name still holds.

Fleet H6: a name is free when no StatefulSet, pod or volume claim has it. Pure.
"""

from collections.abc import Iterable

from chordial_operator.names import peer_number, pod_name

_POD_SUFFIX = pod_name("")


def taken(
    set_name: str, stateful_sets: Iterable[str], pods: Iterable[str], claims: Iterable[str]
) -> frozenset[int]:
    """Return the numbers of a set that some object still holds, from the objects' names."""
    peers = [*stateful_sets, *claims, *(pod.removesuffix(_POD_SUFFIX) for pod in pods)]
    found = (peer_number(set_name, name) for name in peers)
    return frozenset(number for number in found if number is not None)


def lowest_free(held: frozenset[int]) -> int:
    """Return the lowest number that is not held."""
    number = 0
    while number in held:
        number += 1
    return number


def missing(wanted: int, present: int, held: frozenset[int]) -> tuple[int, ...]:
    """Return the numbers of the peers to make, so that `present` become `wanted`."""
    made: list[int] = []
    while present + len(made) < wanted:
        made.append(lowest_free(held | frozenset(made)))
    return tuple(made)
