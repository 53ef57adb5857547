"""One trace for a call, as a trace backend gets it."""

import pytest

from tests.integration.otlp_sink import Sink, SinkSpan, otlp_sink
from tests.integration.rig import LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RULES = ("self", "connection", "table", "successor", "fallback")
CLOCKS_NS = 50_000_000
"""How far the processes of one machine may be apart in telling what time it is."""


class Tree:
    """The spans of one trace: one root, no orphan."""

    def __init__(self, spans: list[SinkSpan]) -> None:
        self.spans = spans
        self.by_id = {span.span_id: span for span in spans}

    @property
    def is_whole(self) -> bool:
        """Whether there is one root, and every other span's parent is here."""
        parents = [span.parent_id for span in self.spans if span.parent_id]
        return len(parents) == len(self.spans) - 1 and all(each in self.by_id for each in parents)

    @property
    def root(self) -> SinkSpan:
        """The span without a parent."""
        (root,) = (span for span in self.spans if not span.parent_id)
        return root

    def below(self, parent: SinkSpan, name: str) -> list[SinkSpan]:
        """The spans of a name right below another."""
        return [each for each in self.named(name) if each.parent_id == parent.span_id]

    def named(self, name: str) -> list[SinkSpan]:
        """The spans of a name, the earliest first."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Sink]:
    """The trace of the demonstration's call, and all else that was told."""
    fleet = LocalFleet(tmp_path_factory.mktemp("traced") / "state")
    with otlp_sink() as (endpoint, sink):
        shown = fleet.command("up", "--once", "--otlp", endpoint, "--sampling", "0", timeout=120.0)
        call = shown["call"]
        assert isinstance(call, dict)
        trace_id = str(call["trace_id"])
        wait_for(lambda: len(sink.trace(trace_id)) > 1 and Tree(sink.trace(trace_id)).is_whole)
    return Tree(sink.trace(trace_id)), sink


def test_a_call_is_one_trace_from_the_first_edge_to_the_second_and_its_phone(
    traced: tuple[Tree, Sink],
) -> None:
    """RFC 3261 §17 seen from outside: server and client transaction at each edge, in one tree."""
    tree, _ = traced
    assert tree.is_whole, "an orphan, or two roots"
    first = tree.root
    assert (first.name, first.kind) == ("SIP INVITE", "server")
    (to_second,) = tree.below(first, "SIP INVITE")
    (second,) = tree.below(to_second, "SIP INVITE")
    (to_phone,) = tree.below(second, "SIP INVITE")
    assert [each.kind for each in (to_second, second, to_phone)] == ["client", "server", "client"]
    assert first.peer == to_second.peer != second.peer == to_phone.peer
    for span in (first, to_second, second, to_phone):
        assert span.attributes["sip.response.status_code"] == "200"
    assert {span.name for span in tree.spans if span.name.startswith("SIP")} == {"SIP INVITE"}


def test_the_lookup_of_a_call_is_told_hop_by_hop(traced: tuple[Tree, Sink]) -> None:
    """RFC 7851 in a trace: each link that is crossed, by which rule, how long it waited there."""
    tree, _ = traced
    (fetch,) = tree.below(tree.root, "overlay.request")
    assert fetch.attributes["chordial.overlay.method"] == "fetch"
    hops = tree.named("overlay.hop")
    for hop in hops:
        before = tree.by_id[hop.parent_id].attributes.get("chordial.overlay.hop", "0")
        assert int(hop.attributes["chordial.overlay.hop"]) == int(before) + 1
        assert hop.attributes["chordial.overlay.rule"] in RULES
        assert len(hop.attributes["chordial.overlay.peer"]) == 32
        assert float(hop.attributes["chordial.overlay.queued"]) >= 0
        assert 0 <= float(hop.attributes["chordial.overlay.distance"]) < 1
    (served,) = tree.named("overlay.serve")
    assert int(served.attributes["chordial.overlay.hop"]) == len(hops)
    if hops:
        assert served.parent_id == hops[-1].span_id
        assert served.peer == hops[-1].attributes["chordial.overlay.peer"]
    else:
        assert served.peer == tree.root.peer, "the edge itself is responsible"


def test_nothing_begins_before_what_it_is_part_of(traced: tuple[Tree, Sink]) -> None:
    tree, _ = traced
    for span in tree.spans:
        assert span.started_ns <= span.ended_ns
        if span.parent_id:
            assert tree.by_id[span.parent_id].started_ns <= span.started_ns + CLOCKS_NS


def test_what_is_not_sampled_makes_no_span(traced: tuple[Tree, Sink]) -> None:
    """Two REGISTERs, a MESSAGE and a BYE went through the same ring, with a sampling of nothing."""
    tree, sink = traced
    others = [span for span in sink.spans if span.trace_id != tree.root.trace_id]
    assert not [span for span in others if span.name.startswith("SIP ")]
    roots = {span.name for span in others if not span.parent_id}
    assert roots <= {"chordial.trace"}, "only what the command has asked for"
