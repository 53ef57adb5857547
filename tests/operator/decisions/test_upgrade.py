"""An upgrade, played on a fleet of plain structs whose pods come back as they are told to."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chordial_operator.decisions.upgrade import (
    Gate,
    UpgradeRules,
    UpgradeStep,
    Wanted,
    next_step,
)
from chordial_operator.decisions.views import PeerView
from tests.operator.decisions.views_made import NEW, NOW, OLD, peer, report

RULES = UpgradeRules()
OPEN = Gate(True, NOW - 60)


def fleet(relays: int = 3, seeds: int = 4) -> list[PeerView]:
    return [
        *(peer(f"edge-{number}", domain=f"node-{2 - number % 3}") for number in range(relays)),
        *(peer(f"seeds-{number}", domain=f"node-{number % 3}") for number in range(seeds)),
    ]


def step(
    peers: list[PeerView],
    *,
    revision: str = NEW,
    image: str = "",
    rules: UpgradeRules = RULES,
    gate: Gate | None = OPEN,
    lost: tuple[str, ...] = (),
    now: float = NOW,
) -> UpgradeStep:
    wanted = {each.name: Wanted(revision, image) for each in peers}
    return next_step(peers, wanted, rules, lost, gate, now)


def restarted(said: UpgradeStep) -> list[tuple[str, bool]]:
    return [(each.name, each.at_once) for each in said.restarts]


def test_nothing_is_done_when_all_are_of_the_wanted_revision() -> None:
    assert step(fleet(), revision=OLD) == UpgradeStep()


def test_a_relay_goes_first_then_by_failure_domain_and_seeds_last() -> None:
    said = step(fleet())
    assert restarted(said) == [("edge-2", False)]
    assert said.outdated == (
        "edge-2", "edge-1", "edge-0", "seeds-0", "seeds-3", "seeds-1", "seeds-2",
    )  # fmt: skip


def test_the_overlay_must_have_been_whole_for_the_time_of_stabilization() -> None:
    said = step(fleet(), gate=None)
    assert (said.restarts, said.gate, said.look_again) == ((), Gate(True, NOW), 10.0)
    assert restarted(step(fleet(), gate=said.gate, now=NOW + 10)) == [("edge-2", False)]


def test_everything_that_shuts_the_gate() -> None:
    usual = fleet()
    cases = {
        "edge-0 is leaving": peer("edge-0", leaving_since=1.0),
        "edge-0 is lost with its node": peer("edge-0", unreachable_since=1.0),
        "edge-0 has no pod": msgspec.structs.replace(usual[0], pod=None),
        "edge-0 is not ready": peer("edge-0", revision=NEW, ready=False, created_at=NOW),
        "edge-0 does not answer the operator": msgspec.structs.replace(usual[0], report=None),
        "edge-0 is not in step with its neighbors": msgspec.structs.replace(
            usual[0], report=report(in_step=False)
        ),
        "some copies are missing": msgspec.structs.replace(
            usual[0], report=report(copies_missing=2)
        ),
        "peers do not agree on who is in the ring": msgspec.structs.replace(
            usual[0], report=report(digest="other")
        ),
    }
    for why, odd in cases.items():
        said = step([odd, *usual[1:]])
        assert (said.restarts, said.blocked, said.gate) == ((), why, Gate(False, NOW)), why
    assert step(usual, lost=("edge-0",)).blocked == "edge-0 is lost with its node"
    assert step(usual, now=NOW + 31).blocked == "edge-0 does not answer the operator"


def test_a_broken_peer_of_the_wrong_revision_is_replaced_at_once_whatever_else_is() -> None:
    peers = fleet()
    peers[1] = peer("edge-1", revision="broken", ready=False)
    peers[4] = peer("seeds-1", revision="broken", ready=False)
    said = step(peers, revision=OLD)
    assert restarted(said) == [("edge-1", True), ("seeds-1", True)]
    assert said.restarts[0].why == ("edge-1 is replaced: it is of another revision and not ready")


def test_a_peer_that_does_not_come_back_stalls_the_upgrade_and_stops_it() -> None:
    peers = fleet()
    assert peers[2].pod is not None
    stuck = msgspec.structs.replace(
        peers[2].pod,
        template_hash=NEW,
        is_ready=False,
        ready_changed=NOW,
        waiting="ErrImagePull: no",
    )
    peers[2] = msgspec.structs.replace(peers[2], template_hash=NEW, pod=stuck)
    shut = Gate(False, NOW)
    said = step(peers, gate=shut, now=NOW + 899)
    assert (said.stalled, said.look_again, said.is_restarting) == ("", 1.0, True)
    said = step(peers, gate=None, now=NOW + 900)
    assert said.stalled == (
        "edge-2 is not ready: ErrImagePull: no, for more than 900 s; 6 peers wait:"
        " mend what it says, or revert the spec"
    )
    assert (said.restarts, said.is_restarting) == ((), False)
    assert restarted(step(peers, revision=OLD, now=NOW + 900)) == [("edge-2", True)]


def test_a_peer_that_ends_its_calls_for_long_is_no_stall() -> None:
    peers = fleet()
    assert peers[2].pod is not None
    ending = msgspec.structs.replace(peers[2].pod, is_terminating=True)
    peers[2] = msgspec.structs.replace(peers[2], pod=ending)
    said = step(peers, gate=Gate(False, NOW), now=NOW + 5000)
    assert (said.blocked, said.stalled) == ("edge-2 is stopping", "")
    assert said.gate == Gate(False, NOW + 5000), "the time to come back begins when it has stopped"


def test_a_paused_overlay_restarts_nobody() -> None:
    paused = UpgradeRules(is_paused=True)
    said = step([peer("edge-0", ready=False)], rules=paused)
    assert (said.restarts, said.blocked) == ((), "the overlay is paused")


def test_a_new_operator_alone_restarts_nobody_and_says_what_waits() -> None:
    peers = [peer(f"edge-{number}", image="chordial:1") for number in range(4)]
    said = step(peers, revision=OLD, image="chordial:2")
    assert (said.restarts, said.outdated) == ((), ())
    assert said.held_back == ("edge-0", "edge-1", "edge-2", "edge-3")
    assert step(peers, revision=OLD, image="chordial:1").held_back == ()


def test_the_template_of_a_peer_without_pod_is_applied_before_it_gets_one() -> None:
    peers = fleet()
    peers[0] = msgspec.structs.replace(peers[0], pod=None)
    assert step(peers).templates == ("edge-0",)


def test_a_begun_restart_goes_first() -> None:
    peers = fleet()
    peers[0] = msgspec.structs.replace(peers[0], template_hash=NEW)
    assert restarted(step(peers)) == [("edge-0", False)]


class Fleet:
    """Pods that are replaced as an upgrade says, and come back ready unless they are broken."""

    def __init__(self, said: list[str], broken: frozenset[str]) -> None:
        self.broken = broken
        self.now = NOW
        self.peers = [self._born(name, OLD, ready=True) for name in said]
        self.most_away = 0

    def _born(self, name: str, revision: str, *, ready: bool) -> PeerView:
        return peer(name, revision=revision, ready=ready, created_at=self.now)

    def run(self, revision: str, seconds: float) -> UpgradeStep:
        gate: Gate | None = None
        end = self.now + seconds
        while True:
            fresh = [
                msgspec.structs.replace(each, report=report(at=self.now)) for each in self.peers
            ]
            said = step(fresh, revision=revision, gate=gate, now=self.now)
            gate = said.gate
            away = sum(1 for each in self.peers if not each.is_up)
            evicted = [each for each in said.restarts if not each.at_once]
            assert not evicted or away == 0
            assert len(evicted) <= 1
            if self.now >= end or not (said.outdated or away):
                return said
            names = {each.name for each in said.restarts}
            self.now += 5.0
            self.peers = [
                self._born(each.name, revision, ready=False)
                if each.name in names
                else self._grown(each)
                for each in self.peers
            ]

    def _grown(self, each: PeerView) -> PeerView:
        if each.is_up or each.template_hash in self.broken:
            return each
        return self._born(each.name, each.template_hash, ready=True)


names = st.lists(
    st.sampled_from([*(f"edge-{n}" for n in range(6)), *(f"seeds-{n}" for n in range(5))]),
    unique=True,
    min_size=1,
)


@given(names)
def test_an_upgrade_always_ends_when_peers_become_ready(said: list[str]) -> None:
    played = Fleet(said, frozenset())
    ended = played.run(NEW, 3600.0)
    assert ended.outdated == ()
    assert {each.template_hash for each in played.peers} == {NEW}


@given(names, st.sampled_from(["before", "after"]))
def test_a_broken_upgrade_stops_at_one_peer_stalls_and_heals_by_a_revert(
    said: list[str], when: str
) -> None:
    played = Fleet(said, frozenset({NEW}))
    stopped = played.run(NEW, 60.0 if when == "before" else 1200.0)
    assert sum(1 for each in played.peers if not each.is_up) <= 1
    assert bool(stopped.stalled) == (when == "after" and len(said) > 1)
    played.run(OLD, 3600.0)
    assert all(each.is_up and each.template_hash == OLD for each in played.peers)
