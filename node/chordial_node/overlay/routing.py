"""Routing: what becomes of an envelope that arrived, and where one of our own goes.

RFC 6940 §6.1 and §10.3, with the full table of protocol.md §2: ours, onwards, or refused. The
body is never decoded here; a forward makes no object but its decoded header. What a request means
does not belong here.

A request carries the peers it came through, each appended by the peer after it, which has proven
it by mutual TLS. So a request with an empty via was made by the neighbor that sent it, the first
of a longer via is its source, and no sender appears in a via that it sends. Whoever breaks that is
answered UPSTREAM_MISROUTING with its name (RFC 7851 §5.2).
"""

from collections.abc import Container
from typing import Protocol

from chordial_node.ids import NodeId, ResourceId, between, distance
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Attribute
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    ERROR,
    INITIAL_TTL,
    Envelope,
    ErrorAnswer,
    Message,
    encode_body,
)
from chordial_node.overlay.table import Table

MOST_AVOID = 3
"""Peers that one request names to be avoided."""
BUSY_RETRY_SECONDS = 0.5
"""When a link has no room, and when no ring is known yet."""
_FULL_CIRCLE = float(1 << 128)


class Responsibility(Protocol):
    """What routing asks the ring."""

    @property
    def state(self) -> str:
        """`joined`: this peer answers for a range."""
        ...

    @property
    def predecessor(self) -> NodeId | None:
        """The predecessor by Zave's steps."""
        ...

    def is_responsible_for(self, resource: ResourceId) -> bool:
        """Tell whether this peer answers for a Resource-ID."""
        ...


class RoutingUser(Protocol):
    """Who takes what is for this peer."""

    def on_request(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        """Take a request; its answer goes back to the previous hop."""
        ...

    def on_answer(self, envelope: Envelope) -> None:
        """Take an answer to a request of our own."""
        ...


class Routing:
    """Delivers, forwards and refuses."""

    user: RoutingUser
    ring: Responsibility

    def __init__(self, kernel: Kernel, own: NodeId, table: Table, links: Links) -> None:
        self._kernel = kernel
        self._own = own
        self._table = table
        self._links = links

    def choose(
        self, destination: bytes, to_resource: bool, avoid: Container[NodeId] = ()
    ) -> tuple[NodeId, str, bool] | None:
        """Return the next hop, the rule that chose it, and whether we only stand in.

        The next hop is this peer itself when the destination is its Node-ID, or a resource that
        it is responsible for, or one whose owner and everybody before us are to be avoided.
        """
        if not to_resource:
            if destination == self._own:
                return self._own, "self", False
            node = NodeId(destination)
            if self._links.is_up(node):
                return node, "connection", False
        elif self.ring.is_responsible_for(ResourceId(destination)):
            return self._own, "self", False
        if self._table.avoid:
            self._table.expire_avoid(self._kernel.now)
        hop = self._table.next_hop(destination, to_resource, avoid)
        if hop is None:
            return None
        candidate, rule = hop
        if candidate == self._own:
            return self._past_ourselves(destination, to_resource, avoid)
        if self._links.may_link(candidate):
            return candidate, rule, False
        return self._nearest_linked(destination, avoid) or (candidate, rule, False)

    def send(self, envelope: Envelope, hop: NodeId, rule: str) -> bool:
        """Send a request to its next hop, this peer itself included; False: no room.

        Of a sampled trace each link that is crossed is a span, the parent of what follows.
        """
        if hop == self._own:
            choice = self.choose(envelope.destination, envelope.to_resource, envelope.avoid)
            self.user.on_request(self._own, envelope, choice is not None and choice[2])
            return True
        if envelope.trace is None:
            return self._links.send(hop, envelope)
        span = self._kernel.span("overlay.hop", envelope.trace, "producer")
        envelope.trace = span.trace
        attributes: dict[str, Attribute] = {
            "chordial_overlay_peer": hop.hex(),
            "chordial_overlay_hop": len(envelope.via) + 1,
            "chordial_overlay_rule": rule,
            "chordial_overlay_distance": distance(hop, envelope.destination) / _FULL_CIRCLE,
        }
        if self._links.send(hop, envelope):
            self._links.watch(hop, span, attributes)
            return True
        span.end(self._kernel.now, "no room on the link", **attributes)
        return False

    def answer(self, request: Envelope, previous: NodeId, answer: Message) -> None:
        """Send the answer to a request back on the way that it came."""
        code = answer.CODE
        envelope = Envelope(
            method=code,
            transaction=request.transaction,
            source=self._own,
            destination=request.source,
            to_resource=False,
            ttl=INITIAL_TTL,
            via=request.via,
            avoid=[],
            trace=None,
            hops=len(request.via) + (previous != self._own),
            body=encode_body(answer),
        )
        if previous == self._own:
            self.user.on_answer(envelope)
        elif not self._links.send(previous, envelope):
            self._kernel.counters.envelopes_dropped += 1

    # receipt

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        """Deliver, forward or refuse what a neighbor sent (RFC 6940 §6.1)."""
        method = envelope.method
        if method % 2 == 0 or method == ERROR:
            self._on_answer(envelope)
            return
        objection = self._objection(node, envelope)
        if objection is not None:
            self._refuse(node, envelope, objection)
            return
        if not self._links.reserve(node):
            self._refuse(node, envelope, self._busy("too many answers are owed on this link"))
            return
        choice = self.choose(envelope.destination, envelope.to_resource, envelope.avoid)
        if choice is None:
            self._refuse(node, envelope, self._no_way(envelope.to_resource))
        elif choice[0] == self._own:
            self._kernel.counters.envelopes_delivered += 1
            self.user.on_request(node, envelope, choice[2])
        elif choice[0] == node or choice[0] in envelope.via:
            self._refuse(node, envelope, self._no_way_but_back(envelope.to_resource, choice[0]))
        else:
            self._forward(node, envelope, choice[0], choice[1])

    def on_unsent(self, node: NodeId, unsent: list[Envelope]) -> None:
        """Route the requests of others again that waited for a link which ended."""
        for envelope in unsent:
            is_answer = envelope.method % 2 == 0 or envelope.method == ERROR
            if is_answer or not envelope.via:
                # an answer has one way; our own requests are sent again by `requests`
                self._kernel.counters.envelopes_dropped += is_answer
                continue
            if node in self._table.avoid and len(envelope.avoid) < MOST_AVOID:
                envelope.avoid.append(node)
            previous = envelope.via.pop()
            envelope.ttl += 1
            choice = self.choose(envelope.destination, envelope.to_resource, envelope.avoid)
            if choice is None or (choice[0] == node and node in self._table.avoid):
                self._refuse(previous, envelope, self._no_way(envelope.to_resource))
            elif choice[0] == self._own:
                self.user.on_request(previous, envelope, choice[2])
            else:
                self._forward(previous, envelope, choice[0], choice[1])

    def _on_answer(self, envelope: Envelope) -> None:
        if not envelope.via:
            if envelope.destination == self._own:
                self.user.on_answer(envelope)
            else:
                self._kernel.counters.envelopes_dropped += 1
            return
        if len(envelope.via) < INITIAL_TTL and self._links.send(envelope.via.pop(), envelope):
            self._kernel.counters.envelopes_forwarded += 1
        else:
            self._kernel.counters.envelopes_dropped += 1

    def _objection(self, node: NodeId, envelope: Envelope) -> OverlayError | None:
        via = envelope.via
        if (via[0] != envelope.source or node in via) if via else node != envelope.source:
            reason = f"{node.hex()} sent what it may not: its via does not lead to its source"
            return OverlayError(ErrorCode.UPSTREAM_MISROUTING, reason)
        if not 0 < envelope.ttl <= INITIAL_TTL or len(via) >= INITIAL_TTL:
            return OverlayError(ErrorCode.TTL_EXCEEDED, f"the TTL is {envelope.ttl}")
        if self._own in via:
            return OverlayError(ErrorCode.LOOP_DETECTED, f"{self._own.hex()} was passed before")
        if len(envelope.avoid) > MOST_AVOID:
            return OverlayError(ErrorCode.INVALID_MESSAGE, "more than three peers to avoid")
        return None

    def _forward(self, previous: NodeId, envelope: Envelope, hop: NodeId, rule: str) -> None:
        if envelope.ttl <= 1:
            error = OverlayError(ErrorCode.TTL_EXCEEDED, "the TTL ended before the destination")
            self._refuse(previous, envelope, error)
            return
        envelope.via.append(previous)
        envelope.ttl -= 1
        if self.send(envelope, hop, rule):
            self._kernel.counters.envelopes_forwarded += 1
        else:
            previous = envelope.via.pop()
            self._refuse(previous, envelope, self._busy("no room on the link to the next hop"))

    def _refuse(self, previous: NodeId, envelope: Envelope, error: OverlayError) -> None:
        self.answer(envelope, previous, error_answer(error))

    def _busy(self, reason: str) -> OverlayError:
        self._kernel.counters.requests_busy += 1
        return OverlayError(ErrorCode.BUSY, reason, BUSY_RETRY_SECONDS)

    def _no_way(self, to_resource: bool) -> OverlayError:
        if to_resource:
            return self._busy("this peer knows of no peer that would answer for the resource")
        return OverlayError(ErrorCode.NOT_FOUND, "no peer of this Node-ID is known")

    def _no_way_but_back(self, to_resource: bool, hop: NodeId) -> OverlayError:
        if to_resource:
            return OverlayError(ErrorCode.LOOP_DETECTED, f"{hop.hex()} would be next again")
        return self._no_way(to_resource)

    # ways beside the table

    def _past_ourselves(
        self, destination: bytes, to_resource: bool, avoid: Container[NodeId]
    ) -> tuple[NodeId, str, bool] | None:
        """Decide when the table says that this peer is the first that could answer.

        The ring decides ranges, the table is hearsay: a live predecessor between the resource
        and us is nearer to the owner than we are. Before it joined, this peer answers nothing.
        """
        own = self._own
        if self.ring.state != "joined":
            others = self._table.next_live(own, len(self._table))
            others = [each for each in others if each not in avoid and self._table.is_alive(each)]
            return (others[0], "successor", False) if others else None
        if not to_resource:
            return None
        nearer = self.ring.predecessor
        if (
            nearer is not None
            and nearer != own
            and nearer not in avoid
            and nearer not in self._table.avoid
            and not self._table.is_dead(nearer)
            and (nearer == destination or between(destination, nearer, own))
        ):
            return nearer, "table", False
        return own, "self", True

    def _nearest_linked(
        self, destination: bytes, avoid: Container[NodeId]
    ) -> tuple[NodeId, str, bool] | None:
        """Return the linked peer nearest before the destination, and nearer than this one."""
        own = self._own
        nearest = min(
            (
                node
                for node in self._links.up()
                if between(own, node, destination) and node not in avoid
            ),
            key=lambda node: distance(node, destination),
            default=None,
        )
        return None if nearest is None else (nearest, "fallback", False)


def error_answer(error: OverlayError) -> ErrorAnswer:
    """Return the answer that carries an error to the asker (RFC 6940 §6.3.3.1)."""
    return ErrorAnswer(error.code, error.info, error.retry_after, error.data)
