"""An operator's turns over an API server in memory, with peers that say what a test wants."""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping

import msgspec

from chordial_node.boundary.control import Answer, Done, ListUsers, Question, UsersAnswer
from chordial_node.client import PeerUnreachableError
from chordial_node.ids import node_id
from chordial_operator.cluster.kinds import Ref
from chordial_operator.decisions.views import PeerReport
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.handlers import slots_of
from chordial_operator.names import MANAGED_BY_LABEL
from chordial_operator.queue import Key, Next
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.context import Context
from chordial_operator.turns.loop import Loop
from tests.operator.memory_cluster import MemoryCluster
from tests.operator.specs import NAMESPACE, SURROUNDINGS

START = 1_780_000_000.0
CUSTOM = ("Overlay", "BootstrapSet", "RelaySet", "SipUser")


class Peers:
    """The peers of the overlay; each answers `Done` unless a test says otherwise."""

    def __init__(self) -> None:
        self.by_name: dict[str, PeerReport] = {}
        self.asked: list[tuple[str, Question]] = []
        self.answers: dict[type[Question], Answer] = {ListUsers: UsersAnswer(())}
        self.silent: list[str] = []

    @property
    def reports(self) -> Mapping[str, PeerReport]:
        return self.by_name

    async def ask(self, peer: str, question: Question, within: float = 10.0) -> Answer:
        self.asked.append((peer, question))
        if peer in self.silent:
            raise PeerUnreachableError(f"{peer} did not answer")
        return self.answers.get(type(question), Done())


class Rig:
    """Turns, and a world that only a test moves."""

    def __init__(self, *bodies: Manifest) -> None:
        self.cluster = MemoryCluster()
        self.peers = Peers()
        self.woken: list[Key] = []
        self.now = START
        counter = itertools.count()

        def draw(length: int) -> bytes:
            return hashlib.shake_256(f"{next(counter)}".encode()).digest(length)

        store = AuthorityStore(self.cluster, "operator", draw=draw, clock=lambda: self.now)
        self.context = Context(
            cluster=self.cluster,
            observed=self,
            store=store,
            surroundings=SURROUNDINGS,
            enrollment_root=lambda: b"root\n",
            peers=lambda namespace, overlay: self.peers,
            wake=self.woken.append,
            forget_peers=lambda namespace, overlay: None,
            clock=lambda: self.now,
            draw=draw,
        )
        self.loop = Loop(self.context)
        for body in bodies:
            self.cluster.put(body)

    # what is observed: the API server's objects, as the watches select them

    def one(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return next(iter(self._at(("one", kind, namespace, name))), None)

    def of(self, kind: str, namespace: str, overlay: str) -> list[Manifest]:
        found = self._at(("of", kind, namespace, overlay))
        return sorted(found, key=lambda body: str(body["metadata"]["name"]))

    def nodes(self) -> list[Manifest]:
        return self.cluster.all_nodes

    def _at(self, slot: tuple[str, str, str, str]) -> list[Manifest]:
        return [
            body
            for ref, body in self.cluster.objects.items()
            if ref.kind == slot[1] and self._is_watched(body) and slot in slots_of(body)
        ]

    @staticmethod
    def _is_watched(body: Manifest) -> bool:
        labels = body["metadata"].get("labels") or {}
        return body["kind"] in CUSTOM or MANAGED_BY_LABEL in labels

    # what happens

    def turn(self, kind: str, name: str) -> Next:
        """One turn of an object."""
        return asyncio.run(self.loop.turn(Key(kind, NAMESPACE, name)))

    def settle(self, *keys: tuple[str, str], rounds: int = 6) -> None:
        """A few turns of each."""
        for _ in range(rounds):
            for kind, name in keys:
                self.turn(kind, name)

    def change(self, kind: str, name: str, spec: Manifest, **annotations: str) -> None:
        """Change a custom resource as a user does."""
        body = self.cluster.objects[Ref(kind, NAMESPACE, name)]
        metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        if annotations:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
        self.cluster.put({**body, "metadata": metadata, "spec": {**body["spec"], **spec}})

    def run_pods(self) -> None:
        """Do what controllers and kubelets do: a ready pod for each StatefulSet of one."""
        for body in self.cluster.of_kind("StatefulSet"):
            name = body["metadata"]["name"]
            ref = Ref("Pod", NAMESPACE, f"{name}-0")
            if body["spec"]["replicas"] == 0:
                self.cluster.drop(ref)
                self.peers.by_name.pop(name, None)
            elif ref not in self.cluster.objects:
                self._run(body, ref)
        self.talk()

    def talk(self) -> None:
        """Have every ready pod's peer report that all is well."""
        running = [
            body
            for body in self.cluster.of_kind("StatefulSet")
            if Ref("Pod", NAMESPACE, f"{body['metadata']['name']}-0") in self.cluster.objects
        ]
        members = tuple(
            node_id(body["metadata"]["annotations"]["chordial.dev/node-id"]) for body in running
        )
        self.peers.by_name = {
            body["metadata"]["name"]: PeerReport(
                at=self.now,
                state="ready",
                is_ready=True,
                in_step=True,
                membership_digest="agreed",
                members_alive=members,
            )
            for body in running
        }

    def report(self, peer: str, **changes: object) -> None:
        """Change what one peer says."""
        self.peers.by_name[peer] = msgspec.structs.replace(self.peers.by_name[peer], **changes)

    def condition(self, kind: str, name: str, wanted: str) -> Manifest:
        status = self.cluster.objects[Ref(kind, NAMESPACE, name)].get("status") or {}
        return next(each for each in status["conditions"] if each["type"] == wanted)

    def told(self) -> list[str]:
        """The reasons of all Events."""
        return [happening.reason for _, happening in self.cluster.told]

    def _run(self, body: Manifest, ref: Ref) -> None:
        template = body["spec"]["template"]
        self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": ref.name,
                    "namespace": NAMESPACE,
                    **{key: dict(template["metadata"][key]) for key in ("labels", "annotations")},
                },
                "spec": {**template["spec"], "nodeName": f"node-of-{ref.name}"},
                "status": {
                    "phase": "Running",
                    "podIP": "10.0.0.1",
                    "conditions": [
                        {
                            "type": "Ready",
                            "status": "True",
                            "lastTransitionTime": "2026-01-01T00:00:00Z",
                        }
                    ],
                },
            }
        )
