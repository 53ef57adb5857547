"""Which UDP flows are remembered."""

from chordial_node.sip.datagrams import MOST_DATAGRAM_FLOWS, MOST_PASSED, Datagrams
from chordial_node.sip.flow import Flow


def full(forgotten: list[Flow]) -> Datagrams:
    datagrams = Datagrams(forgotten.append)
    for number in range(MOST_DATAGRAM_FLOWS):
        datagrams.heard(0, ("10.0.0.1", number))
    return datagrams


def test_forged_sources_do_not_end_what_keepalives_hold_open() -> None:
    forgotten: list[Flow] = []
    datagrams = full(forgotten)
    kept = [datagrams.get(0, ("10.0.0.1", number)) for number in range(MOST_PASSED)]
    for flow in kept:
        flow.is_kept = True
    for number in range(1000):
        datagrams.heard(0, ("198.51.100.1", number))
    assert len(forgotten) == 1000
    assert [flow for flow in forgotten if flow.is_kept] == []


def test_the_work_for_a_new_flow_is_bounded_though_all_are_kept() -> None:
    forgotten: list[Flow] = []
    datagrams = full(forgotten)
    for number in range(MOST_DATAGRAM_FLOWS):
        datagrams.get(0, ("10.0.0.1", number)).is_kept = True
    datagrams.heard(0, ("198.51.100.1", 1))
    assert [flow.remote[1] for flow in forgotten] == [MOST_PASSED]
