"""One overlay, five seeds and three relays behind a balancer, for tests that do not break it.

A relay stands on every node, and the Service keeps to the node that a packet reaches: through
which node a phone goes decides at which relay it is. The balancer is the test itself, which gives
the Service its address. What may take the fleet apart must never be put here.
"""

import base64
import json
import urllib.request
from pathlib import Path

from tests.cluster.harness import network
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.harness.parts import installed
from tests.cluster.installation import Installation, field, name_of, ours, relay_set

DOMAIN = "chordial.test"
NAMESPACE = "proofs"
BALANCER = "192.168.78.70"
UDP, TCP, TLS = 5060, 5060, 5061
SEEDS, RELAYS = 5, 3
MAX_EXPIRES = 1200
"""Seconds; a part of it is far more than three minutes, in which a phone has nothing to say."""
ON_EVERY_NODE = {
    "topologyKey": "kubernetes.io/hostname",
    "maxSkew": 1,
    "whenUnsatisfiable": "DoNotSchedule",
    "nodeTaintsPolicy": "Honor",
}
PEERS = "chordial.dev/overlay=voice"
RELAY_PODS = "chordial.dev/set=edge"


class Fleet:
    """An overlay that is Ready, and how phones reach it."""

    def __init__(self, cluster: Cluster, namespace: str = NAMESPACE, at: str = BALANCER) -> None:
        self.cluster = cluster
        self.installation = Installation(cluster, namespace)
        self.address = at

    def start(self) -> None:
        """Install the chart and the relays, and return when all is Ready."""
        self.installation.remove()
        self.installation.install("--set", "bootstrapSet.spec.drain.timeout=10s")
        self.installation.apply(
            relay_set(
                replicas=RELAYS,
                listeners=[
                    {"name": "udp", "transport": "UDP", "port": UDP},
                    {"name": "tcp", "transport": "TCP", "port": TCP},
                    {"name": "tls", "transport": "TLS", "port": TLS},
                ],
                exposure={"type": "LoadBalancer"},
                registration={"maxExpires": f"{MAX_EXPIRES}s"},
                drain={"timeout": "10s"},
                topologySpreadConstraints=[ON_EVERY_NODE],
            )
        )
        self.installation.wait("--for=create", "service/edge")
        self.give_address()
        self.wait_ready()

    def give_address(self) -> None:
        """Do what a cloud's load balancer does: tell the Service its address."""
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": self.address}]}}}
        self.installation.kubectl(
            "patch", "service", "edge", "--subresource=status", "--type=merge",
            f"--patch={json.dumps(ingress)}",
        )  # fmt: skip

    def wait_ready(self) -> None:
        """Return when overlay and relays are Ready, and phones are told the balancer's address."""
        for name in ("overlay/voice", "bootstrapset/seed", "relayset/edge"):
            self.installation.wait_ready(name)
        self.installation.wait(
            f"--for=jsonpath={{.status.advertised[0].address}}={self.address}", "relayset/edge"
        )

    def add_users(self, *names: str) -> None:
        """Make users, each with the password that `password` tells, and wait for them."""
        objects: list[Json] = []
        for name in names:
            objects += [_secret(name), _user(name)]
        self.installation.apply(*objects)
        self.installation.wait("--for=condition=Ready", *(f"sipuser/{name}" for name in names))

    def peers(self, selector: str = PEERS) -> list[Json]:
        """The pods of its peers."""
        return self.installation.pods(selector)

    def pod_on(self, node: int) -> tuple[str, str]:
        """The relay on a node: the names of its pod and address."""
        found = {field(each, "spec", "nodeName"): each for each in self.peers(RELAY_PODS)}
        pod = found[f"node-{node}"]
        return name_of(pod), field(pod, "status", "podIP")

    def metric(self, node: int, name: str) -> float:
        """A metric of the relay on a node, over all its labels."""
        with urllib.request.urlopen(f"http://{self.pod_on(node)[1]}:8080/metrics") as page:
            lines = page.read().decode().splitlines()
        values = (line.rpartition(" ") for line in lines if line.startswith(name))
        return sum(float(value) for _, _, value in values)

    def forget_flow(self, phone: int, node: int) -> None:
        """Delete what a node remembers of the datagrams of a phone."""
        network.run_in(
            network.node_namespace(node), installed("conntrack"), "-D", "-p", "udp",
            "-s", network.phone_address(phone),
        )  # fmt: skip

    def roots(self, folder: Path) -> Path:
        """The overlay's authorities in a file."""
        data = self.installation.json("get", "configmap", "voice-bundle")["data"]
        assert isinstance(data, dict)
        path = folder / "roots.pem"
        path.write_text(data["roots.pem"])
        return path

    def go_through(self, phone: int, node: int) -> None:
        """Let what a phone sends to the balancer reach another node from now on."""
        for namespace in (f"{network.PREFIX}-r{phone}", f"{network.PREFIX}-p{phone}"):
            if namespace in network.namespaces():
                network.route(namespace, network.BALANCERS, network.node_address(node))
                return


def password(user: str) -> str:
    """The password of a user of the fleet."""
    return f"{user}pw"


def _secret(name: str) -> Json:
    text = base64.b64encode(password(name).encode()).decode()
    metadata = {"name": f"{name}-password"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": text}}


def _user(name: str) -> Json:
    reference = {"name": f"{name}-password"}
    spec: Json = {"overlayRef": {"name": "voice"}, "user": name, "passwordSecretRef": reference}
    return ours("SipUser", name, spec)
