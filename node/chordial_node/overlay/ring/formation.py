"""Formation: a strict majority of the founders makes a ring where none is (protocol.md §7).

The lowest founder proposes, gathers everybody who comes back, and the ring is the sorted list of
them: ranges stay where the data is. Others never form.

Why two formations never both complete. A formation is complete when a strict majority of the
founders has taken its place by FormRequest. A founder in a ring agrees to nothing, and takes its
place only for the very proposal (proposer, number) that stands last on its disk. Let F be a founder
in the majorities of two formations. It agreed to both, one after the other, say to P and then to Q.
It took its place for P before it agreed to Q: then its answer to Q said that it is in a ring, and
was no agreement. Or after: then Q stood on its disk, and it refused. So the time after which a
founder may agree to another proposal is about progress only: a proposer that died blocks nobody
for longer, and one that wakes up later finds its proposal refused. A founder that took its place
for a proposal without a majority is in a ring to whoever asks: the others join it there.
"""

from typing import Protocol

from msgspec.structs import replace

from chordial_node.boundary.notices import RingFormed
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    FormAnswer,
    FormRequest,
    MemberRecord,
    ProposeAnswer,
    ProposeRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.ring.contacts import Contacts
from chordial_node.overlay.ring.snapshot import Agreement, Snapshot

GATHER_SECONDS = 3.0
ASK_SECONDS = 1.0
FORM_SECONDS = 2.0
HOLD_SECONDS = 8.0
"""So long an agreement binds; longer than a proposer needs."""
PAUSE_SECONDS = 0.1


class Place(Protocol):
    """The ring, as formation sees it."""

    @property
    def is_in_ring(self) -> bool:
        """This peer has a place."""
        ...

    @property
    def record(self) -> MemberRecord:
        """What this peer says of itself."""
        ...

    def take_place(self, members: tuple[MemberRecord, ...]) -> None:
        """Enter the ring that these members form."""
        ...


class Formation:
    """A founder's agreement, and its own proposal."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        contacts: Contacts,
        snapshot: Snapshot,
        place: Place,
    ) -> None:
        self._kernel = kernel
        self._founders = list(config.founder_ids)
        self._contacts = contacts
        self._snapshot = snapshot
        self._place = place
        self._agreement: Agreement | None = None
        self._held_until = float("-inf")

    @property
    def majority(self) -> int:
        """How many founders a formation takes."""
        return len(self._founders) // 2 + 1

    def recall(self, agreement: Agreement | None) -> None:
        """Take up what was agreed to in the last life: it is honored, and blocks nothing."""
        self._agreement = agreement

    # answers

    async def on_propose(self, request: ProposeRequest, context: RequestContext) -> ProposeAnswer:
        """Agree to one proposal at a time, on disk; who is no founder only says that it is here."""
        self._check_proposer(request.proposer, context)
        own = self._place.record
        if self._place.is_in_ring:
            return ProposeAnswer(agreed=False, in_ring=True, member=own)
        if own.node_id not in self._founders:
            return ProposeAnswer(agreed=True, in_ring=False, member=own)
        agreed = await self._agree(Agreement(request.proposer, request.number))
        in_ring = self._place.is_in_ring
        return ProposeAnswer(agreed=agreed and not in_ring, in_ring=in_ring, member=own)

    async def on_form(self, request: FormRequest, context: RequestContext) -> FormAnswer:
        """Take the place that a formation gives; a founder only for what it has agreed to."""
        self._check_proposer(request.proposer, context)
        own = self._place.record.node_id
        if self._place.is_in_ring:
            raise OverlayError(ErrorCode.FORBIDDEN, "this peer is in a ring already")
        if own in self._founders and self._agreement != Agreement(request.proposer, request.number):
            raise OverlayError(ErrorCode.FORBIDDEN, "this founder has agreed to another proposal")
        if all(member.node_id != own for member in request.members):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, "this peer is not among the members")
        self._place.take_place(request.members)
        return FormAnswer()

    # the own proposal

    async def propose(self) -> tuple[MemberRecord, ...]:
        """Form the ring; return its members when a majority of founders has taken its place."""
        own = self._place.record
        assert own.node_id in self._founders
        proposal = Agreement(own.node_id, self._kernel.random.getrandbits(48))
        if not await self._agree(proposal):
            return ()
        answers = await self._gather(proposal)
        agreed = [node for node in self._founders if node in answers and answers[node].agreed]
        is_ours = self._agreement == proposal and not self._place.is_in_ring
        if not is_ours or len(agreed) + 1 < self.majority:
            self._held_until = float("-inf")
            return ()
        members = self._members(list(answers.values()))
        request = FormRequest(own.node_id, members, proposal.number)
        placed = await self._contacts.ask_each(agreed, request, FORM_SECONDS)
        is_ours = self._agreement == proposal and not self._place.is_in_ring
        taken = [node for node, answer in placed.items() if isinstance(answer, FormAnswer)]
        if not is_ours or len(taken) + 1 < self.majority:
            return ()
        self._place.take_place(members)
        others = [each.node_id for each in members]
        self._kernel.emit(RingFormed(members=tuple(others)))
        others = [node for node in others if node != own.node_id and node not in placed]
        await self._contacts.ask_each(others, request, FORM_SECONDS)
        return members

    async def _gather(self, proposal: Agreement) -> dict[NodeId, ProposeAnswer]:
        """Ask everybody for up to three seconds, or until all who are known have answered."""
        until = self._kernel.now + GATHER_SECONDS
        answers: dict[NodeId, ProposeAnswer] = {}
        request = ProposeRequest(proposer=proposal.proposer, number=proposal.number)
        while True:
            self._contacts.dial()
            asked = [
                node
                for node in self._contacts.linked()
                if node not in answers or not answers[node].agreed
            ]
            found = await self._contacts.ask_each(asked, request, ASK_SECONDS)
            for node, answer in found.items():
                if isinstance(answer, ProposeAnswer):
                    answers[node] = answer
            if any(answer.in_ring for answer in answers.values()):
                return {}
            wanted = self._contacts.expected(self._founders)
            if self._kernel.now >= until or all(node in answers for node in wanted):
                return answers
            await self._kernel.sleep(PAUSE_SECONDS)

    def _members(self, answers: list[ProposeAnswer]) -> tuple[MemberRecord, ...]:
        """Return all who came back, in ring order, each in a life later than any remembered."""
        members = []
        for record in [self._place.record, *(answer.member for answer in answers)]:
            known = self._contacts.remembered.get(record.node_id)
            life = max(record.incarnation, known.incarnation + 1 if known else 0)
            members.append(replace(record, incarnation=life, rank=0, accuser=None))
        return tuple(sorted(members, key=lambda member: member.node_id))

    async def _agree(self, proposal: Agreement) -> bool:
        """Agree to a proposal, on disk, unless another one holds."""
        held = self._agreement
        is_other = held is not None and held.proposer != proposal.proposer
        if is_other and self._kernel.now < self._held_until:
            return False
        self._agreement = proposal
        self._held_until = self._kernel.now + HOLD_SECONDS
        await self._snapshot.keep_agreement(proposal)
        return self._agreement == proposal

    def _check_proposer(self, proposer: NodeId, context: RequestContext) -> None:
        if proposer != context.source or proposer not in self._founders:
            raise OverlayError(ErrorCode.FORBIDDEN, "only a founder may propose, for itself")
