"""Which of several operators reconciles: a Lease of 15 seconds, taken, kept and given back.

It makes "two at once" rare, not impossible (a stopped process, a wrong clock): every choice is
therefore written with a precondition as well (fleet H27). Who loses it ends its process. Times are
compared as durations on the own clock since a record was first seen, never with another's clock.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from chordial_operator.cluster.errors import ClusterError, ConflictError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Cluster
from chordial_operator.spec.manifest import Manifest

LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
RETRY_SECONDS = 2.0
DEADLINE_SECONDS = 10.0
"""Since the last renewal was asked for: well before another may take the lease."""

_log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The lease is another's, or could not be renewed in time."""


class Lease:
    """One operator's try for the lease."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        name: str,
        namespace: str,
        holder: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take where it lies, who we are, a monotonic and a wall clock."""
        self._cluster = cluster
        self._ref = Ref("Lease", namespace, name)
        self._holder = holder
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self._seen: tuple[str, float] | None = None
        self._held: Manifest | None = None

    @property
    def is_held(self) -> bool:
        """Whether this operator is the one that reconciles."""
        return self._held is not None

    async def acquire(self) -> None:
        """Return once the lease is ours."""
        while not await self._try_quietly():
            await self._sleep(RETRY_SECONDS)
        _log.info("this operator reconciles: it holds the lease %s", self._ref.name)

    async def keep(self) -> None:
        """Renew for ever; LeaseLostError when that was not possible in time."""
        renewed, pause = self._clock(), RENEW_SECONDS
        while True:
            await self._sleep(pause)
            asked = self._clock()
            try:
                async with asyncio.timeout(renewed + DEADLINE_SECONDS - asked):
                    if not await self._try():
                        raise LeaseLostError("another operator holds the lease")
                renewed, pause = asked, RENEW_SECONDS
            except (ClusterError, TimeoutError) as error:
                pause = RETRY_SECONDS
                if self._clock() - renewed >= DEADLINE_SECONDS or isinstance(error, TimeoutError):
                    raise LeaseLostError(f"not renewed for {DEADLINE_SECONDS:g} s") from error

    async def release(self) -> None:
        """Give it back, so that the next operator need not wait for its end."""
        held, self._held = self._held, None
        if held is None:
            return
        spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._cluster.replace({**held, "spec": spec})
        except ClusterError as error:
            _log.info("the lease was not given back, it ends by itself: %s", error)

    async def _try_quietly(self) -> bool:
        try:
            return await self._try()
        except ClusterError as error:
            _log.warning("the lease could not be asked for, tried again: %s", error)
            return False

    async def _try(self) -> bool:
        try:
            found = await self._cluster.get(self._ref)
            if self._is_anothers(found):
                self._held = None
                return False
            self._held = await self._cluster.replace(self._renewed(found))
        except NotFoundError:
            return await self._make()
        except ConflictError:
            self._held = None  # somebody was quicker; the next look tells who
            return False
        return True

    async def _make(self) -> bool:
        try:
            self._held = await self._cluster.create(self._record(0, None))
        except ConflictError:
            return False
        return True

    def _is_anothers(self, lease: Manifest) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._holder):
            return False
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        duration = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        return bool(self._clock() - self._seen[1] < duration)

    def _renewed(self, lease: Manifest) -> Manifest:
        spec = lease.get("spec") or {}
        is_ours = spec.get("holderIdentity") == self._holder
        changes = spec.get("leaseTransitions", 0) + (0 if is_ours else 1)
        record = self._record(changes, spec.get("acquireTime") if is_ours else None)
        metadata = {
            **record["metadata"], "resourceVersion": lease["metadata"]["resourceVersion"],
        }  # fmt: skip
        return {**record, "metadata": metadata}

    def _record(self, transitions: int, acquired: str | None) -> Manifest:
        now = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
