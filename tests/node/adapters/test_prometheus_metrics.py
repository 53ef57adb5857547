"""The metrics page: every count and state of a status, and histograms of what was told."""

from prometheus_client.parser import text_string_to_metric_families

from chordial_node.adapters.prometheus_metrics import PrometheusMetrics
from chordial_node.boundary.control import MemberStatus, StatusAnswer
from chordial_node.boundary.counters import Counters
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import CallAnswered, LookupFinished
from tests.node.adapters.overlay_rig import NODES

STATUS = StatusAnswer(
    node_id=NODES[0],
    name="p0",
    overlay_name="test",
    state="ready",
    incarnation=1,
    predecessor=None,
    successors=(NODES[1],),
    members=(MemberStatus(NODES[1], "<p1>", "alive", "127.0.0.1:1", True, 0.5),),
    links=1,
    keys=7,
    owned_keys=3,
    registrations=2,
    calls=1,
    copies=3,
    in_step=True,
    is_degraded=False,
    uptime_seconds=5.0,
    counters={**Counters().snapshot(), "lookups": 9},
    is_ready=True,
)


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    text = metrics.text(STATUS).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def tell(metrics: PrometheusMetrics, notice: Notice) -> None:
    metrics.observers()[type(notice)](notice)


def test_counts_and_states_are_those_of_the_status() -> None:
    found = samples(PrometheusMetrics())
    assert found["chordial_lookups_total", ()] == 9
    assert found["chordial_overlay_link_count", ()] == 1
    assert found["chordial_storage_entry_count", ()] == 7
    assert found["chordial_ready", ()] == 1
    assert found["chordial_overlay_peer_count", ("alive",)] == 1
    assert found["chordial_overlay_peer_count", ("dead",)] == 0
    for name in Counters().snapshot():
        assert (f"chordial_{name}_total", ()) in found


def test_lookups_and_calls_fill_histograms() -> None:
    metrics = PrometheusMetrics()
    tell(metrics, LookupFinished("fetch", hops=1, seconds=0.002, error=None))
    tell(metrics, LookupFinished("fetch", hops=2, seconds=7.0, error=None))
    tell(metrics, LookupFinished("store", hops=9, seconds=0.3, error="busy"))
    tell(metrics, CallAnswered(seconds=3.0))
    found = samples(metrics)
    assert found["chordial_overlay_lookup_duration_seconds_bucket", ("0.0025",)] == 1
    assert found["chordial_overlay_lookup_duration_seconds_count", ()] == 3
    assert found["chordial_overlay_lookup_hops_bucket", ("1.0",)] == 1
    assert found["chordial_overlay_lookup_hops_count", ()] == 2
    assert found["chordial_sip_call_setup_duration_seconds_sum", ()] == 3.0


def test_refused_outsiders_are_counted_by_reason() -> None:
    metrics = PrometheusMetrics()
    metrics.refused("expired")
    metrics.refused("expired")
    assert samples(metrics)["chordial_edge_refused_total", ("expired",)] == 2


def test_datagrams_that_were_not_sent_are_counted() -> None:
    metrics = PrometheusMetrics()
    metrics.unsent()
    assert samples(metrics)["chordial_edge_datagrams_unsent_total", ()] == 1
