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
        "sip_requests_held",
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
    """Fetches answered while fewer copies could be asked than the replica set has."""
    datagrams_dropped: int
    """SIP messages for a flow that is dead, and those that found no room."""
    datagrams_received: int
    """Datagrams on all SIP listeners, keepalives included."""
    envelopes_delivered: int
    """Envelopes of the overlay that were for this peer."""
    envelopes_dropped: int
    """Envelopes that could neither be delivered, sent on nor answered."""
    envelopes_forwarded: int
    """Envelopes sent on for others."""
    events_duplicate: int
    """Membership events that had been known already."""
    events_forwarded: int
    """Membership events sent on down the finger tree."""
    frames_received: int
    """Frames read from links."""
    frames_written: int
    """Frames written to links."""
    links_refused: int
    """Links refused after the handshake: another overlay, an older life."""
    lookups: int
    """Own requests to a Resource-ID."""
    lookups_failed: int
    """Those of them that were answered with an error, or given up."""
    procedure_faults: int
    """Procedures ended by a fault of our own: always a bug."""
    registrations_refused: int
    """REGISTERs refused with 4xx or 5xx."""
    requests_busy: int
    """Requests answered Busy, or not sent, because there was no room."""
    requests_resent: int
    """Requests sent again, past the dead or the silent."""
    requests_sent: int
    """Own requests, each once."""
    requests_timed_out: int
    """Own requests that nobody answered in time."""
    seals_unreadable: int
    """Credentials that none of the overlay keys opens."""
    sip_bad_messages: int
    """SIP messages that cannot be parsed, or break a rule."""
    sip_challenges: int
    """401 and 407 sent."""
    sip_refused: int
    """SIP requests refused with a status of 400 or more."""
    sip_requests: int
    """SIP requests received."""
    sip_requests_held: int
    """SIP requests that waited for a phone whose edge ends to register elsewhere."""
    sip_responses: int
    """SIP responses received."""
    sip_retransmissions_received: int
    """SIP messages received again, and recognized."""
    sip_retransmissions_sent: int
    """SIP messages sent again because no answer came."""
    sip_scanners_dropped: int
    """SIP messages of scanners, dropped before they are parsed."""
    stores_acknowledged: int
    """Stores acknowledged by as many copies as `overlay.acknowledge` asks for."""
    stores_refused: int
    """Stores refused, or not acknowledged in time."""
    values_damaged: int
    """Records of the disk that could not be read at start."""
    values_expired: int
    """Entries whose time was over."""
    values_repaired: int
    """Entries that another copy had and this peer had not."""

    def snapshot(self) -> dict[str, int]:
        """Return all counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}
