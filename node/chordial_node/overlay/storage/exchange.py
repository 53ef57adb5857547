"""Two peers compare a range by digests and move what differs, in either direction.

Anti-entropy for `protocol.md` §5 and §6 (RFC 6940 §10.7.3 sends everything anew instead). Only
buckets whose digests differ move, a page at a time, and the turn is given back between pages. Why
a range is compared, and with whom, is decided in `repair.py`, `handover.py` and `strays.py`.
"""

import msgspec

from chordial_node.ids import NodeId, ResourceId, between
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    RangeDigestAnswer,
    RangeDigestRequest,
    ReplicaItem,
    ReplicateAnswer,
    ReplicateRequest,
)
from chordial_node.overlay.storage.copies import Copies
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.ranges import Ranges
from chordial_node.overlay.storage.spreading import Asker
from chordial_node.overlay.storage.values import BUCKETS, Page, Values, larger

PAGE_BYTES = 48 * 1024
EXCHANGE_SECONDS = 4.0
FEWEST_BUCKETS = 64
ENTRIES_PER_BUCKET = 16


class Outcome(msgspec.Struct):
    """How an exchange with one peer ended."""

    changed: int = 0
    """Entries of ours that were older, or lacking."""
    is_compared: bool = False
    """Everything that the peer holds of the range is here."""
    is_held: bool = False
    """Everything that is here of the range is on the peer's disk."""
    is_complete: bool = False
    """The peer says that nobody knows more of the range than it does."""


class Exchange:
    """Compares ranges with other peers, and answers those who compare theirs with us."""

    def __init__(
        self,
        kernel: Kernel,
        requests: Asker,
        ranges: Ranges,
        values: Values,
        journal: Journal,
        copies: Copies,
    ) -> None:
        self._kernel = kernel
        self._requests = requests
        self._ranges = ranges
        self._values = values
        self._journal = journal
        self._copies = copies

    async def sync(
        self,
        node: NodeId,
        after: bytes,
        last: bytes,
        *,
        as_owner: bool,
        sets: tuple[tuple[NodeId, ...], ...] = (),
        handover: bool = False,
    ) -> Outcome:
        """Make the peer and this one hold the same in a range; what was reached is returned."""
        outcome = Outcome()
        cursor = after
        is_held = True
        buckets = self._buckets()
        try:
            while True:
                digests = self._values.digests(cursor, last, buckets)
                told = sets if cursor == after else ()
                answer = await self.compare(node, cursor, last, digests, told)
                taken = self._copies.take(answer.items, as_owner=as_owner)
                outcome.changed += len(taken.changed)
                self._kernel.counters.values_repaired += len(taken.changed)
                outcome.is_complete = answer.is_complete
                is_held = is_held and answer.is_durable
                if is_held:
                    covered = answer.covered or last
                    wanted = (answer.buckets, buckets)
                    is_held = await self._push(node, cursor, covered, wanted, answer, handover)
                if not answer.covered:
                    break
                cursor = answer.covered
                await self._kernel.pause()
        except OverlayError:
            return outcome
        outcome.is_compared = True
        outcome.is_held = is_held
        return outcome

    async def compare(
        self,
        node: NodeId,
        after: bytes,
        last: bytes,
        digests: tuple[bytes, ...],
        sets: tuple[tuple[NodeId, ...], ...] = (),
    ) -> RangeDigestAnswer:
        """Ask a peer which buckets of a range differ, and what it holds in them."""
        request = RangeDigestRequest(ResourceId(after), ResourceId(last), digests, sets)
        answered = await self._requests.ask(
            node, request, to_resource=False, timeout=EXCHANGE_SECONDS
        )
        answer = answered.answer
        if not isinstance(answer, RangeDigestAnswer):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, "no answer to a range's digests")
        if not all(0 <= bucket < len(digests) for bucket in answer.buckets):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, "a bucket that was not asked for")
        if answer.covered and not between(after, answer.covered, last):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, "a part that was not asked for")
        return answer

    async def answer(self, request: RangeDigestRequest, source: NodeId) -> RangeDigestAnswer:
        """Answer a peer that compares a range with ours."""
        buckets = len(request.digests)
        if not 0 < buckets <= BUCKETS or buckets & (buckets - 1):
            reason = f"{buckets} digests: a power of two up to {BUCKETS} is wanted"
            raise OverlayError(ErrorCode.INVALID_MESSAGE, reason)
        owner: bytes = request.last
        if source == owner:
            self._ranges.note(source, request.after, request.sets)
        ours = self._values.digests(request.after, request.last, buckets)
        differing = tuple(i for i in range(buckets) if ours[i] != request.digests[i])
        page = Page((), b"")
        if differing:
            page = self._values.page(request.after, request.last, differing, buckets, PAGE_BYTES)
        own_range = self._ranges.own_range()
        is_complete = self._ranges.knows_range(request.after, request.last)
        is_durable = not self._journal.is_failing
        if is_durable:
            await self._journal.settled()
        return RangeDigestAnswer(
            buckets=differing,
            items=page.items,
            covered=page.covered,
            is_complete=is_complete,
            in_step=self._ranges.in_step,
            after=own_range[0] if own_range else b"",
            members=self._ranges.members() if own_range else (),
            is_durable=is_durable,
        )

    def _buckets(self) -> int:
        buckets = FEWEST_BUCKETS
        while buckets < BUCKETS and buckets * ENTRIES_PER_BUCKET < self._values.count:
            buckets *= 2
        return buckets

    async def _push(
        self,
        node: NodeId,
        after: bytes,
        last: bytes,
        wanted: tuple[tuple[int, ...], int],
        answer: RangeDigestAnswer,
        handover: bool,
    ) -> bool:
        """Send what the peer lacks in the differing buckets; True when it has all on disk."""
        if not answer.buckets:
            return True
        differing, buckets = wanted
        theirs = {(item.resource, item.kind, item.entry.key): item for item in answer.items}
        cursor = after
        while True:
            page = self._values.page(cursor, last, differing, buckets, PAGE_BYTES)
            lacking = tuple(
                item
                for item in page.items
                if _is_newer(item, theirs.get((item.resource, item.kind, item.entry.key)))
            )
            if lacking:
                try:
                    answered = await self._requests.ask(
                        node,
                        ReplicateRequest(lacking, handover),
                        to_resource=False,
                        timeout=EXCHANGE_SECONDS,
                    )
                except OverlayError:
                    return False
                if isinstance(answered.answer, ReplicateAnswer) and answered.answer.newer:
                    self._copies.take(answered.answer.newer, as_owner=not handover)
            if not page.covered:
                return True
            cursor = page.covered
            await self._kernel.pause()


def _is_newer(item: ReplicaItem, theirs: ReplicaItem | None) -> bool:
    if theirs is None or item.generation > theirs.generation:
        return True
    return larger(theirs.entry, item.entry) != theirs.entry
