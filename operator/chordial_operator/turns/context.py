"""What every turn works with: what is observed, the API server, authorities, peers, and memories.

A memory holds only what time alone decides (since when fewer peers are wanted); all else is read
anew each turn. What a turn does belongs in its own module; nothing here decides.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from chordial_node.boundary.control import Answer, Question
from chordial_operator.cluster.errors import ClusterError
from chordial_operator.cluster.protocol import Cluster, Happening
from chordial_operator.decisions.upgrade import Gate
from chordial_operator.decisions.views import PeerReport
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.queue import Key
from chordial_operator.resources.comparison import is_covered, marked
from chordial_operator.resources.objects import Surroundings
from chordial_operator.spec.manifest import Manifest
from chordial_operator.status.slow_numbers import SlowNumber
from chordial_operator.turns.pace import Pace

MOST_MEMORIES = 10_000

log = logging.getLogger("chordial.turns")


class NotReadyYetError(Exception):
    """Something that others do must come first; the object is looked at again."""

    def __init__(self, message: str, after: float = 1.0) -> None:
        super().__init__(message)
        self.after = after


class Observed(Protocol):
    """What the watches have shown, without a question to the API server."""

    def one(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object as it was last seen."""

    def of(self, kind: str, namespace: str, overlay: str) -> list[Manifest]:
        """Return the objects of an overlay by name: children by label, resources by reference."""

    def nodes(self) -> list[Manifest]:
        """Return the Nodes of the cluster, as far as they may be read."""


class Peers(Protocol):
    """The peers of one overlay, as they speak for themselves."""

    @property
    def reports(self) -> Mapping[str, PeerReport]:
        """What each peer last said, by name."""

    def ask(self, peer: str, question: Question, within: float = 10.0) -> Awaitable[Answer]:
        """Return a peer's answer; PeerUnreachableError when there is none."""


class OverlayMemory(msgspec.Struct):
    """What is remembered of one overlay between turns; all of it may be lost."""

    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """The turns of an overlay and of its sets decide one after the other."""
    gate: Gate | None = None
    low_since: dict[str, float] = {}
    """By set: since when fewer peers are wanted."""
    ringless_since: float | None = None
    """Since when nobody can form a ring, and nobody holds anything."""
    is_restarting: bool = False
    """Whether the overlay's last turn saw an upgrade that restarts peers."""
    users_due: bool = True
    """Whether the overlay's users are to be compared with the SipUsers now."""
    users_compared_at: float = 0.0
    users_missing: tuple[str, ...] = ()
    """SipUsers whose record the overlay did not show at the last comparison, by name."""
    key_numbers: tuple[int, ...] = ()
    """Of the keys under which users were sealed at the last comparison."""
    contacts: dict[str, int] = {}
    """Of each SipUser, by its name, as its status may tell it."""
    contacts_waiting: dict[str, int] = {}
    """The same at the last comparison, where it is another number: told at a pace (fleet H20)."""
    told_to_leave: dict[str, int] = {}
    """Pods of deleted sets, by uid: how often their peers were told."""
    configured: dict[str, tuple[str, int]] = {}
    """Instance and sequence of the configuration that each pod, by uid, was last told."""
    not_configured: dict[str, tuple[str, int]] = {}
    """The same of those that refused it, so that this is logged once."""
    numbers: dict[str, dict[str, SlowNumber]] = {}
    """Slow numbers of each object's status, by its kind and name."""


class Context:
    """One operator at work."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        observed: Observed,
        store: AuthorityStore,
        surroundings: Surroundings,
        enrollment_root: Callable[[], bytes],
        peers: Callable[[str, str], Peers],
        wake: Callable[[Key], None],
        forget_peers: Callable[[str, str], None],
        clock: Callable[[], float],
        draw: Callable[[int], bytes],
        tells_registered: bool = True,
    ) -> None:
        """Take all that turns work with; `clock` tells wall time."""
        self.cluster = cluster
        self.observed = observed
        self.store = store
        self.surroundings = surroundings
        self.enrollment_root = enrollment_root
        self.peers = peers
        self.wake = wake
        self.clock = clock
        self._forget_peers = forget_peers
        self.draw = draw
        self.tells_registered = tells_registered
        """Whether statuses of users say if a phone is registered."""
        self.pace = Pace()
        self.started = clock()
        """When this operator began to listen to the peers: when it began to lead."""
        self._memories: dict[tuple[str, str], OverlayMemory] = {}

    def begin(self) -> None:
        """Note that from now on this operator leads: it has not heard the peers yet."""
        self.started = self.clock()

    def memory(self, namespace: str, overlay: str) -> OverlayMemory:
        """Return what is remembered of an overlay."""
        key = (namespace, overlay)
        if key not in self._memories:
            while len(self._memories) >= MOST_MEMORIES:
                self._memories.pop(next(iter(self._memories)))
            self._memories[key] = OverlayMemory()
        return self._memories[key]

    def forget(self, namespace: str, overlay: str) -> None:
        """Forget an overlay that is gone."""
        self._memories.pop((namespace, overlay), None)
        self._forget_peers(namespace, overlay)

    async def apply(self, manifests: list[Manifest]) -> None:
        """Apply those that are not yet as they should be, in order."""
        for manifest in manifests:
            wanted = marked(manifest)
            metadata = manifest["metadata"]
            seen = self.observed.one(manifest["kind"], metadata["namespace"], metadata["name"])
            if seen is None or not is_covered(wanted, seen):
                await self.cluster.apply(wanted)

    async def apply_status(self, body: Manifest, status: Manifest) -> None:
        """Apply a status unless the object was last seen with it."""
        if is_covered(status, body.get("status") or {}):
            return
        metadata = body["metadata"]
        await self.cluster.apply_status(
            {
                "apiVersion": body["apiVersion"],
                "kind": body["kind"],
                "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
                "status": status,
            }
        )

    async def tell(self, about: Manifest, happening: Happening) -> None:
        """Post an Event; a turn goes on without it: what it tells was done, and is not done again.

        A lost one is lost: states stand in conditions.
        """
        try:
            await self.cluster.tell(about, happening)
        except ClusterError as error:
            log.info("the Event %s was not posted: %s", happening.reason, error)
