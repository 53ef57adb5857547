"""A fleet under load: an overlay of short times, and phones that register and call all the while.

Phones reach the relays by their Service's address, through two nodes; half of them are behind
symmetric NATs. Nothing is judged here: a test makes trouble between `begin` and `end` and looks at
what the phones have counted. Figures are told, not asserted on time.
"""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.cluster.harness import network
from tests.cluster.harness.cluster import NODES, Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import Installation, field, name_of, ours, relay_set
from tests.cluster.load import roaming
from tests.cluster.phones.ledger import Failure
from tests.cluster.phones.swarms import Report, Swarm, added, everybody, swarm

NAMESPACE = "crowd"
PHONES = int(os.environ.get("CHORDIAL_LOAD_PHONES", "1000"))
CALLS_PER_SECOND = float(os.environ.get("CHORDIAL_LOAD_CALLS", "20"))
SEEDS, RELAYS = 5, 3
EXPIRES, HOLD = 20, 3
PORT = 5060
OPEN, BEHIND_NAT = range(80, 84), range(84, 88)
"""The namespaces of the phones: the Service keeps all phones of one address at one relay."""
GATEWAYS = {number: number % 2 + 1 for number in (*OPEN, *BEHIND_NAT)}
"""Through which node each goes; none goes through the third, which is taken away."""
PASSWORD = "crowd-secret"
SHORT: Json = {
    "drain": {"timeout": "30s", "maxConcurrent": 2},
    "scaleIn": {"stabilization": "2s"},
    "unreachableAfter": "10s",
    "replaceLostAfter": "20s",
    "storage": {"type": "Volume", "storageClassName": roaming.CLASS},
    "podMetadata": {"labels": {"load": "crowd"}},
}
LABEL = "load=crowd"
"""Of the pods of this fleet alone; a node is drained of these."""
OPERATOR = "deployment/chordial-operator"
RELAY_PODS, PEERS = "chordial.dev/set=edge", "chordial.dev/overlay=voice"
Tell = Callable[[str], None]


class Crowd:
    """The fleet."""

    def __init__(self, cluster: Cluster, tell: Tell, namespace: str = NAMESPACE) -> None:
        self.cluster = cluster
        self.tell = tell
        self.installation = Installation(cluster, namespace)

    def start(self) -> None:
        """Install chart, relays and users, and return when all is Ready."""
        began = time.monotonic()
        self.installation.remove()
        roaming.create(self.cluster)
        values = {
            "overlay": {"spec": {"upgrade": {"stabilization": "2s", "peerTimeout": "30s"}}},
            "bootstrapSet": {"spec": SHORT},
        }
        said = [f"{name}={json.dumps(value)}" for name, value in values.items()]
        self.installation.install(*(word for each in said for word in ("--set-json", each)))
        self.installation.apply(
            relay_set(
                "edge",
                RELAYS,
                registration={"maxExpires": f"{EXPIRES}s"},
                exposure={"type": "ClusterIP"},
                **SHORT,
            )
        )
        self.wait_ready()
        self.tell(f"fleet of {SEEDS} seeds and {RELAYS} relays: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        self._add_users()
        self.tell(f"{PHONES} SipUsers Ready: {time.monotonic() - began:.1f} s")

    def wait_ready(self, seconds: float = 180.0) -> None:
        """Return when the overlay and both sets are Ready."""
        for name in ("overlay/voice", "bootstrapset/seed", "relayset/edge"):
            self.installation.wait_ready(name, seconds)

    def scale(self, replicas: int, seconds: float = 240.0) -> float:
        """`kubectl scale`; returns how long it took until no more and no fewer were there."""
        began = time.monotonic()
        self.installation.kubectl("scale", "relayset/edge", f"--replicas={replicas}")
        self.settled(replicas, seconds)
        return time.monotonic() - began

    def remove_first(self, *peers: str) -> None:
        """Ask that these peers leave before all others."""
        names = [f"statefulset/{peer}" for peer in peers]
        self.installation.kubectl("annotate", *names, "chordial.dev/remove-first=true")

    def settled(self, relays: int, seconds: float = 240.0) -> None:
        """Return when there are just so many relays, all Ready, and none leaves."""
        self.installation.until(
            f"{relays} relays, all ready", lambda: self._is_settled(relays), seconds
        )
        self.wait_ready(seconds)

    def relays(self) -> list[Json]:
        """The pods of the relays."""
        return self.installation.pods(RELAY_PODS)

    def stateful_sets(self) -> list[Json]:
        """The StatefulSets of the relays."""
        items = self.installation.json("get", "statefulsets", "-l", RELAY_PODS)["items"]
        assert isinstance(items, list)
        return items

    def places(self) -> dict[str, str]:
        """On which node each pod of a peer is."""
        return {name_of(pod): node_of(pod) for pod in self.peers()}

    def ready_peers(self) -> dict[str, str]:
        """On which node each pod of a peer is that is ready."""
        return {name_of(pod): node_of(pod) for pod in self.peers() if is_ready(pod)}

    def all_ready(self, seconds: float = 120.0) -> None:
        """Return when every peer's pod is ready, whether an operator says so or not."""
        self.installation.until(
            "all peers are ready", lambda: all(map(is_ready, self.peers())), seconds
        )

    def peers(self) -> list[Json]:
        """The pods of all peers."""
        return self.installation.pods(PEERS)

    def kill(self, pod: str) -> None:
        """End the process of a pod with SIGKILL; pod and volume stay."""
        body = self.installation.json("get", "pod", pod)
        worker = next(each for each in self.cluster.workers if each.name == node_of(body))
        container = str(_container(body)["containerID"]).removeprefix("containerd://")
        worker.engine("tasks", "kill", "--signal", "SIGKILL", container)

    def restarts(self, pod: str) -> int:
        """How often the container of a pod was started again."""
        return int(str(_container(self.installation.json("get", "pod", pod))["restartCount"]))

    def events(self, reason: str) -> list[str]:
        """The notes of Events with a reason."""
        items = self.installation.json("get", "events", f"--field-selector=reason={reason}")
        listed = items["items"]
        assert isinstance(listed, list)
        return [str(each["message"]) for each in listed]

    @contextmanager
    def load(self, folder: Path, what: str) -> Iterator["Load"]:
        """Phones that are registered and call each other."""
        address = field(self.installation.json("get", "service", "edge"), "spec", "clusterIP")
        with ExitStack() as stack:
            swarms = [stack.enter_context(part) for part in self._parts(address, folder)]
            load = Load(swarms, self.tell, what)
            load.register()
            everybody(swarms, "rate", per_second=CALLS_PER_SECOND / len(swarms))
            time.sleep(HOLD + 2)  # the load stands before the trouble begins
            yield load

    def _parts(self, address: str, folder: Path) -> Iterator[AbstractContextManager[Swarm]]:
        part = PHONES // len(GATEWAYS)
        for index, number in enumerate(GATEWAYS):
            network.remove_phone(number)
            add = network.add_phone if number in OPEN else network.add_phone_behind_nat
            options = (
                "--count", str(part), "--first", str(part * index),
                "--callees", f"0:{part * len(GATEWAYS)}",
                "--password", PASSWORD, "--expires", str(EXPIRES), "--hold", str(HOLD),
                "--register-rate", str(50 / len(GATEWAYS)), "--seed", str(index),
            )  # fmt: skip
            yield swarm(
                [(address, PORT)], folder, *options,
                namespace=add(number, NODES, GATEWAYS[number]), name=f"swarm-{number}",
            )  # fmt: skip

    def _is_settled(self, relays: int) -> bool:
        status = self.installation.json("get", "relayset", "edge")["status"]
        assert isinstance(status, dict)
        counts = [status.get(name, 0) for name in ("replicas", "readyReplicas")]
        return counts == [relays, relays] and len(self.relays()) == relays

    def _add_users(self) -> None:
        secret: Json = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "crowd"},
            "data": {"password": base64.b64encode(PASSWORD.encode()).decode()},
        }
        users = [_user(f"u{number:04}") for number in range(PHONES)]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [secret, *users]})
        self.installation.kubectl("create", "-f", "-", text=text, timeout=300)
        # `kubectl wait` asks for each of them by itself, a few a second
        self.installation.until(
            "all users are stored", lambda: self._ready_users() == PHONES, seconds=300
        )

    def _ready_users(self) -> int:
        path = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        return self.installation.kubectl("get", "sipusers", "-o", path).split().count("True")

    def remove(self) -> None:
        """Take the fleet and the phones' namespaces away."""
        for number in GATEWAYS:
            network.remove_phone(number)
        self.installation.remove()
        roaming.remove(self.cluster)


class Load:
    """Phones at work."""

    def __init__(self, swarms: list[Swarm], tell: Tell, what: str) -> None:
        self.swarms = swarms
        self._tell = tell
        self._what = what
        self.since = 0.0
        self.lost: list[str] = []
        """Whom nobody reached at the end."""

    def register(self) -> None:
        """Register every phone."""
        began = time.monotonic()
        answers = everybody(self.swarms, "start", timeout=180.0)
        took = time.monotonic() - began
        failed: dict[str, str] = {}
        for each in answers:
            failed |= msgspec.convert(each["failed"], dict[str, str])
        self._tell(f"{self._what}: {PHONES} phones registered in {took:.1f} s")
        assert not failed, failed
        self.since = time.time()

    def end(self) -> Report:
        """Stop the calls, call every phone once, and return what was counted, which is told."""
        seconds = time.time() - self.since
        everybody(self.swarms, "stop", timeout=120.0)
        before = added(self.swarms, self.since)
        self._tell(f"{self._what}: {seconds:.0f} s of load; {before.told()}")
        for failure in before.failures[:12]:
            self._tell(f"  {told(failure)}")
        self.lost = self._call_everyone()
        self._tell(f"{self._what}: {len(self.lost)} of {PHONES} phones lost {self.lost[:10]}")
        return before

    def _call_everyone(self) -> list[str]:
        """Call each phone, from another address; returns whom nobody reached."""
        part = PHONES // len(self.swarms)
        names = [f"u{number:04}" for number in range(part * len(self.swarms))]
        names = names[len(names) // 2 :] + names[: len(names) // 2]
        tokens = [
            each.send(
                "call_everyone", users=names[part * index : part * (index + 1)],
                per_second=CALLS_PER_SECOND / len(self.swarms),
            )
            for index, each in enumerate(self.swarms)
        ]  # fmt: skip
        patience = PHONES / CALLS_PER_SECOND + 90
        lost: list[str] = []
        for each, token in zip(self.swarms, tokens, strict=True):
            failed = each.answer(token, patience)["failed"]
            assert isinstance(failed, list)
            lost += [f"{call['callee']}: {call['phase']} {call['cause']}" for call in failed]
        return lost


def told(failure: Failure) -> str:
    """A failure in a line, with the moment at which it began."""
    clock = time.strftime("%H:%M:%S", time.localtime(failure.began))
    return (
        f"{clock} +{failure.at - failure.began:.2f} s {failure.what} {failure.user} to "
        f"{failure.other} {failure.phase}: {failure.cause} ({failure.call_id})"
    )


def node_of(pod: Json) -> str:
    """The name of the node of a pod."""
    return field(pod, "spec", "nodeName")


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready and stays."""
    status = pod["status"]
    assert isinstance(status, dict)
    said = [each["status"] for each in status.get("conditions", ()) if each["type"] == "Ready"]
    return said == ["True"] and not field(pod, "metadata", "deletionTimestamp")


def _container(pod: Json) -> Json:
    status = pod["status"]
    assert isinstance(status, dict)
    found: Json = next(iter(status.get("containerStatuses", ())), {})
    return found


def names_of(pods: list[Json]) -> list[str]:
    """The names of objects."""
    return [name_of(each) for each in pods]


def _user(name: str) -> Json:
    reference = {"name": "crowd"}
    return ours(
        "SipUser", name,
        {"overlayRef": {"name": "voice"}, "user": name, "passwordSecretRef": reference},
    )  # fmt: skip
