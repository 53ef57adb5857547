"""One operator from start to end: probes, enrollment on every replica, turns on the leader.

The parts are joined here and nowhere else. Enrollment needs no leader: every choice that it makes
is written with a precondition. Who loses the lease ends its process (fleet H27).
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from random import SystemRandom
from typing import TypeVar

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from chordial_node.config import Endpoint
from chordial_operator.cluster.errors import ClusterError, NotFoundError
from chordial_operator.cluster.kinds import KINDS
from chordial_operator.cluster.kubernetes import KubernetesCluster
from chordial_operator.enrollment.authority import AuthorityError, CaPair
from chordial_operator.enrollment.desk import EnrollmentDesk
from chordial_operator.enrollment.metrics import enrollment_lines
from chordial_operator.enrollment.root import ServerIdentity, open_root
from chordial_operator.enrollment.server import EnrollmentServer
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.handlers import CUSTOM, IndexedObjects, kopf_settings, register
from chordial_operator.lease import Lease, LeaseLostError
from chordial_operator.names import API_VERSION
from chordial_operator.probes import Health, ProbeServer
from chordial_operator.queue import Key, Next, WorkQueue
from chordial_operator.resources.objects import Surroundings
from chordial_operator.settings import Settings
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.context import Context
from chordial_operator.turns.first_overlay import apply_first_overlay
from chordial_operator.turns.loop import Loop
from chordial_operator.turns.nodes import watch_nodes
from chordial_operator.turns.observers import Observers

LEASE_NAME = "chordial-operator"
RETRY_SECONDS = 2.0

T = TypeVar("T")

log = logging.getLogger("chordial.operator")


class Operator:
    """One process of the operator."""

    def __init__(
        self, settings: Settings, cluster: KubernetesCluster, take_signals: Callable[[], None]
    ) -> None:
        """Join the parts; `take_signals` has this process end by being cancelled."""
        self._take_signals = take_signals
        self._settings = settings
        self._cluster = cluster
        self._random = SystemRandom()
        self._store = AuthorityStore(cluster, settings.namespace)
        self._desk = EnrollmentDesk(cluster, self._store)
        self._objects = IndexedObjects()
        self._identity: ServerIdentity | None = None
        self._queue = WorkQueue(
            self._turn, self._random, time.monotonic, workers=settings.worker_limit
        )
        self._observers = Observers(
            self._objects,
            self._store,
            self._queue.wake,
            clock=time.time,
            random=self._random,
            draw=os.urandom,
        )
        self._context = Context(
            cluster=cluster,
            observed=self._objects,
            store=self._store,
            surroundings=_surroundings(settings),
            enrollment_root=lambda: self._served().root,
            peers=self._observers.of,
            wake=self._queue.wake,
            forget_peers=self._observers.forget,
            clock=time.time,
            draw=os.urandom,
            tells_registered=settings.tells_registered,
        )
        self._loop = Loop(self._context)
        self._lease = Lease(
            cluster,
            name=LEASE_NAME,
            namespace=settings.namespace,
            holder=settings.pod_name,
            clock=time.monotonic,
            wall=time.time,
        )

    async def run(self) -> None:
        """Run until cancelled; LeaseLostError when another operator has taken over."""
        health = Health(lambda: self._queue.oldest_seconds, self._unready, self._metrics)
        probes = ProbeServer(health)
        port = await probes.start(self._settings.probe_listen, self._settings.probe_port)
        log.info("probes are answered on port %d", port)
        root = await _until_done(self._read_root)
        hosts = (
            self._settings.enrollment_host,
            f"{self._settings.enrollment_host}.cluster.local",
        )
        identity = ServerIdentity(root, hosts)
        server = EnrollmentServer(identity, self._desk.enroll, self._read_root)
        listen = f"{self._settings.enrollment_listen}:{self._settings.enrollment_port}"
        port = await server.start(listen)
        self._identity = identity
        log.info("peers enroll on port %d", port)
        try:
            await self._lead()
        finally:
            await self._observers.close()
            await self._lease.release()
            await server.stop()
            await probes.stop()

    async def _lead(self) -> None:
        """Reconcile once the lease is held; ends when any part does."""
        await self._lease.acquire()
        await _until_done(self._kinds_are_served)
        self._context.begin()
        registry = kopf.OperatorRegistry()
        register(registry, self._objects, self)
        try:
            await self._reconcile(registry)
        except BaseExceptionGroup as group:
            lost = group.subgroup(LeaseLostError)
            if lost is None:
                raise
            raise LeaseLostError(f"{LEASE_NAME}: {lost.exceptions[0]}") from group

    async def _reconcile(self, registry: kopf.OperatorRegistry) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.keep(), name="lease")
            group.create_task(self._queue.run(), name="queue")
            if self._settings.watch_nodes:
                nodes = watch_nodes(self._cluster, self._objects.use_nodes, self._wake_all)
                group.create_task(nodes, name="nodes")
            group.create_task(self._make_first_overlay(), name="first overlay")
            await self._watch(registry)
            raise asyncio.CancelledError  # kopf was told to stop, and so is the rest

    async def _watch(self, registry: kopf.OperatorRegistry) -> None:
        namespaces = self._settings.watch_namespaces
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(),
            standalone=True,
            # else it asks for a user's name, and an image has none
            identity=self._settings.pod_name,  # type: ignore[arg-type]  # its type has no public name
            clusterwide=not namespaces,
            namespaces=namespaces,
            memo=kopf.Memo(),
        )
        self._take_signals()  # kopf took them, and its way to end waits for what is not its own
        await kopf.run_tasks(tasks, ignored=ours)

    def wake(self, key: Key) -> None:
        """Give an object a turn soon."""
        self._queue.wake(key)

    def deleted(self, body: Manifest) -> None:
        """Take note of an object that is gone."""
        self._loop.deleted(body)

    def _turn(self, key: Key) -> Awaitable[Next]:
        return self._loop.turn(key)

    def _wake_all(self) -> None:
        for key in self._objects.overlays_and_sets():
            self._queue.wake(key)

    async def _make_first_overlay(self) -> None:
        name = self._settings.first_overlay
        if name:
            await _until_done(
                lambda: apply_first_overlay(self._cluster, self._settings.namespace, name)
            )

    async def _kinds_are_served(self) -> None:
        """Return once the API server knows our kinds; they may come after the operator."""
        found = await self._cluster.get_path(f"/apis/{API_VERSION}")
        served = [each.get("name") for each in found.get("resources") or ()]
        missing = [kind for kind in CUSTOM if KINDS[kind].plural not in served]
        if missing:
            raise NotFoundError(f"{API_VERSION} has no {', '.join(missing)}: install the chart")

    async def _read_root(self) -> CaPair:
        return await open_root(self._cluster, self._settings.namespace, now=time.time())

    def _served(self) -> ServerIdentity:
        assert self._identity is not None, "turns begin after enrollment does"
        return self._identity

    def _unready(self) -> str:
        return "" if self._identity is not None else "enrollment does not serve yet"

    def _metrics(self) -> Iterator[str]:
        queue, (polls, silent) = self._queue, self._observers.polls
        for name, kind, text, value in (
            ("turns_total", "counter", "Turns of objects.", queue.counters.turns),
            ("turn_errors_total", "counter", "Turns that failed.", queue.counters.errors),
            ("wakes_refused_total", "counter", "Wakes without room.", queue.counters.refused),
            ("queue_depth", "gauge", "Objects that are due.", queue.depth),
            ("queue_objects", "gauge", "Objects that have turns.", queue.keys),
            ("queue_oldest_seconds", "gauge", "Age of the oldest turn.", queue.oldest_seconds),
            ("api_requests_total", "counter", "Requests to the API.", self._cluster.requests),
            ("peer_polls_total", "counter", "Questions to peers.", polls),
            ("peer_silent_total", "counter", "Questions without an answer.", silent),
            ("leader", "gauge", "Whether this one reconciles.", int(self._lease.is_held)),
        ):
            full = f"chordial_operator_{name}"
            yield f"# HELP {full} {text}"
            yield f"# TYPE {full} {kind}"
            yield f"{full} {value}"
        yield from enrollment_lines(self._desk.outcomes)


async def open_cluster(settings: Settings) -> tuple[ApiClient, KubernetesCluster]:
    """Return the client of the API server, to be closed, and the cluster behind it."""
    configuration = Configuration()
    if settings.kubeconfig:
        await load_kube_config(config_file=settings.kubeconfig, client_configuration=configuration)
    else:
        load_incluster_config(client_configuration=configuration)
    client = ApiClient(configuration)
    return client, KubernetesCluster(client, settings.pod_name)


def _surroundings(settings: Settings) -> Surroundings:
    return Surroundings(
        enrollment=Endpoint(settings.enrollment_host, settings.enrollment_port),
        operator_namespace=settings.namespace,
        node_image=settings.node_image,
        node_image_pull_policy=settings.node_image_pull_policy,
        image_pull_secrets=settings.image_pull_secrets,
    )


async def _until_done(what: Callable[[], Awaitable[T]]) -> T:
    """Try until the API server is there; what it refuses for good is told, and tried again."""
    while True:
        try:
            return await what()
        except (ClusterError, AuthorityError) as error:
            log.warning("tried again in %.0f s: %s", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)
