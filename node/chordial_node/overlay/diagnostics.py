"""Where would this go, and how are you: the way of a lookup, told by the peers on it.

RouteQuery (RFC 6940 §6.4.2.4) and PathTrack (RFC 7851 §4.3), walked from here: each peer on the
way is asked for the next. Nothing is stored and nothing changes. How the way is shown does not
belong here.
"""

from chordial_node.boundary.control import Hop
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    PathTrackAnswer,
    PathTrackRequest,
    RouteQueryAnswer,
    RouteQueryRequest,
)
from chordial_node.overlay.requests import RequestContext, Requests
from chordial_node.overlay.routing import Routing
from chordial_node.overlay.table import Table

MOST_HOPS = 32
"""A longer way is a fault of the ring: it is shown as far as it was walked."""
HOP_SECONDS = 3.0


class Diagnostics:
    """Answers where this peer would send something, and walks such answers."""

    def __init__(
        self,
        kernel: Kernel,
        own: NodeId,
        table: Table,
        links: Links,
        requests: Requests,
        routing: Routing,
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._table = table
        self._links = links
        self._requests = requests
        self._routing = routing
        self._started = kernel.now

    def start(self) -> None:
        """Note when this peer started, for the uptime that it tells."""
        self._started = self._kernel.now

    async def on_route_query(
        self, request: RouteQueryRequest, context: RequestContext
    ) -> RouteQueryAnswer:
        """Answer with the next hop, or with ourselves (RFC 6940 §6.4.2.4)."""
        next_hop, rule = self._next_hop(request.destination, request.to_resource)
        return RouteQueryAnswer(next_hop, rule)

    async def on_path_track(
        self, request: PathTrackRequest, context: RequestContext
    ) -> PathTrackAnswer:
        """Answer with the next hop and how this peer is (RFC 7851 §4.3)."""
        next_hop, rule = self._next_hop(request.destination, request.to_resource)
        record = self._table.get(next_hop)
        return PathTrackAnswer(
            next_hop=next_hop,
            rule=rule,
            queued_ms=self._links.queued_seconds(next_hop) * 1000,
            uptime_seconds=self._kernel.now - self._started,
            members=(record,) if record else (),
        )

    async def track(
        self, destination: bytes, to_resource: bool, trace: Trace | None = None
    ) -> list[Hop]:
        """Return the peers on the way to a destination, ourselves first, the last one its end."""
        own = PathTrackRequest(destination, to_resource)
        here = await self.on_path_track(own, RequestContext(self._own, trace, 0, False))
        hops = [self._hop(self._own, "self", here.queued_ms, 0.0)]
        names = {each.node_id: each.name for each in here.members}
        at, after, rule = self._own, here.next_hop, here.rule
        while after != at and len(hops) < MOST_HOPS:
            asked = self._kernel.now
            answered = await self._requests.ask(
                after, own, to_resource=False, trace=trace, timeout=HOP_SECONDS
            )
            answer = answered.answer
            if not isinstance(answer, PathTrackAnswer):
                raise OverlayError(ErrorCode.INVALID_MESSAGE, "not an answer to PathTrack")
            seconds = self._kernel.now - asked
            hops.append(self._hop(after, rule, answer.queued_ms, seconds, names.get(after, "")))
            names.update((each.node_id, each.name) for each in answer.members)
            at, after, rule = after, answer.next_hop, answer.rule
            if after != at and any(hop.node_id == after for hop in hops):
                raise OverlayError(ErrorCode.LOOP_DETECTED, f"{after.hex()} was passed before")
        return hops

    def _next_hop(self, destination: bytes, to_resource: bool) -> tuple[NodeId, str]:
        choice = self._routing.choose(destination, to_resource)
        if choice is None:
            raise OverlayError(ErrorCode.NOT_FOUND, f"no way to {destination.hex()} is known")
        return choice[0], choice[1]

    def _hop(
        self, node: NodeId, rule: str, queued_ms: float, seconds: float, name: str = ""
    ) -> Hop:
        record = self._table.get(node)
        return Hop(node, record.name if record else name, rule, queued_ms, seconds * 1000)
