"""Everything that is only counted: plain integers, raised on the hot path and read at scrape.

One slotted object for the whole core. Names follow `docs/reference/metrics.md`. A histogram or a
label does not belong here.
"""


class Counters:
    """Counts since the process started."""

    __slots__ = (
        "answers_degraded",
        "datagrams_dropped",
        "datagrams_received",
        "envelopes_delivered",
        "envelopes_dropped",
        "envelopes_forwarded",
        "events_duplicate",
        "events_forwarded",
        "frames_received",
        "frames_written",
        "links_refused",
        "lookups",
        "lookups_failed",
        "procedure_faults",
        "registrations_refused",
        "requests_busy",
        "requests_resent",
        "requests_sent",
        "requests_timed_out",
        "seals_unreadable",
        "sip_bad_messages",
        "sip_challenges",
        "sip_refused",
        "sip_requests",
        "sip_responses",
        "sip_retransmissions_received",
        "sip_retransmissions_sent",
        "sip_scanners_dropped",
        "stores_acknowledged",
        "stores_refused",
        "values_damaged",
        "values_expired",
        "values_repaired",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    answers_degraded: int
    datagrams_dropped: int
    datagrams_received: int
    envelopes_delivered: int
    envelopes_dropped: int
    envelopes_forwarded: int
    events_duplicate: int
    events_forwarded: int
    frames_received: int
    frames_written: int
    links_refused: int
    lookups: int
    lookups_failed: int
    procedure_faults: int
    registrations_refused: int
    requests_busy: int
    requests_resent: int
    requests_sent: int
    requests_timed_out: int
    seals_unreadable: int
    sip_bad_messages: int
    sip_challenges: int
    sip_refused: int
    sip_requests: int
    sip_responses: int
    sip_retransmissions_received: int
    sip_retransmissions_sent: int
    sip_scanners_dropped: int
    stores_acknowledged: int
    stores_refused: int
    values_damaged: int
    values_expired: int
    values_repaired: int

    def snapshot(self) -> dict[str, int]:
        """Return all counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}
