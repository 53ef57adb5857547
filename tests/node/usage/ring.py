"""A ring of one dict: the rules of order and generation that real peers keep, without peers."""

from collections.abc import Callable

import msgspec

from chordial_node.boundary.control import Hop
from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import kind_of, order_of
from chordial_node.overlay.messages import (
    NOTHING_THERE,
    Entry,
    FetchAnswer,
    FetchSpecifier,
    KindData,
    StoreAnswer,
)

DELAY = 0.001


class Shelf(msgspec.Struct):
    """The entries of one Kind at one Resource-ID."""

    generation: int = 0
    entries: dict[bytes, Entry] = {}


class SharedRing:
    """What all peers of a test have stored, and who of them is alive."""

    def __init__(self) -> None:
        self.shelves: dict[tuple[ResourceId, int], Shelf] = {}
        self.addresses: dict[NodeId, Address] = {}
        self.dead: list[NodeId] = []
        self.is_silent = False
        self.round_trip = 0.002
        self.stores = 0
        self.fetches = 0

    def store(
        self, resource: ResourceId, kinds: tuple[KindData, ...], wall_ms: int, owner: NodeId
    ) -> StoreAnswer:
        """Store all or nothing, as RFC 6940 §7.4.1.1 and the total order want it."""
        self.stores += 1
        generations = []
        for data in kinds:
            shelf = self.shelves.setdefault((resource, data.kind), Shelf(0, {}))
            is_nothing = data.generation == NOTHING_THERE and not shelf.generation
            if data.generation not in (0, shelf.generation) and not is_nothing:
                raise OverlayError(ErrorCode.GENERATION_COUNTER_TOO_LOW)
            for entry in data.entries:
                present = shelf.entries.get(entry.key)
                if present is not None and order_of(_stamped(entry, wall_ms, present)) <= order_of(
                    present
                ):
                    raise OverlayError(ErrorCode.DATA_TOO_OLD)
                if len(entry.value) > kind_of(data.kind).max_size:
                    raise OverlayError(ErrorCode.DATA_TOO_LARGE)
        for data in kinds:
            shelf = self.shelves[resource, data.kind]
            shelf.generation = shelf.generation + 1 if shelf.generation else wall_ms
            generations.append((data.kind, shelf.generation))
            for entry in data.entries:
                present = shelf.entries.get(entry.key)
                shelf.entries[entry.key] = _stamped(entry, wall_ms, present)
        return StoreAnswer(tuple(generations), (owner,), wall_ms)

    def fetch(
        self, resource: ResourceId, specifiers: tuple[FetchSpecifier, ...], wall_ms: int
    ) -> FetchAnswer:
        """Return what exists and has not expired, and what ended where that is asked for."""
        self.fetches += 1
        kinds = []
        for wanted in specifiers:
            shelf = self.shelves.get((resource, wanted.kind), Shelf(0, {}))
            entries = tuple(
                entry
                for key, entry in sorted(shelf.entries.items())
                if wanted.with_markers or (entry.exists and entry.expires_at_ms > wall_ms)
            )
            kinds.append(KindData(wanted.kind, shelf.generation, entries))
        return FetchAnswer(tuple(kinds), copies=3)


class RingState:
    """What the SIP side looks at of its own peer's ring, storage, journal and diagnostics."""

    def __init__(self, own: NodeId, shared: SharedRing) -> None:
        self.boot = 1
        self.state = "joined"
        self.in_step = True
        self.is_failing = False
        self._own = own
        self._shared = shared

    def owned(self, kind: int) -> list[tuple[ResourceId, Entry]]:
        """Return everything: one dict is one range."""
        return [
            (resource, entry)
            for (resource, held), shelf in self._shared.shelves.items()
            if held == kind
            for entry in shelf.entries.values()
        ]

    async def track(
        self, destination: bytes, to_resource: bool, trace: Trace | None = None
    ) -> list[Hop]:
        """Return the way of everything: it is here."""
        return [Hop(self._own, "p1", "self", 0.0, 0.0)]


class FakePeer:
    """One peer's view of the shared ring: what `overlay/peer.py` offers to the usages."""

    def __init__(self, kernel: Kernel, own: NodeId, shared: SharedRing) -> None:
        self.node_id = own
        self.ring = RingState(own, shared)
        self.storage = self.ring
        self.journal = self.ring
        self.diagnostics = self.ring
        self.on_member_dead: list[Callable[[NodeId], None]] = []
        self.doubted: list[NodeId] = []
        self.has_left = False
        self.has_heirs = True
        self.ends: list[str] = []
        """How its end was announced."""
        self.is_prepared = False
        self._kernel = kernel
        self._shared = shared

    async def fetch(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> FetchAnswer:
        await self._kernel.sleep(DELAY)
        await self._hang()
        return self._shared.fetch(resource, specifiers, self._kernel.wall_ms)

    async def store(
        self, resource: ResourceId, kinds: tuple[KindData, ...], trace: Trace | None = None
    ) -> StoreAnswer:
        await self._kernel.sleep(DELAY)
        await self._hang()
        return self._shared.store(resource, kinds, self._kernel.wall_ms, self.node_id)

    async def _hang(self) -> None:
        while self._shared.is_silent:
            await self._kernel.sleep(1.0)

    def is_alive(self, node: NodeId) -> bool:
        return node in self._shared.addresses and node not in self._shared.dead

    def is_dead(self, node: NodeId) -> bool:
        return node in self._shared.dead

    def sip_address(self, node: NodeId) -> Address | None:
        return self._shared.addresses.get(node)

    def peer_name(self, node: NodeId) -> str:
        return node.hex()

    def find_node(self, prefix: bytes) -> NodeId | None:
        return next((each for each in self._shared.addresses if each.startswith(prefix)), None)

    def round_trip(self, node: NodeId) -> float:
        return self._shared.round_trip

    def doubt(self, node: NodeId, reason: str) -> None:
        self.doubted.append(node)

    def announce_end(self, *, leave: bool) -> None:
        self.ends.append("leave" if leave else "restart")

    async def prepare_leave(self, seconds: float) -> bool:
        await self._kernel.sleep(0.01)
        self.is_prepared = True
        return True

    async def leave(self) -> int:
        await self._kernel.sleep(0.01)
        self.has_left = True
        return 7


def _stamped(entry: Entry, wall_ms: int, present: Entry | None) -> Entry:
    """The owner stamps the storage time; the lifetime that was asked stays."""
    stored = max(wall_ms, present.storage_time_ms + 1 if present is not None else 0)
    lifetime = entry.expires_at_ms - entry.storage_time_ms
    return msgspec.structs.replace(
        entry,
        storage_time_ms=stored,
        expires_at_ms=stored + lifetime,
        keep_until_ms=stored + lifetime,
    )
