"""Metrics for Prometheus: counts and states as the peer's status has them, histograms by notice.

Names follow OpenTelemetry's (`chordial.overlay.lookup.duration`, unit s) as Prometheus writes them;
`docs/reference/metrics.md` lists them. The text format is written here: the client library weighs
3 MiB in every peer. What a count means is decided where it is raised.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec

from chordial_node.boundary.control import StatusAnswer
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import CallAnswered, LookupFinished

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HOPS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
STATES = ("alive", "suspect", "dead", "left")


class Gauge(msgspec.Struct, frozen=True):
    """A state of the peer, read from its status."""

    name: str
    documentation: str
    read: Callable[[StatusAnswer], float]


GAUGES = (
    Gauge("chordial_overlay_link_count", "Open links.", lambda s: s.links),
    Gauge("chordial_overlay_successor_count", "Length of the successor list.",
          lambda s: len(s.successors)),
    Gauge("chordial_storage_entry_count", "Entries held, replicas included.", lambda s: s.keys),
    Gauge("chordial_storage_owned_entry_count", "Entries of the own range.",
          lambda s: s.owned_keys),
    Gauge("chordial_storage_in_step", "1: the own range is on a majority of its replica set.",
          lambda s: s.in_step),
    Gauge("chordial_storage_degraded", "1: the own range is answered with fewer copies.",
          lambda s: s.is_degraded),
    Gauge("chordial_sip_registration_count", "Bindings accepted by this peer.",
          lambda s: s.registrations),
    Gauge("chordial_sip_call_count", "Calls in progress at this peer.", lambda s: s.calls),
    Gauge("chordial_process_uptime_seconds", "Time since the start.", lambda s: s.uptime_seconds),
    Gauge("chordial_certificate_end_seconds", "Unix time at which the certificate ends.",
          lambda s: s.not_after),
    Gauge("chordial_storage_missing_copy_count", "Copies of owned entries that are not in place.",
          lambda s: s.copies_missing),
    Gauge("chordial_ready", "1: this peer serves.", lambda s: s.is_ready),
)  # fmt: skip
PEERS = ("chordial_overlay_peer_count", "Peers that this one knows, by state.")
REFUSED = ("chordial_edge_refused_total", "Connections and calls refused by the edge, by reason.")
UNSENT = ("chordial_edge_datagrams_unsent_total", "Datagrams that the kernel did not take.")


class Histogram:
    """Counts of values by bucket, raised without a lock on the one thread there is."""

    __slots__ = ("_bounds", "_counts", "_sum", "documentation", "name")

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        """Give it as Prometheus has it: each bucket with all below it."""
        yield from _head(self.name, "histogram", self.documentation)
        total = 0
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{bound}"}} {total}'
        yield f"{self.name}_count {total}"
        yield f"{self.name}_sum {self._sum!r}"


class PrometheusMetrics:
    """The metrics of one node."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._unsent = 0
        self._lookup_seconds = Histogram(
            "chordial_overlay_lookup_duration_seconds",
            "Time from a request to a Resource-ID to its answer.",
            SECONDS,
        )
        self._lookup_hops = Histogram(
            "chordial_overlay_lookup_hops", "Hops of an answered request.", HOPS
        )
        self._call_seconds = Histogram(
            "chordial_sip_call_setup_duration_seconds",
            "Time from an INVITE to its 2xx.",
            (*SECONDS, 30.0, 60.0, 180.0),
        )
        self.histograms = (self._lookup_seconds, self._lookup_hops, self._call_seconds)

    def observers(self) -> dict[type[Notice], Callable[[Notice], None]]:
        """Return what is to be told of each kind of notice that is measured."""
        return {LookupFinished: self._on_lookup, CallAnswered: self._on_call}

    def refused(self, reason: str) -> None:
        """Count an outsider whom the edge itself turned away."""
        self._refused[reason] += 1

    def unsent(self) -> None:
        """Count a datagram that the kernel did not take."""
        self._unsent += 1

    def text(self, status: StatusAnswer) -> bytes:
        """Return the page for a scrape."""
        return ("\n".join(self._lines(status)) + "\n").encode()

    def _lines(self, status: StatusAnswer) -> Iterator[str]:
        for gauge in GAUGES:
            yield from _head(gauge.name, "gauge", gauge.documentation)
            yield f"{gauge.name} {float(gauge.read(status))!r}"
        yield from _head(PEERS[0], "gauge", PEERS[1])
        for state in STATES:
            count = sum(member.state == state for member in status.members)
            yield f'{PEERS[0]}{{state="{state}"}} {count}'
        for name, count in sorted(status.counters.items()):
            yield from _head(f"chordial_{name}_total", "counter", f"{name.replace('_', ' ')}.")
            yield f"chordial_{name}_total {count}"
        yield from _head(REFUSED[0], "counter", REFUSED[1])
        for reason, count in sorted(self._refused.items()):
            yield f'{REFUSED[0]}{{error_type="{reason}"}} {count}'
        yield from _head(UNSENT[0], "counter", UNSENT[1])
        yield f"{UNSENT[0]} {self._unsent}"
        for histogram in self.histograms:
            yield from histogram.lines()

    def _on_lookup(self, notice: Notice) -> None:
        assert isinstance(notice, LookupFinished)
        self._lookup_seconds.observe(notice.seconds)
        if notice.error is None:
            self._lookup_hops.observe(notice.hops)

    def _on_call(self, notice: Notice) -> None:
        assert isinstance(notice, CallAnswered)
        self._call_seconds.observe(notice.seconds)


def _head(name: str, kind: str, documentation: str) -> tuple[str, str]:
    return f"# HELP {name} {documentation}", f"# TYPE {name} {kind}"
