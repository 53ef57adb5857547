"""Who leaves, in which order, how many at one time, and never below the floor (fleet 2.3)."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chordial_operator.decisions import floor
from chordial_operator.decisions.floor import Need
from chordial_operator.decisions.scale_in import ScaleIn, ScaleInRules, is_forced, plan
from chordial_operator.decisions.views import PeerView
from tests.operator.decisions.views_made import NEW, NOW, OLD, peer, seeing_each_other

NEED = Need(copies=3, successors=3)
LONG_AGO = NOW - 600.0


def rules(replicas: int, **changed: object) -> ScaleInRules:
    usual: dict[str, object] = {"max_concurrent": 1, "stabilization": 60.0, "need": NEED}
    return msgspec.convert({**usual, "replicas": replicas, **changed}, ScaleInRules)


def relays(count: int) -> list[PeerView]:
    return [peer(f"edge-{number}", domain=f"node-{number % 3}") for number in range(count)]


SEEDS = [peer(f"seeds-{number}", domain=f"node-{number % 3}") for number in range(5)]


def planned(own: list[PeerView], ruled: ScaleInRules, since: float | None = LONG_AGO) -> ScaleIn:
    overlay = seeing_each_other(*SEEDS, *own)
    return plan(overlay[len(SEEDS) :], overlay, ruled, since, NOW)


def leaving(said: ScaleIn) -> list[str]:
    return [leaver.name for leaver in said.leave]


def test_nobody_leaves_a_set_that_has_what_it_should() -> None:
    assert planned(relays(3), rules(3)) == ScaleIn()
    assert planned(relays(2), rules(3)) == ScaleIn()


def test_first_the_wish_must_be_stable_and_who_would_leave_is_told() -> None:
    said = planned(relays(4), rules(2), since=None)
    assert (leaving(said), said.low_since, said.look_again) == ([], NOW, 60.0)
    assert said.planned == ("edge-3", "edge-1")
    assert said.waits == "fewer peers are wanted, acted on after 60 s of that"
    assert leaving(planned(relays(4), rules(2), since=NOW - 60.0)) == ["edge-3"]


def test_only_as_many_leave_at_one_time_as_may() -> None:
    assert leaving(planned(relays(6), rules(1, max_concurrent=3))) == ["edge-4", "edge-3", "edge-5"]
    going = [*relays(5), peer("edge-5", leaving_since=NOW - 5)]
    said = planned(going, rules(2))
    assert (leaving(said), said.waits) == ([], "1 at one time: edge-5 must be gone first")


def test_peers_that_are_away_take_the_places_of_those_that_could_leave() -> None:
    own = relays(4)
    own[0] = peer("edge-0", ready=False, domain="node-0", created_at=NOW - 5)
    said = planned(own, rules(2))
    assert (leaving(said), said.waits) == ([], "edge-3 stays while others are away: edge-0")


def test_peers_that_never_came_up_need_no_place_among_those_that_serve() -> None:
    own = [*relays(3), peer("edge-3", ready=False), peer("edge-4", ready=False)]
    assert leaving(planned(own, rules(3))) == ["edge-4"]
    assert leaving(planned(own, rules(3, max_concurrent=2))) == ["edge-4", "edge-3"]


def test_a_pod_that_somebody_evicts_is_away_though_it_still_serves() -> None:
    own = relays(4)
    assert own[0].pod is not None
    going = msgspec.structs.replace(own[0].pod, is_terminating=True)
    own[0] = msgspec.structs.replace(own[0], pod=going)
    assert leaving(planned(own, rules(2))) == []


def test_an_upgrade_step_comes_first() -> None:
    said = planned(relays(4), rules(2, has_upgrade_step=True))
    assert (leaving(said), said.waits) == ([], "an upgrade restarts a peer, which comes first")


def test_who_leaves_goes_by_the_order_of_the_rules() -> None:
    plain = [peer(f"edge-{number}", revision=NEW, calls=1) for number in range(8)]
    better = [
        (0, peer("edge-0", revision=NEW, calls=9, removal_first=True)),
        (1, peer("edge-1", revision=NEW, calls=9, unreachable_since=NOW - 40)),
        (2, peer("edge-2", revision=NEW, calls=9, cordoned=True)),
        (3, peer("edge-3", revision=OLD, calls=9)),
        (4, peer("edge-4", revision=NEW, calls=0)),
        (5, peer("edge-5", revision=NEW, calls=1, registrations=0)),
    ]
    for number, special in better:
        plain[number] = special
    plain[6] = peer("edge-6", revision=NEW, calls=1, registrations=2)
    plain[7] = peer("edge-7", revision=NEW, calls=1, registrations=2)
    said = planned(plain, rules(0, template_hash=NEW))
    assert said.planned == tuple(f"edge-{number}" for number in (0, 1, 2, 3, 4, 5, 7, 6))


def test_the_fullest_failure_domain_gives_before_the_emptier_ones() -> None:
    own = [peer("edge-0", domain="node-0"), *(peer(f"edge-{n}", domain="x") for n in (1, 2, 3))]
    own[1] = peer("edge-1", domain="x", calls=7)
    seeds = [peer(f"seeds-{number}", domain=f"y{number}") for number in range(5)]
    said = plan(own, [*seeds, *own], rules(2), LONG_AGO, NOW)
    assert said.planned == ("edge-3", "edge-2")


def test_the_floor_is_told_and_what_is_above_it_still_leaves() -> None:
    own = seeing_each_other(*SEEDS)
    said = plan(own, own, rules(2), LONG_AGO, NOW)
    assert leaving(said) == ["seeds-4"]
    assert said.limited.startswith("3 serving peers of the overlay would be left")
    said = plan(own, own, rules(0, is_forced=True, max_concurrent=5), LONG_AGO, NOW)
    assert (len(said.leave), said.limited) == (5, "")


def test_a_peer_whose_domain_is_needed_lets_another_go() -> None:
    own = [peer(f"seeds-{number}", domain="a") for number in range(4)]
    own += [peer("seeds-4", domain="b", removal_first=True), peer("seeds-5", domain="c")]
    assert plan(own, own, rules(5), LONG_AGO, NOW).planned == ("seeds-3",)


def test_a_peer_that_is_lost_for_good_and_its_successor_are_no_surplus() -> None:
    own = [*relays(3), peer("edge-3", unreachable_since=NOW - 900)]
    assert planned(own, rules(3, lost=["edge-3"])) == ScaleIn()
    assert leaving(planned(own, rules(3))) == ["edge-3"]


def test_force_speaks_of_one_generation_alone() -> None:
    assert is_forced("7", 7)
    assert not is_forced("7", 8)
    assert not is_forced("", 0)


peers = st.builds(
    lambda state, domain, calls, first: (state, domain, calls, first),
    st.sampled_from(["up", "up", "up", "young", "broken", "leaving", "cut", "cordoned"]),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 3),
    st.booleans(),
)


def made(number: int, said: tuple[str, str, int, bool], set_name: str = "edge") -> PeerView:
    state, domain, calls, first = said
    return peer(
        f"{set_name}-{number}",
        domain=domain,
        calls=calls,
        removal_first=first,
        ready=state not in ("young", "broken"),
        created_at=NOW - 5 if state == "young" else 0.0,
        leaving_since=NOW - 5 if state == "leaving" else None,
        unreachable_since=NOW - 40 if state == "cut" else None,
        cordoned=state == "cordoned",
    )


@given(
    st.lists(peers, max_size=10),
    st.lists(peers, max_size=6),
    st.integers(0, 10),
    st.integers(1, 4),
    st.booleans(),
)
def test_any_scale_in_keeps_floor_and_pace_and_two_operators_choose_alike(
    own_said: list[tuple[str, str, int, bool]],
    other_said: list[tuple[str, str, int, bool]],
    replicas: int,
    concurrent: int,
    forced: bool,
) -> None:
    others = [made(number, said, "seeds") for number, said in enumerate(other_said)]
    overlay = seeing_each_other(
        *others, *(made(number, said) for number, said in enumerate(own_said))
    )
    own = overlay[len(others) :]
    ruled = rules(replicas, max_concurrent=concurrent, is_forced=forced)
    said = plan(own, overlay, ruled, LONG_AGO, NOW)
    assert plan(own[::-1], overlay[::-1], ruled, LONG_AGO, NOW).leave == said.leave

    gone = set(leaving(said))
    assert len(gone) == len(said.leave)
    assert not any(each.is_leaving for each in own if each.name in gone)
    assert sum(1 for each in own if not each.is_leaving) - len(gone) >= min(
        replicas, sum(1 for each in own if not each.is_leaving)
    )
    already = sum(1 for each in overlay if each.is_leaving)
    assert not gone or already + len(gone) <= concurrent
    if gone and not forced:
        assert floor.problem(overlay, gone, NEED) == ""
    serving = {each.name for each in overlay if each.is_up and not each.is_leaving}
    if gone & serving:
        away = {each.name for each in overlay if not each.stays}
        assert len(away | gone) <= concurrent
