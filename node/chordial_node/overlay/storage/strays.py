"""Strays: entries held here although no owner counts on our copy of them any more.

`protocol.md` §5: nothing is dropped because a range moved; it is offered to its owner first, and
dropped only bucket by bucket, where the owner, in step, holds exactly the same without us. So a
peer that comes back with an old disk brings what nobody else has, and what is garbage goes.
"""

from chordial_node.ids import NodeId, ResourceId, between, offset, within
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.messages import RangeDigestAnswer, RangeDigestRequest
from chordial_node.overlay.storage.exchange import EXCHANGE_SECONDS, FEWEST_BUCKETS, Exchange
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.ranges import Ranges
from chordial_node.overlay.storage.spreading import Asker
from chordial_node.overlay.storage.values import Values

RANGES_PER_ROUND = 8
DROPPED_PER_ROUND = 2_000


class Strays:
    """Offers what is held outside of any role to its owner."""

    def __init__(
        self,
        own: NodeId,
        requests: Asker,
        ranges: Ranges,
        values: Values,
        journal: Journal,
        exchange: Exchange,
    ) -> None:
        self._own = own
        self._requests = requests
        self._ranges = ranges
        self._values = values
        self._journal = journal
        self._exchange = exchange

    async def offer(self) -> None:
        """Go once round the ring through what is held, range by range."""
        cursor: bytes = self._own
        left = RANGES_PER_ROUND
        while left:
            resource = self._values.next_resource(cursor)
            own_range = self._ranges.own_range()
            if resource is None or own_range is None or within(own_range[0], resource, self._own):
                return
            if cursor != self._own and not between(cursor, resource, self._own):
                return  # once round
            owner = self._ranges.role(resource)
            if owner is None:
                left -= 1
                try:
                    owner = await self._offer_range_of(resource)
                except OverlayError:
                    return  # the way to the owner is not clear: another time
            if owner is None or not between(cursor, owner, self._own):
                return
            cursor = owner

    async def _offer_range_of(self, resource: ResourceId) -> NodeId | None:
        """Offer the range in which a resource lies to its owner; return who that is."""
        before = ResourceId(offset(resource, -1))
        digests = self._values.digests(before, resource, FEWEST_BUCKETS)
        request = RangeDigestRequest(before, resource, digests)
        answered = await self._requests.ask(
            resource, request, to_resource=True, timeout=EXCHANGE_SECONDS
        )
        owner, answer = answered.source, answered.answer
        if owner == self._own or not isinstance(answer, RangeDigestAnswer):
            return None
        if len(answer.after) != len(owner) or not within(answer.after, resource, owner):
            return None  # it stands in for another, or its view of the ring is not ours
        if self._own in answer.members:
            return owner  # it counts on us, and will compare with us
        await self._hand_back(owner, answer.after)
        return owner

    async def _hand_back(self, owner: NodeId, after: bytes) -> None:
        outcome = await self._exchange.sync(owner, after, owner, as_owner=False)
        if not outcome.is_held:
            return
        epoch = self._ranges.epoch
        digests = self._values.digests(after, owner, FEWEST_BUCKETS)
        answer = await self._exchange.compare(owner, after, owner, digests)
        own_range = self._ranges.own_range()
        is_unwanted = answer.in_step and answer.is_durable and self._own not in answer.members
        if own_range is None or self._ranges.epoch != epoch or not is_unwanted:
            return
        if within(own_range[0], owner, self._own) or within(after, self._own, owner):
            return  # two peers hold themselves for the owner: the ring settles that first
        same = self._values.digests(after, owner, FEWEST_BUCKETS)
        equal = tuple(
            bucket
            for bucket in range(FEWEST_BUCKETS)
            if bucket not in answer.buckets and same[bucket] == digests[bucket]
        )
        self._drop(after, owner, equal)

    def _drop(self, after: bytes, last: bytes, buckets: tuple[int, ...]) -> None:
        page = self._values.page(after, last, buckets, FEWEST_BUCKETS, DROPPED_PER_ROUND * 100)
        records = [
            self._values.drop(item.resource, item.kind, item.entry.key)
            for item in page.items[:DROPPED_PER_ROUND]
        ]
        self._journal.remember_all(records)
