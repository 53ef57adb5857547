"""One observer for each overlay that is there, and none for those that are gone.

Where the peers are is read from what is observed, the certificate that is shown to them is made by
the overlay's authority. What peers say is judged in `decisions`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from chordial_node.boundary.control import Answer, Question
from chordial_node.client import PeerUnreachableError
from chordial_node.ids import node_id
from chordial_node.security.certificates import TlsCredentials
from chordial_operator.decisions.views import PeerReport
from chordial_operator.enrollment.authority import Draw
from chordial_operator.enrollment.issuing import operator_credentials
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.names import (
    NODE_ID_ANNOTATION,
    OVERLAY_PORT,
    PEER_LABEL,
    SET_LABEL,
)
from chordial_operator.peers import PeerObserver, PeerPlace
from chordial_operator.queue import Key
from chordial_operator.spec.manifest import InvalidSpecError, Manifest, meta_of
from chordial_operator.spec.overlay import parse_overlay
from chordial_operator.turns.context import Observed, Peers
from chordial_operator.turns.users import USERS


class Nobody:
    """The peers of an overlay that is not observed: they say nothing."""

    @property
    def reports(self) -> Mapping[str, PeerReport]:
        """Nothing."""
        return {}

    async def ask(self, peer: str, question: Question, within: float = 10.0) -> Answer:
        """Reach nobody."""
        raise PeerUnreachableError(f"{peer} is not observed yet")


class Observers:
    """The observers of all overlays; they run while `run` does."""

    def __init__(
        self,
        observed: Observed,
        store: AuthorityStore,
        wake: Callable[[Key], None],
        *,
        clock: Callable[[], float],
        random: Random,
        draw: Draw,
    ) -> None:
        """Take what tells where peers are, who signs for the operator, and whom to wake."""
        self._observed = observed
        self._store = store
        self._wake = wake
        self._clock = clock
        self._random = random
        self._draw = draw
        self._running: dict[tuple[str, str], tuple[PeerObserver, asyncio.Task[None]]] = {}

    def of(self, namespace: str, overlay: str) -> Peers:
        """Return the peers of an overlay, observed from now on if its Overlay is there."""
        key = (namespace, overlay)
        if key not in self._running:
            if self._observed.one("Overlay", namespace, overlay) is None:
                return Nobody()
            observer = self._make(namespace, overlay)
            task = asyncio.create_task(observer.run(), name=f"peers of {namespace}/{overlay}")
            self._running[key] = (observer, task)
        return self._running[key][0]

    def forget(self, namespace: str, overlay: str) -> None:
        """Ask the peers of an overlay no more."""
        found = self._running.pop((namespace, overlay), None)
        if found is not None:
            found[1].cancel()

    async def close(self) -> None:
        """End all observers."""
        tasks = [task for _, task in self._running.values()]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def polls(self) -> tuple[int, int]:
        """How many questions were asked, and how many nobody answered."""
        counters = [observer.counters for observer, _ in self._running.values()]
        return sum(each.polls for each in counters), sum(each.silent for each in counters)

    def _make(self, namespace: str, overlay: str) -> PeerObserver:
        def places() -> list[PeerPlace]:
            return places_of(self._observed.of("Pod", namespace, overlay))

        def wake(sets: tuple[str, ...]) -> None:
            for name in sets:
                for kind in ("BootstrapSet", "RelaySet"):
                    if self._observed.one(kind, namespace, name) is not None:
                        self._wake(Key(kind, namespace, name))
            self._wake(Key("Overlay", namespace, overlay))
            self._wake(Key(USERS, namespace, overlay))

        return PeerObserver(
            places,
            self._credentials_of(namespace, overlay),
            wake,
            clock=self._clock,
            random=self._random,
        )

    def _credentials_of(
        self, namespace: str, overlay: str
    ) -> Callable[[], Awaitable[TlsCredentials]]:
        async def credentials() -> TlsCredentials:
            body = self._observed.one("Overlay", namespace, overlay)
            if body is None:
                raise PeerUnreachableError(f"Overlay {namespace}/{overlay} is gone")
            try:
                parsed = parse_overlay(body)
            except InvalidSpecError as error:
                raise PeerUnreachableError(f"its spec cannot be used: {error}") from error
            identity, secrets = await self._store.open(parsed)
            return operator_credentials(identity, secrets, now=self._clock(), draw=self._draw)

        return credentials


def places_of(pods: list[Manifest]) -> list[PeerPlace]:
    """Return where the peers of an overlay are asked: every pod that has an address."""
    places = []
    for pod in pods:
        meta = meta_of(pod)
        address = (pod.get("status") or {}).get("podIP", "")
        peer = meta.labels.get(PEER_LABEL, "")
        if not address or not peer:
            continue
        try:
            known = node_id(meta.annotations.get(NODE_ID_ANNOTATION, ""))
        except ValueError:
            continue
        set_name = meta.labels.get(SET_LABEL, "")
        places.append(PeerPlace(peer, set_name, meta.uid, (address, OVERLAY_PORT), known))
    return places
