"""One trace for a call, as a trace backend gets it."""

from pathlib import Path

import pytest

from tests.integration.otlp_sink import SinkSpan, otlp_sink
from tests.integration.rig import LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def whole(spans: list[SinkSpan]) -> bool:
    """Tell whether a trace has one root and no orphan."""
    known = {span.span_id for span in spans}
    roots = [span for span in spans if not span.parent_id]
    return len(roots) == 1 and all(span.parent_id in known for span in spans if span.parent_id)


def test_a_call_is_one_trace_from_the_first_edge_over_each_hop_to_the_second(
    tmp_path: Path,
) -> None:
    fleet = LocalFleet(tmp_path / "state")
    with otlp_sink() as (endpoint, sink):
        shown = fleet.command("up", "--once", "--otlp", endpoint, "--sampling", "0", timeout=120.0)
        call = shown["call"]
        assert isinstance(call, dict)
        trace_id = str(call["trace_id"])
        spans = wait_for(lambda: sink.trace(trace_id) if whole(sink.trace(trace_id)) else None)
        sip = {span.trace_id for span in sink.spans if span.name.startswith("SIP ")}
        assert sip == {trace_id}, "a request that is not sampled made a span"
    by_id = {span.span_id: span for span in spans}
    (root,) = (span for span in spans if not span.parent_id)
    assert root.name == "SIP INVITE"
    assert len({span.peer for span in spans}) >= 2, "both edges tell of the call"
    hops = [span for span in spans if span.name == "overlay.hop"]
    assert hops
    for hop in hops:
        before = by_id[hop.parent_id].attributes.get("chordial.overlay.hop", "0")
        assert int(hop.attributes["chordial.overlay.hop"]) == int(before) + 1
    for span in spans:
        if span.parent_id:
            assert by_id[span.parent_id].started_ns <= span.started_ns + 50_000_000
    for hop in hops:
        assert hop.attributes["chordial.overlay.rule"] in (
            "self", "connection", "table", "successor", "fallback",
        )  # fmt: skip
