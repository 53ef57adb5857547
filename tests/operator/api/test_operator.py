"""The operator's own process against a real API server: what it makes, mends and leaves alone.

Pods never run here, so no peer is ever ready: what needs living peers is shown on a cluster.
"""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chordial_node.pod_config import parse_pod
from chordial_operator.spec.manifest import Manifest
from tests.cluster.harness.api_server import ApiServer
from tests.fleet_pages import operator_metrics
from tests.operator.api.operator_process import OperatorProcess, until
from tests.operator.specs import UDP

CRDS = Path(__file__).parents[3] / "charts" / "chordial" / "files" / "crds"
CHILDREN = "statefulsets,persistentvolumeclaims,services,configmaps,poddisruptionbudgets," + (
    "networkpolicies,serviceaccounts"
)
EVERYTHING = f"overlays,bootstrapsets,relaysets,sipusers,secrets,pods,{CHILDREN}"
REPAIRED_SECONDS = 5.0
"""The goal is one; a busy machine is given more, and kubectl's own time is in it."""
MOST_REQUESTS = 40
"""Of a start that finds all as it should be: what is not watched is read, and the lease taken."""


class Place:
    """A namespace of one test, and what is asked of it."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace

    def apply(self, kind: str, name: str, spec: Manifest, **annotations: str) -> None:
        body = {
            "apiVersion": "chordial.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations},
            "spec": spec,
        }
        self.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(body))

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        said: str = self.server.kubectl(f"--namespace={self.namespace}", *arguments, text=text)
        return said

    def items(self, kinds: str) -> list[Manifest]:
        found: list[Manifest] = json.loads(self.kubectl("get", kinds, "-o", "json"))["items"]
        return found

    def names(self, kind: str) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self.items(kind))

    def one(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def condition(self, kind: str, name: str, wanted: str) -> Manifest:
        conditions = self.one(kind, name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == wanted), {})

    def versions(self) -> dict[str, str]:
        """The resourceVersion of every object, the lease and default ones apart."""
        return {
            f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for each in self.items(EVERYTHING)
        }

    def overlay(self, **spec: object) -> None:
        self.apply("Overlay", "voice", {"domains": ["voice.example.org"], **spec})

    def seeds(self, **spec: object) -> None:
        self.apply("BootstrapSet", "seed", {"overlayRef": {"name": "voice"}, **spec})

    def relays(self, **spec: object) -> None:
        listeners = {"listeners": [UDP], **spec}
        self.apply("RelaySet", "edge", {"overlayRef": {"name": "voice"}, **listeners})


@pytest.fixture(scope="module")
def definitions(api_server: ApiServer) -> ApiServer:
    api_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return api_server


@pytest.fixture
def place(definitions: ApiServer, request: pytest.FixtureRequest) -> Place:
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60].rstrip("-")
    definitions.kubectl("create", "namespace", name)
    return Place(definitions, name)


@pytest.fixture
def operator(place: Place, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(place.server, place.namespace, tmp_path)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def test_an_overlay_and_its_seeds_bring_everything(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.seeds()
    seeds = [f"seed-{number}" for number in range(5)]
    until(lambda: place.names("statefulsets") == seeds)
    assert place.names("persistentvolumeclaims") == seeds
    assert place.names("configmaps") == ["seed-config", "voice-bundle"]
    assert place.names("services") == ["voice-peers"]
    assert place.names("poddisruptionbudgets") == ["voice"]
    assert place.names("networkpolicies") == ["voice-peers"]
    assert place.names("serviceaccounts") == ["voice-peer"]
    assert place.names("secrets") == [
        f"ca-{place.namespace}-voice",
        "chordial-enrollment",
        "voice-admin",
    ]
    node_ids = [
        each["metadata"]["annotations"]["chordial.dev/node-id"]
        for each in place.items("statefulsets")
    ]
    assert len({*node_ids}) == 5
    parse_pod(place.one("configmap", "seed-config")["data"]["peer.json"])
    until(lambda: place.condition("overlay", "voice", "Ready").get("status") == "False")
    assert place.one("bootstrapset", "seed")["status"]["observedGeneration"] == 1


def test_every_metric_is_in_the_docs(place: Place, operator: OperatorProcess) -> None:
    said = until(lambda: operator.get("/metrics"))
    names = [line.split()[2] for line in said.splitlines() if line.startswith("# TYPE ")]
    assert names == [each.name for each in operator_metrics()]


def test_no_object_gets_a_finalizer(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.seeds()
    place.relays()
    place.apply(
        "SipUser", "alice", {"overlayRef": {"name": "voice"}, "user": "alice", "generate": {}}
    )
    until(lambda: len(place.names("statefulsets")) == 7)
    until(lambda: place.condition("sipuser", "alice", "CredentialsReady").get("status") == "True")
    own = "kubernetes.io/pvc-protection"
    assert not {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["finalizers"]
        for each in place.items(EVERYTHING)
        if [name for name in each["metadata"].get("finalizers", []) if name != own]
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("service", "voice-peers"),
        ("configmap", "voice-bundle"),
        ("configmap", "seed-config"),
        ("poddisruptionbudget", "voice"),
        ("networkpolicy", "voice-peers"),
        ("serviceaccount", "voice-peer"),
    ],
)
def test_a_deleted_child_comes_back(
    place: Place, operator: OperatorProcess, kind: str, name: str
) -> None:
    place.overlay()
    place.seeds(replicas=4)
    until(lambda: len(place.names("statefulsets")) == 4)
    uid = place.one(kind, name)["metadata"]["uid"]
    place.kubectl("delete", kind, name)
    until(
        lambda: [
            each["metadata"]["uid"]
            for each in place.items(kind)
            if each["metadata"]["name"] == name and each["metadata"]["uid"] != uid
        ],
        REPAIRED_SECONDS,
    )


def test_an_edited_child_is_mended(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.seeds(replicas=4)
    until(lambda: len(place.names("statefulsets")) == 4)
    edits: list[tuple[str, str, Manifest]] = [
        ("service", "voice-peers", {"spec": {"publishNotReadyAddresses": False}}),
        ("poddisruptionbudget", "voice", {"spec": {"unhealthyPodEvictionPolicy": None}}),
        ("configmap", "seed-config", {"data": {"peer.json": "{}"}}),
        ("statefulset", "seed-1", {"spec": {"replicas": 3}}),
        ("statefulset", "seed-2", {"metadata": {"labels": {"chordial.dev/peer": None}}}),
    ]
    for kind, name, patch in edits:
        before = place.one(kind, name)
        place.kubectl("patch", kind, name, "--type=merge", "--patch", json.dumps(patch))
        wanted = {key: before.get(key) for key in ("spec", "data")}
        wanted["labels"] = before["metadata"]["labels"]

        def mended(kind: str = kind, name: str = name, wanted: Manifest = wanted) -> bool:
            now = place.one(kind, name)
            found = {key: now.get(key) for key in ("spec", "data")}
            return {**found, "labels": now["metadata"]["labels"]} == wanted

        until(mended, REPAIRED_SECONDS)


def test_a_field_that_is_asked_for_no_more_goes(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.relays(exposure={"annotations": {"example.org/a": "b"}})
    until(lambda: "edge" in place.names("services"))
    assert place.one("service", "edge")["metadata"]["annotations"]["example.org/a"] == "b"
    place.relays()
    until(lambda: "example.org/a" not in place.one("service", "edge")["metadata"]["annotations"])


def test_a_restart_changes_nothing(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.seeds()
    place.relays()
    place.apply(
        "SipUser", "alice", {"overlayRef": {"name": "voice"}, "user": "alice", "generate": {}}
    )
    until(lambda: len(place.names("statefulsets")) == 7)
    until(lambda: place.condition("sipuser", "alice", "CredentialsReady").get("status") == "True")
    operator.until_quiet()
    before = place.versions()
    for how in (signal.SIGTERM, signal.SIGKILL):
        operator.stop(how)
        operator.start()
        until(lambda: operator.metric("chordial_operator_leader") == 1, 25.0)
        until(lambda: operator.metric("chordial_operator_turns_total") >= 5)
        operator.until_quiet()
        assert place.versions() == before
        assert operator.metric("chordial_operator_api_requests_total") < MOST_REQUESTS


def test_a_paused_overlay_is_told_of_and_left_alone(
    place: Place, operator: OperatorProcess
) -> None:
    place.overlay(paused=True)
    place.seeds()
    until(lambda: place.condition("overlay", "voice", "Paused").get("status") == "True")
    until(lambda: place.condition("bootstrapset", "seed", "Progressing").get("reason") == "Paused")
    assert place.names("statefulsets") == []
    place.overlay(paused=False)
    until(lambda: len(place.names("statefulsets")) == 5)


def test_a_set_without_its_overlay_says_so_and_goes_on_when_it_comes(
    place: Place, operator: OperatorProcess
) -> None:
    place.seeds(replicas=4)
    until(lambda: place.condition("bootstrapset", "seed", "OverlayNotFound")["status"] == "True")
    place.overlay()
    until(lambda: len(place.names("statefulsets")) == 4)
    until(lambda: place.condition("bootstrapset", "seed", "OverlayNotFound")["status"] == "False")


def test_of_two_sip_users_with_one_user_the_older_wins(
    place: Place, operator: OperatorProcess
) -> None:
    place.overlay()
    spec: Manifest = {"overlayRef": {"name": "voice"}, "user": "alice", "generate": {}}
    place.apply("SipUser", "a-first", spec)
    until(lambda: "a-first-sip" in place.names("secrets"))
    place.apply("SipUser", "b-second", spec)
    until(lambda: place.condition("sipuser", "b-second", "Conflict").get("status") == "True")
    assert place.condition("sipuser", "a-first", "Conflict")["status"] == "False"
    assert "b-second-sip" not in place.names("secrets")


def test_a_password_that_is_missing_is_said_and_then_read(
    place: Place, operator: OperatorProcess
) -> None:
    place.overlay()
    reference = {"name": "bobs", "key": "password"}
    spec: Manifest = {
        "overlayRef": {"name": "voice"},
        "user": "bob",
        "passwordSecretRef": reference,
    }
    place.apply("SipUser", "bob", spec)
    until(lambda: place.condition("sipuser", "bob", "CredentialsReady").get("status") == "False")
    place.kubectl("create", "secret", "generic", "bobs", "--from-literal=password=secret-word")
    until(
        lambda: place.condition("sipuser", "bob", "CredentialsReady").get("status") == "True", 30.0
    )
    assert "secret-word" not in json.dumps(place.one("sipuser", "bob"))
    assert "secret-word" not in operator.log.read_text()


def test_the_charts_first_overlay_is_made_and_never_forced(place: Place, tmp_path: Path) -> None:
    manifest: Manifest = {
        "apiVersion": "chordial.dev/v1alpha1",
        "kind": "Overlay",
        "metadata": {"name": "voice", "namespace": place.namespace},
        "spec": {"domains": ["voice.example.org"], "copies": 3},
    }
    place.kubectl(
        "create", "configmap", "first", f"--from-literal=manifests.json={json.dumps([manifest])}"
    )
    operator = OperatorProcess(
        place.server, place.namespace, tmp_path, more="--first-overlay=first"
    )
    operator.start()
    try:
        until(lambda: place.names("overlays") == ["voice"])
        patch = '{"spec": {"copies": 2}}'
        place.kubectl("patch", "overlay", "voice", "--type=merge", "--patch", patch)
        operator.stop()
        operator.start()
        until(
            lambda: [
                each for each in place.items("events") if each["reason"] == "FirstOverlayConflict"
            ],
            25.0,
        )
        assert place.one("overlay", "voice")["spec"]["copies"] == 2
    finally:
        operator.stop()


def test_of_two_operators_one_reconciles_and_both_are_ready(
    place: Place, operator: OperatorProcess, tmp_path: Path
) -> None:
    second = OperatorProcess(place.server, place.namespace, tmp_path, name="op-1")
    second.start()
    try:
        leaders = [each.metric("chordial_operator_leader") for each in (operator, second)]
        assert leaders == [1.0, 0.0]
        operator.stop()
        until(lambda: second.metric("chordial_operator_leader") == 1.0)
        place.overlay()
        until(lambda: "voice-bundle" in place.names("configmaps"))
    finally:
        second.stop()


def test_fewer_replicas_choose_who_leaves_only_after_a_while(
    place: Place, operator: OperatorProcess
) -> None:
    """No peer is ready here, so the floor forbids it: that is said, and nobody goes."""
    place.overlay()
    place.relays(replicas=3, scaleIn={"stabilization": "1s"})
    until(lambda: len(place.names("statefulsets")) == 3)
    place.kubectl("scale", "relayset/edge", "--replicas=2")
    until(lambda: place.condition("relayset", "edge", "ScalingLimited").get("status") == "True")
    assert len(place.names("statefulsets")) == 3


def test_deleting_an_overlay_keeps_its_authority_unless_it_said_otherwise(
    place: Place, operator: OperatorProcess
) -> None:
    place.overlay()
    secret = f"ca-{place.namespace}-voice"
    until(lambda: secret in place.names("secrets"))
    place.kubectl("delete", "overlay", "voice")
    until(lambda: place.names("overlays") == [])
    place.overlay(deletionPolicy="Delete")
    until(lambda: place.condition("overlay", "voice", "Ready"))
    assert secret in place.names("secrets")
    place.kubectl("delete", "overlay", "voice")
    until(lambda: secret not in place.names("secrets"))


def test_why_pods_are_refused_is_read_from_events(place: Place, operator: OperatorProcess) -> None:
    place.overlay()
    place.seeds()
    until(lambda: "seed-0" in place.names("statefulsets"))
    peer = place.one("statefulset", "seed-0")
    said = 'create Pod seed-0-0 in StatefulSet seed-0 failed error: exceeded quota "small"'
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "seed-0.1", "namespace": place.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": "seed-0",
            "namespace": place.namespace,
            "uid": peer["metadata"]["uid"],
        },
        "reason": "FailedCreate",
        "type": "Warning",
        "message": said,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    place.kubectl("create", "-f", "-", text=json.dumps(event))

    until(
        lambda: said in place.condition("bootstrapset", "seed", "PodsRefused").get("message", ""),
        within=60.0,
    )
