"""One query of one peer: Zave's question, and what the lack of an answer proves.

A peer is gone only by own evidence: its link is down, or nothing at all was read from it since it
was asked, and our own loop was not late. Nothing is adopted or dropped here.
"""

from collections.abc import Callable

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import MemberRecord, UpdateAnswer, UpdateRequest
from chordial_node.overlay.requests import Requests
from chordial_node.overlay.ring.stabilize import Unanswered
from chordial_node.overlay.table import Table

ANSWER_SECONDS = 1.0
ANSWER_ROUND_TRIPS = 6.0
DIAL_SECONDS = 2.0
DEAD_DIAL_SECONDS = 1.0
"""Of a peer that others hold dead."""
LATE_SECONDS = 0.02


class Queries:
    """Asks peers for their neighbors."""

    def __init__(
        self,
        kernel: Kernel,
        links: Links,
        requests: Requests,
        table: Table,
        own_record: Callable[[], MemberRecord],
    ) -> None:
        self._kernel = kernel
        self._links = links
        self._requests = requests
        self._table = table
        self._own_record = own_record
        self._dialing: dict[NodeId, list[Reply[bool]]] = {}

    async def query(
        self, node: NodeId, *, notify: bool, introduce: bool = False
    ) -> UpdateAnswer | Unanswered:
        """Ask a peer for its predecessor and successor list; one that is in no ring is gone."""
        answer = await self.ask(node, notify=notify, introduce=introduce)
        if isinstance(answer, UpdateAnswer) and not answer.in_ring:
            return Unanswered.GONE
        return answer

    async def ask(
        self, node: NodeId, *, notify: bool = False, introduce: bool = False
    ) -> UpdateAnswer | Unanswered:
        """Ask a peer for its neighbors, whether it is in a ring or not."""
        if not await self._link(node):
            return Unanswered.GONE
        since = self._kernel.now
        limit = self._limit(node)
        request = UpdateRequest(notify=notify, member=self._own_record() if introduce else None)
        try:
            answered = await self._requests.ask(node, request, to_resource=False, timeout=limit)
        except OverlayError as error:
            return self._evidence(node, since, limit, error)
        if answered.source != node or not isinstance(answered.answer, UpdateAnswer):
            return Unanswered.UNCLEAR
        return answered.answer

    def _evidence(
        self, node: NodeId, since: float, limit: float, error: OverlayError
    ) -> Unanswered:
        heard = self._links.last_heard(node)
        is_late = self._kernel.now - since > limit + LATE_SECONDS
        if is_late or (error.code == ErrorCode.BUSY and heard is not None):
            return Unanswered.UNCLEAR
        if heard is None or (error.code == ErrorCode.REQUEST_TIMEOUT and heard < since):
            return Unanswered.GONE
        return Unanswered.UNCLEAR

    def on_link_up(self, node: NodeId) -> None:
        """Ask who waited for this link."""
        for reply in self._dialing.pop(node, []):
            reply.resolve(True)

    def on_link_lost(self, node: NodeId) -> None:
        """Tell those who waited for this link that there is none."""
        for reply in self._dialing.pop(node, []):
            reply.resolve(False)

    async def _link(self, node: NodeId) -> bool:
        """See that a peer is linked: whatever the table says of it, it is dialed."""
        if self._links.is_up(node):
            return True
        is_dead = self._table.is_dead(node)
        seconds = DEAD_DIAL_SECONDS if is_dead else DIAL_SECONDS
        reply: Reply[bool] = self._kernel.reply(seconds + self._kernel.lag)
        self._dialing.setdefault(node, []).append(reply)
        self._links.ensure(node)
        try:
            return await reply
        except TimedOutError:
            return False

    def _limit(self, node: NodeId) -> float:
        round_trip = self._links.round_trip(node)
        return ANSWER_SECONDS + ANSWER_ROUND_TRIPS * round_trip.srtt + self._kernel.lag
