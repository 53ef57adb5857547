"""A scale-in from choice to last object, with peers that die midway, played on plain structs."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import NodeId
from chordial_operator.decisions import disruption, finish, scale_in
from chordial_operator.decisions.floor import Need
from chordial_operator.decisions.scale_in import ScaleInRules
from chordial_operator.decisions.views import PeerView
from tests.operator.decisions.views_made import NOW, peer, report

NEED = Need(copies=3, successors=3)
DRAIN_TICKS = 3
HEAL_TICKS = 2


class Overlay:
    """Peers whose drains end after a few turns, well or by a sudden death."""

    def __init__(self, relays: int, seeds: int, deaths: frozenset[str]) -> None:
        self.peers = {
            each.name: each
            for each in (
                *(peer(f"seeds-{number}", domain=f"n{number % 3}") for number in range(seeds)),
                *(peer(f"edge-{number}", domain=f"n{number % 3}") for number in range(relays)),
            )
        }
        self.deaths = deaths
        self.draining: dict[str, int] = {}
        self.healing: dict[NodeId, int] = {}
        self.outcomes: list[str] = []
        self.low_since: float | None = None
        self.now = NOW

    def view(self) -> list[PeerView]:
        """Every serving peer tells who is alive, who is away, and that copies are missing."""
        alive = tuple(each.node_id for each in self.peers.values() if each.is_up)
        said = report(
            at=self.now,
            members_alive=alive,
            members_known=tuple(self.healing),
            copies_missing=sum(self.healing.values()),
        )
        return [
            msgspec.structs.replace(each, report=said if each.is_up else None)
            for each in self.peers.values()
        ]

    def turn(self, rules: ScaleInRules) -> None:
        self.now += 5.0
        overlay = self.view()
        for each in overlay:
            if each.is_leaving:
                self._finish(each, overlay)
        overlay = self.view()
        own = [each for each in overlay if each.set_name == "edge"]
        plan = scale_in.plan(own, overlay, rules, self.low_since, self.now)
        self.low_since = plan.low_since
        for leaver in plan.leave[:1]:  # each is written, then everything is counted again
            self.peers[leaver.name] = msgspec.structs.replace(
                self.peers[leaver.name], leaving_since=self.now
            )
        self._pass_time()

    def _finish(self, each: PeerView, overlay: list[PeerView]) -> None:
        step = finish.next_step(each, overlay, removes_volume=True)
        if step.step == "Drain":
            self.peers[each.name] = msgspec.structs.replace(
                self.peers[each.name], stateful_set_replicas=0
            )
            self.draining[each.name] = DRAIN_TICKS
        elif step.step == "Remove":
            assert each.node_id not in self.healing, "its copies are not yet made anew"
            assert step.remove[-1] == "StatefulSet"
            del self.peers[each.name]
            self.outcomes.append(step.outcome)

    def _pass_time(self) -> None:
        self.healing = {node: left - 1 for node, left in self.healing.items() if left > 1}
        for name, left in list(self.draining.items()):
            self.draining[name] = left - 1
            if left == 1:
                del self.draining[name]
                gone = self.peers[name] = msgspec.structs.replace(self.peers[name], pod=None)
                if name in self.deaths:
                    self.healing[gone.node_id] = HEAL_TICKS


@given(
    st.integers(1, 9),
    st.integers(0, 6),
    st.integers(0, 9),
    st.integers(1, 3),
    st.frozensets(st.sampled_from([f"edge-{number}" for number in range(9)])),
)
def test_a_set_shrinks_to_what_is_wanted_or_to_the_floor_and_never_below_it(
    relays: int, seeds: int, wanted: int, concurrent: int, deaths: frozenset[str]
) -> None:
    overlay = Overlay(relays, seeds, deaths)
    rules = ScaleInRules(replicas=wanted, max_concurrent=concurrent, stabilization=60.0, need=NEED)
    began = relays + seeds
    for _ in range(12 + 8 * relays):
        overlay.turn(rules)
        view = overlay.view()
        leaving = [each for each in view if each.is_leaving]
        staying = [each for each in view if each.stays]
        assert len(leaving) <= concurrent
        assert len(staying) >= min(began, NEED.peers)
        assert disruption.min_available(view, (), 1) >= len(staying) - 1
    left = [each for each in overlay.peers.values() if each.set_name == "edge"]
    assert not any(each.is_leaving for each in left)
    plan = scale_in.plan(left, overlay.view(), rules, overlay.low_since, overlay.now)
    assert len(left) == min(relays, wanted) or plan.limited
    assert len(overlay.outcomes) == relays - len(left)
