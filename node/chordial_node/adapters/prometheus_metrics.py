"""Metrics for Prometheus: counts and states as the peer's status has them, histograms by notice.

Names follow OpenTelemetry's (`chordial.overlay.lookup.duration`, unit s) as Prometheus writes them;
`docs/reference/metrics.md` lists them. What a count means is decided where it is raised.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from chordial_node.boundary.control import StatusAnswer
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import CallAnswered, LookupFinished

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HOPS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
STATES = ("alive", "suspect", "dead", "left")


class _Histogram:
    """Counts of values by bucket, raised without a lock on the one thread there is."""

    __slots__ = ("_bounds", "_counts", "_documentation", "_name", "_sum")

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self) -> Metric:
        """Return it as Prometheus has it: each bucket with all below it."""
        total = 0
        buckets = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
        return HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=self._sum
        )


class PrometheusMetrics:
    """The metrics of one node."""

    def __init__(self) -> None:
        self._status: StatusAnswer | None = None
        self._refused: Counter[str] = Counter()
        self._lookup_seconds = _Histogram(
            "chordial_overlay_lookup_duration_seconds",
            "Time from a request to a Resource-ID to its answer.",
            SECONDS,
        )
        self._lookup_hops = _Histogram(
            "chordial_overlay_lookup_hops", "Hops of an answered request.", HOPS
        )
        self._call_seconds = _Histogram(
            "chordial_sip_call_setup_duration_seconds",
            "Time from an INVITE to its 2xx.",
            (*SECONDS, 30.0, 60.0, 180.0),
        )
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def observers(self) -> dict[type[Notice], Callable[[Notice], None]]:
        """Return what is to be told of each kind of notice that is measured."""
        return {LookupFinished: self._on_lookup, CallAnswered: self._on_call}

    def refused(self, reason: str) -> None:
        """Count an outsider whom the edge itself turned away."""
        self._refused[reason] += 1

    def text(self, status: StatusAnswer) -> bytes:
        """Return the page for a scrape."""
        self._status = status
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all families; the registry calls it."""
        if self._status is not None:
            yield from _gauges(self._status)
            for name, count in sorted(self._status.counters.items()):
                yield CounterMetricFamily(
                    f"chordial_{name}", f"Count of {name.replace('_', ' ')}.", value=count
                )
        refused = CounterMetricFamily(
            "chordial_edge_refused",
            "Connections and calls refused by the edge, by error.type.",
            labels=["error_type"],
        )
        for reason, count in sorted(self._refused.items()):
            refused.add_metric([reason], count)
        yield refused
        yield self._lookup_seconds.family()
        yield self._lookup_hops.family()
        yield self._call_seconds.family()

    def _on_lookup(self, notice: Notice) -> None:
        assert isinstance(notice, LookupFinished)
        self._lookup_seconds.observe(notice.seconds)
        if notice.error is None:
            self._lookup_hops.observe(notice.hops)

    def _on_call(self, notice: Notice) -> None:
        assert isinstance(notice, CallAnswered)
        self._call_seconds.observe(notice.seconds)


def _gauges(status: StatusAnswer) -> Iterator[Metric]:
    values = (
        ("chordial_overlay_link_count", "Open links.", status.links),
        ("chordial_overlay_successor_count", "Length of the successor list.",
         len(status.successors)),
        ("chordial_storage_entry_count", "Entries held, replicas included.", status.keys),
        ("chordial_storage_owned_entry_count", "Entries of the own range.", status.owned_keys),
        ("chordial_storage_in_step", "1: the own range is on a majority of its replica set.",
         status.in_step),
        ("chordial_storage_degraded", "1: the own range is answered with fewer copies.",
         status.is_degraded),
        ("chordial_sip_registration_count", "Bindings accepted by this peer.",
         status.registrations),
        ("chordial_sip_call_count", "Calls in progress at this peer.", status.calls),
        ("chordial_process_uptime_seconds", "Time since the start.", status.uptime_seconds),
        ("chordial_ready", "1: this peer serves.", status.state == "ready"),
    )  # fmt: skip
    for name, documentation, value in values:
        yield GaugeMetricFamily(name, documentation, value=float(value))
    peers = GaugeMetricFamily(
        "chordial_overlay_peer_count", "Peers that this one knows, by state.", labels=["state"]
    )
    for state in STATES:
        count = sum(member.state == state for member in status.members)
        peers.add_metric([state], float(count))
    yield peers
