"""The cluster itself: nodes, pods from our image, DNS, volumes, cables, phones."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import images, network
from tests.cluster.harness.cluster import NODES, Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.harness.storage import VOLUMES_PER_NODE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PYTHON = "/opt/chordial/bin/python"
PHONE = 90
PORT = 8000
ANSWER_PEER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
http.server.HTTPServer(("", 8000), Answer).serve_forever()
"""
ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that is gone after the test."""
    name = "smoke"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl.wait("--for=create", "serviceaccount/default", f"--namespace={name}")
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=60s", timeout=70)


def pod(name: str, *command: str, node: str | None = None, **more: object) -> Json:
    """A pod of the node image as strict as ours will be; its entry point unless told otherwise."""
    container: Json = {
        "name": "main",
        "image": images.name_of("node"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            **({"nodeName": node} if node else {}),
        },
    }


def apply(cluster: Cluster, namespace: str, *objects: Json) -> None:
    for entry in objects:
        metadata = entry["metadata"]
        assert isinstance(metadata, dict)
        metadata["namespace"] = namespace
    cluster.kubectl.apply(*objects)


def finished(cluster: Cluster, namespace: str, name: str) -> str:
    """What a pod wrote until it succeeded."""
    cluster.kubectl.wait(
        "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", f"--namespace={namespace}"
    )
    return cluster.kubectl("logs", name, f"--namespace={namespace}").strip()


def test_three_nodes_are_ready(cluster: Cluster) -> None:
    cluster.wait_ready()
    names = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert names == ["node-1", "node-2", "node-3"]


def test_node_image_runs_on_every_node(cluster: Cluster, namespace: str) -> None:
    named = [(worker.name, f"version-{worker.number}") for worker in cluster.workers]
    pods = [pod(name, node=node, args=["--version"]) for node, name in named]
    apply(cluster, namespace, *pods)
    assert [finished(cluster, namespace, name) for _, name in named] == ["chordial 0.1.0"] * NODES


def test_node_image_has_a_digest(cluster: Cluster, namespace: str) -> None:
    image = images.name_of("node")
    digest = cluster.workers[0].digest_of(image)
    by_digest = f"{image.rpartition(':')[0]}@{digest}"
    apply(cluster, namespace, pod("digest", image=by_digest, args=["--version"]))
    assert finished(cluster, namespace, "digest") == "chordial 0.1.0"


def test_operator_image_runs(cluster: Cluster, namespace: str) -> None:
    wanted = "import chordial_operator, kopf, kubernetes.aio; print('there')"
    command = pod("operator", PYTHON, "-c", wanted, image=images.name_of("operator"))
    apply(cluster, namespace, command)
    assert finished(cluster, namespace, "operator") == "there"


def test_a_service_is_found_by_name(cluster: Cluster, namespace: str) -> None:
    wanted = "import socket; print(socket.gethostbyname('kubernetes.default'))"
    apply(cluster, namespace, pod("resolve", PYTHON, "-c", wanted))
    assert finished(cluster, namespace, "resolve") == "10.96.0.1"


def test_phones_reach_a_service_also_from_behind_a_nat(cluster: Cluster, namespace: str) -> None:
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "answer"},
        "spec": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "selector": {"app": "answer"},
            "ports": [{"port": PORT}],
        },
    }
    answer = pod("answer", PYTHON, "-c", ANSWER_PEER, node="node-2")
    apply(cluster, namespace, answer, service)
    where = f"--namespace={namespace}"
    cluster.kubectl.wait("--for=condition=Ready", "pod/answer", where)
    spec = "jsonpath={.spec.ports[0].nodePort}"
    port = cluster.kubectl("get", "service", "answer", where, "-o", spec)
    cluster.kubectl.wait(
        "--for=jsonpath={.endpoints[0].conditions.ready}=true", "endpointslice",
        "--selector=kubernetes.io/service-name=answer", where,
    )  # fmt: skip
    url = f"http://{network.node_address(2)}:{port}/"
    for add in (network.add_phone, network.add_phone_behind_nat):
        phone = add(PHONE, NODES)
        try:
            seen = network.run_in(phone, sys.executable, "-c", ASK, url).strip()
            assert seen == network.phone_address(PHONE)  # neither the NAT's inside nor a node
        finally:
            network.remove_phone(PHONE)


def test_a_volume_is_made_again_when_its_claim_is_gone(cluster: Cluster, namespace: str) -> None:
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    writer = pod("writer", PYTHON, "-c", "open('/data/x', 'w').close()",
                 volumeMounts=[{"name": "data", "mountPath": "/data"}])  # fmt: skip
    spec = writer["spec"]
    assert isinstance(spec, dict)
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec["securityContext"]["fsGroup"] = 10001
    apply(cluster, namespace, claim, writer)
    finished(cluster, namespace, "writer")
    where = f"--namespace={namespace}"
    volume = cluster.kubectl("get", "pvc", "data", where, "-o", "jsonpath={.spec.volumeName}")
    path = Path(cluster.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.local.path}"))
    assert [entry.name for entry in path.iterdir()] == ["x"]
    cluster.kubectl("delete", "pod/writer", "pvc/data", where)
    cluster.kubectl.wait("--for=jsonpath={.status.phase}=Available", f"pv/{volume}")
    assert not list(path.iterdir())
    phases = cluster.kubectl("get", "pv", "-o", "jsonpath={.items[*].status.phase}").split()
    assert len(phases) == NODES * VOLUMES_PER_NODE


def test_a_node_without_its_cable_is_not_ready(cluster: Cluster) -> None:
    network.pull_cable(3)
    try:
        cluster.kubectl.wait("--for=condition=Ready=Unknown", "node/node-3", seconds=60)
    finally:
        network.plug_cable(3)
    cluster.wait_ready()
