"""The start of a peer: join a ring if there is one, form one if that is ours to do, else wait.

protocol.md §7; RFC 6940 §10.5 with Zave's join: ask whoever is responsible for the own Node-ID,
take its list. Tried again with back-off and jitter for ever, each try bounded. Who is admitted is
decided here too; what a peer does once it is in the ring is not.
"""

from typing import Protocol

from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import JoinAnswer, JoinRequest, MemberRecord, UpdateAnswer
from chordial_node.overlay.requests import Requests
from chordial_node.overlay.ring.contacts import Contacts
from chordial_node.overlay.ring.formation import Formation
from chordial_node.overlay.ring.membership import Membership

FIRST_LOOK_SECONDS = 0.1
LEAST_PAUSE_SECONDS = 0.25
MOST_PAUSE_SECONDS = 4.0
JOIN_SECONDS = 5.0
RANK_SECONDS = 6.0
"""A founder waits for so long, for each lower one it can reach, before it proposes itself."""
ADMISSION_SECONDS = 3.0
"""An admitted peer that has not taken its place by then lets the next one in."""
ADMIT_RETRY_SECONDS = 0.25


class Newcomer(Protocol):
    """The ring, as a peer's start sees it."""

    @property
    def is_starting(self) -> bool:
        """There is no place yet, and one is wanted."""
        ...

    def set_state(self, state: str) -> None:
        """Tell how far we are."""
        ...

    def join_after(self, admitting: NodeId, answer: JoinAnswer) -> None:
        """Take the place that the admitting peer gives."""
        ...


class Joining:
    """From nothing to a place in a ring."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        contacts: Contacts,
        formation: Formation,
        requests: Requests,
        membership: Membership,
        place: Newcomer,
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._founders = config.founder_ids
        self._contacts = contacts
        self._formation = formation
        self._requests = requests
        self._membership = membership
        self._place = place
        self._waits_since = 0.0

    async def run(self) -> None:
        """Try until there is a place."""
        kernel = self._kernel
        self._waits_since = kernel.now
        pause = LEAST_PAUSE_SECONDS
        self._contacts.dial()
        await kernel.sleep(kernel.jittered(FIRST_LOOK_SECONDS))
        while self._place.is_starting:
            retry_after = 0.0
            try:
                retry_after = await self._try()
            except OverlayError as error:
                retry_after = error.retry_after
            if not self._place.is_starting:
                return
            self._contacts.dial()
            await kernel.sleep(kernel.jittered(max(retry_after, pause)))
            pause = min(pause * 1.5, MOST_PAUSE_SECONDS)

    async def _try(self) -> float:
        """Make one try; return after how many seconds the next makes sense, 0: the usual."""
        answers = await self._contacts.ask_all()
        if not self._place.is_starting:
            return 0.0
        if any(answer.in_ring for answer in answers.values()):
            self._place.set_state("joining")
            return await self._join(answers)
        if self._may_propose(answers):
            self._place.set_state("forming")
            await self._formation.propose()
        return 0.0

    async def _join(self, answers: dict[NodeId, UpdateAnswer]) -> float:
        for answer in answers.values():
            if answer.in_ring:
                self._membership.learn(answer.members)
        request = JoinRequest(member=self._membership.record)
        answered = await self._requests.ask(
            self._own, request, to_resource=True, timeout=JOIN_SECONDS, avoid=(self._own,)
        )
        if self._place.is_starting and isinstance(answered.answer, JoinAnswer):
            self._place.join_after(answered.source, answered.answer)
        return 0.0

    def _may_propose(self, answers: dict[NodeId, UpdateAnswer]) -> bool:
        """Tell whether a majority of founders is here, and proposing is ours."""
        if self._own not in self._founders:
            return False
        here = [node for node in self._founders if node == self._own or node in answers]
        if len(here) < self._formation.majority:
            return False
        waited = self._kernel.now - self._waits_since
        return waited >= RANK_SECONDS * here.index(self._own)


class Admission:
    """Lets joiners in, one at a time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._joiner: NodeId | None = None
        self._until = 0.0

    def admit(self, member: MemberRecord) -> None:
        """Let a peer in; OverlayError(BUSY) while another one takes its place."""
        is_other = self._joiner is not None and self._joiner != member.node_id
        if is_other and self._kernel.now < self._until:
            reason = "another peer is joining here"
            raise OverlayError(ErrorCode.BUSY, reason, ADMIT_RETRY_SECONDS)
        self._joiner = member.node_id
        self._until = self._kernel.now + ADMISSION_SECONDS

    def settled(self, node: NodeId) -> None:
        """Let the next one in: this one has taken its place."""
        if node == self._joiner:
            self._joiner = None
