"""What peers said last, and which of its changes are worth a turn."""

import msgspec

from chordial_node.boundary.control import MemberStatus, StatusAnswer
from chordial_node.ids import NodeId
from chordial_operator.decisions.reports import Pod, Reports, report_of
from tests.operator.decisions.views_made import id_of, report

POD = Pod("uid-1", "edge")


def member(name: str, state: str) -> MemberStatus:
    return MemberStatus(id_of(name), name, state, "127.0.0.1:1", True, 1.0)


def test_a_status_is_read_for_what_decisions_look_at() -> None:
    answer = StatusAnswer(
        node_id=id_of("me"),
        name="edge-0",
        overlay_name="voice.calls",
        state="ready",
        incarnation=1,
        predecessor=None,
        successors=(),
        members=(
            member("a", "alive"),
            member("b", "suspect"),
            member("c", "dead"),
            member("d", "left"),
        ),
        links=1,
        keys=1,
        owned_keys=1,
        registrations=3,
        calls=2,
        copies=3,
        in_step=True,
        is_degraded=False,
        uptime_seconds=1.0,
        counters={},
        is_ready=True,
        version="0.1.0",
        failure_domain="west/node-a",
        not_after=99.0,
        bundle_hash="b",
        membership_digest="d",
        copies_missing=4,
    )
    said = report_of(answer, 50.0)
    assert said.members_alive == tuple(sorted([id_of("a"), id_of("me")]))
    assert said.members_known == tuple(sorted([id_of("b"), id_of("c")]))
    assert (said.at, said.state, said.is_ready, said.in_step) == (50.0, "ready", True, True)
    assert (said.calls, said.registrations, said.copies_missing) == (2, 3, 4)
    assert (said.version, said.failure_domain, said.not_after) == ("0.1.0", "west/node-a", 99.0)
    assert (said.bundle_hash, said.membership_digest) == ("b", "d")


def test_what_a_decision_may_wait_for_is_told_at_once_and_counts_are_not() -> None:
    reports = Reports()
    assert reports.heard("edge-0", POD, report(calls=3))
    assert not reports.heard("edge-0", POD, report(at=10_002.0, calls=9, registrations=0))
    assert reports.heard("edge-0", POD, report(calls=0)), "the last call has ended"
    assert reports.heard("edge-0", POD, report(digest="other"))
    assert reports.heard("edge-0", POD, report(digest="other", copies_missing=5))
    assert not reports.heard("edge-0", POD, report(digest="other", copies_missing=4))
    assert reports.heard("edge-0", POD, report(digest="other"))


def test_a_new_pod_has_not_spoken_yet() -> None:
    reports = Reports()
    reports.heard("edge-0", POD, report(at=0.0))
    assert reports.keep({"edge-0": POD}, 1.0) == ()
    assert reports.keep({"edge-0": Pod("uid-2", "edge")}, 1.0) == ("edge",)
    assert reports.by_name == {}


def test_a_silent_peer_is_believed_for_a_minute_and_one_without_pod_for_longer() -> None:
    reports = Reports()
    reports.heard("edge-0", POD, report(at=0.0))
    reports.heard("edge-1", POD, report(at=0.0))
    assert reports.keep({"edge-0": POD}, 59.0) == ()
    assert reports.keep({"edge-0": POD}, 60.0) == ("edge",)
    assert list(reports.by_name) == ["edge-1"]
    assert reports.keep({}, 600.0) == ("edge",)


def test_counts_wake_a_set_when_they_have_changed_much_and_not_soon_again() -> None:
    reports = Reports()
    reports.heard("edge-0", POD, report(calls=50))
    reports.heard("edge-1", POD, report(calls=50))
    assert reports.counted(100.0) == ()
    reports.heard("edge-0", POD, report(calls=55))
    assert reports.counted(200.0) == ()
    reports.heard("edge-0", POD, report(calls=56))
    assert reports.counted(129.0) == ()
    assert reports.counted(130.0) == ("edge",)
    assert reports.counted(131.0) == ()


def test_each_node_id_is_kept_once_however_many_tell_it() -> None:
    reports = Reports()
    for name in ("edge-0", "edge-1"):
        alive = (NodeId(bytes(id_of("a"))[:8] + bytes(id_of("a"))[8:]),)
        reports.heard(name, POD, msgspec.structs.replace(report(), members_alive=alive))
    one, other = (reports.by_name[name].members_alive[0] for name in ("edge-0", "edge-1"))
    assert one is other
