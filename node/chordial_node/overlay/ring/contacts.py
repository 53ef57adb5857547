"""Whom a peer turns to that is in no ring: everybody it remembers, and the seeds (protocol.md §7).

Who answers, and whether it is in a ring, is found here; what follows from it is not.
"""

from chordial_node.boundary.events import Address
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import Answer, MemberRecord, Request, UpdateAnswer
from chordial_node.overlay.requests import Requests
from chordial_node.overlay.ring.queries import Queries
from chordial_node.overlay.ring.stabilize import Unanswered

DIALED_AT_ONCE = 32
ASKED_AT_ONCE = 64
MOST_SEEDS = 64


class Contacts:
    """Everybody known before there is a ring."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        links: Links,
        requests: Requests,
        queries: Queries,
    ) -> None:
        self.remembered: dict[NodeId, MemberRecord] = {}
        self._kernel = kernel
        self._links = links
        self._requests = requests
        self._queries = queries
        self._own = own
        self._own_address = config.advertise.address
        self._seeds = [seed.address for seed in config.seed_addresses]
        self._found_seeds: list[Address] = []
        self._turn = 0

    def remember(self, records: list[MemberRecord]) -> None:
        """Note who was in the ring when it was last seen."""
        self.remembered = {each.node_id: each for each in records if each.node_id != self._own}

    def found_seeds(self, addresses: tuple[Address, ...]) -> None:
        """Take what the names among the seeds resolve to; what they were before counts no more."""
        self._found_seeds = list(addresses[:MOST_SEEDS])

    def dial(self) -> None:
        """Dial everybody who is not linked, some at a time."""
        absent = [
            record.overlay_address
            for node, record in self.remembered.items()
            if not self._links.is_up(node)
        ]
        known = [*self._seeds, *self._found_seeds, *absent]
        addresses = [each for each in dict.fromkeys(known) if self._may(each)]
        if not addresses:
            return
        start = self._turn % len(addresses)
        self._turn += DIALED_AT_ONCE
        for address in [*addresses[start:], *addresses[:start]][:DIALED_AT_ONCE]:
            self._links.dial(address)

    def linked(self) -> list[NodeId]:
        """Return who can be asked."""
        return self._links.up()[:ASKED_AT_ONCE]

    def expected(self, founders: list[NodeId]) -> list[NodeId]:
        """Return who may still come: all founders, and all who are remembered."""
        known = dict.fromkeys([*founders, *self.remembered])
        return [node for node in known if node != self._own]

    async def ask_all(self) -> dict[NodeId, UpdateAnswer]:
        """Ask all who are linked for their place; returns early when one is in a ring."""
        nodes = self.linked()
        answers: dict[NodeId, UpdateAnswer] = {}
        if not nodes:
            return answers
        done: Reply[None] = self._kernel.reply()
        waiting = dict.fromkeys(nodes)

        async def ask(node: NodeId) -> None:
            answer = await self._queries.ask(node)
            del waiting[node]
            if not isinstance(answer, Unanswered):
                answers[node] = answer
            if not waiting or (node in answers and answers[node].in_ring):
                done.resolve(None)

        for node in nodes:
            self._kernel.start(ask(node))
        await done
        return dict(sorted(answers.items()))

    async def ask_each(
        self, nodes: list[NodeId], request: Request, seconds: float
    ) -> dict[NodeId, Answer]:
        """Ask peers the same and wait for all of them; who does not answer is left out."""
        answers: dict[NodeId, Answer] = {}
        if not nodes:
            return answers
        done: Reply[None] = self._kernel.reply()
        waiting = dict.fromkeys(nodes)

        async def ask(node: NodeId) -> None:
            try:
                answered = await self._requests.ask(
                    node, request, to_resource=False, timeout=seconds
                )
                if answered.source == node:
                    answers[node] = answered.answer
            except OverlayError:
                pass
            del waiting[node]
            if not waiting:
                done.resolve(None)

        for node in list(waiting):
            self._kernel.start(ask(node))
        await done
        return dict(sorted(answers.items()))

    def _may(self, address: Address) -> bool:
        return address != self._own_address
