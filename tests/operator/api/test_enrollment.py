"""Enrollment against a real API server: real tokens bound to real pods, reviewed and read live.

No pod runs here: their objects are enough, because a token is bound to the object.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import new_client_from_config

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.ids import node_id
from chordial_node.security.authority import certificate_request, make_private_key, public_key_of
from chordial_node.security.certificates import Trust, claims_of
from chordial_operator.cluster.errors import ForbiddenError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.kubernetes import KubernetesCluster
from chordial_operator.enrollment.checks import EnrollmentRefusedError, Reason
from chordial_operator.enrollment.desk import EnrollmentDesk
from chordial_operator.enrollment.rotation import founded
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay, parse_overlay
from tests.cluster.harness.api_server import ApiServer
from tests.cluster.harness.kubectl import Json
from tests.node.adapters.overlay_rig import on_a_loop

ROOT = Path(__file__).parents[3]
CRDS = ROOT / "charts" / "chordial" / "files" / "crds"
OPERATOR = "enrollment-system"
NODE_ID = "0123456789abcdef0123456789abcdef"
GROUP = "chordial.dev/v1alpha1"


class Phones:
    """A namespace with an overlay `voice`, a set `edge` and one peer's objects in it."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.kubectl = server.kubectl

    def make(self) -> None:
        self.kubectl("create", "namespace", self.namespace)
        for account in ("voice-peer", "stranger"):
            self.kubectl("create", "serviceaccount", account, f"--namespace={self.namespace}")
        self.create(
            {"apiVersion": GROUP, "kind": "Overlay", "metadata": {"name": "voice"},
             "spec": {"domains": ["voice.example.org"]}}
        )  # fmt: skip
        relays = self.create(
            {"apiVersion": GROUP, "kind": "RelaySet", "metadata": {"name": "edge"},
             "spec": {"overlayRef": {"name": "voice"},
                      "listeners": [{"name": "udp", "transport": "UDP", "port": 5060}]}}
        )  # fmt: skip
        self.create(
            {"apiVersion": "apps/v1", "kind": "StatefulSet",
             "metadata": {"name": "edge-0", "annotations": {"chordial.dev/node-id": NODE_ID},
                          "ownerReferences": [_owner(GROUP, relays)]},
             "spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "voice-peers",
                      "template": {"metadata": {"labels": {"a": "b"}},
                                   "spec": {"containers": [_CONTAINER]}}}}
        )  # fmt: skip
        self.make_pod()

    def make_pod(self, name: str = "edge-0-0", account: str = "voice-peer") -> None:
        owner = self.kubectl.json("get", "statefulset", "edge-0", f"--namespace={self.namespace}")
        self.create(
            {"apiVersion": "v1", "kind": "Pod",
             "metadata": {"name": name, "ownerReferences": [_owner("apps/v1", owner)]},
             "spec": {"serviceAccountName": account, "nodeName": "worker-1",
                      "automountServiceAccountToken": False, "containers": [_CONTAINER]}}
        )  # fmt: skip

    def delete_pod(self, name: str = "edge-0-0") -> None:
        self.kubectl(
            "delete", "pod", name, f"--namespace={self.namespace}", "--grace-period=0", "--force"
        )

    def create(self, body: Json) -> Json:
        said = self.kubectl(
            "create", f"--namespace={self.namespace}", "-o", "json", "-f", "-",
            text=json.dumps(body),
        )  # fmt: skip
        made: Json = json.loads(said)
        return made

    def token(
        self, pod: str = "edge-0-0", account: str = "voice-peer", audience: str = "chordial"
    ) -> str:
        """A token as the kubelet projects it; no pod: bound to none."""
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}") if pod else ()
        said = self.kubectl(
            "create", "token", account, f"--namespace={self.namespace}",
            f"--audience={audience}", *bound,
        )  # fmt: skip
        return said.strip()

    def request(self, token: str, key: bytes | None = None) -> EnrollmentRequest:
        wanted = certificate_request(key or make_private_key())
        return EnrollmentRequest(f"{self.namespace}.voice", token, wanted)

    def overlay(self) -> Overlay:
        return parse_overlay(
            self.kubectl.json("get", "overlay", "voice", f"--namespace={self.namespace}")
        )

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[EnrollmentDesk]:
        """One replica of the operator."""
        async with self.client() as client:
            cluster = KubernetesCluster(client)
            yield EnrollmentDesk(cluster, AuthorityStore(cluster, OPERATOR))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ApiClient]:
        made = await new_client_from_config(config_file=str(self.server.kubeconfig))
        async with made as client:
            yield client

    async def refused(self, request: EnrollmentRequest) -> Reason:
        async with self.desk() as desk:
            with pytest.raises(EnrollmentRefusedError) as refused:
                await desk.enroll(request, "192.0.2.1")
        return refused.value.reason

    async def enroll(self, request: EnrollmentRequest) -> Enrolled:
        async with self.desk() as desk:
            return await desk.enroll(request, "192.0.2.1")


_CONTAINER: Json = {"name": "peer", "image": "chordial/node"}


def _owner(api_version: str, body: Json) -> Json:
    meta = body["metadata"]
    assert isinstance(meta, dict)
    return {
        "apiVersion": api_version, "kind": body["kind"], "name": meta["name"], "uid": meta["uid"],
        "controller": True,
    }  # fmt: skip


@pytest.fixture(scope="module")
def definitions(api_server: ApiServer) -> ApiServer:
    """The API server with our kinds, the operator's namespace and a Node with a zone."""
    api_server.kubectl("apply", "--server-side", f"--filename={CRDS}")
    api_server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    labels = {"topology.kubernetes.io/zone": "a"}
    for kind, name in (("Namespace", OPERATOR), ("Node", "worker-1")):
        api_server.kubectl.apply(
            {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}}
        )
    return api_server


@pytest.fixture
def phones(definitions: ApiServer, request: pytest.FixtureRequest) -> Iterator[Phones]:
    """A new overlay in a namespace of the test's own."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50].rstrip("-")
    made = Phones(definitions, name)
    made.make()
    yield made
    definitions.kubectl("delete", "namespace", name, "--wait=false")


@on_a_loop
async def test_a_living_peer_is_enrolled_and_renewed(phones: Phones) -> None:
    key = make_private_key()
    first = await phones.enroll(phones.request(phones.token(), key))
    shown = Trust(f"{phones.namespace}.voice", first.trusted).identity_of(
        first.certificate, claims_of(first.certificate).not_after - 60
    )
    assert (shown.node_id, shown.public_key) == (node_id(NODE_ID), public_key_of(key))
    assert first.failure_domain == "a/worker-1"
    again = await phones.enroll(phones.request(phones.token(), key))
    assert again.trusted == first.trusted
    assert again.certificate != first.certificate


@on_a_loop
async def test_strangers_get_nothing(phones: Phones) -> None:
    phones.make_pod("stranger", "stranger")
    table = [
        (phones.token(pod=""), Reason.NO_POD),
        (phones.token(audience="https://kubernetes.default.svc"), Reason.NOT_AUTHENTICATED),
        (phones.token("stranger", "stranger"), Reason.OTHER_ACCOUNT),
        (phones.token()[:-4] + "AAAA", Reason.NOT_AUTHENTICATED),
        ("forged", Reason.NOT_AUTHENTICATED),
    ]
    for token, reason in table:
        assert await phones.refused(phones.request(token)) is reason


@on_a_loop
async def test_another_namespaces_peer_gets_nothing_of_ours(phones: Phones) -> None:
    other = Phones(phones.server, f"{phones.namespace}-x")
    other.make()
    foreign = phones.request(other.token())
    assert await phones.refused(foreign) is Reason.OTHER_OVERLAY


@on_a_loop
async def test_the_token_of_a_pod_that_is_gone_is_worth_nothing_at_once(phones: Phones) -> None:
    """The API server may go on believing the token for ten seconds; the pod is read live."""
    token = phones.token()
    key = make_private_key()
    await phones.enroll(phones.request(token, key))
    phones.delete_pod()
    gone = await phones.refused(phones.request(token, key))
    assert gone in (Reason.POD_GONE, Reason.NOT_AUTHENTICATED)
    phones.make_pod()
    replaced = await phones.refused(phones.request(token, key))
    assert replaced in (Reason.POD_REPLACED, Reason.NOT_AUTHENTICATED)


@on_a_loop
async def test_one_node_id_has_one_key_whoever_signs(phones: Phones) -> None:
    token = phones.token()
    async with phones.desk() as one, phones.desk() as other:
        answers = await asyncio.gather(
            one.enroll(phones.request(token), "192.0.2.1"),
            other.enroll(phones.request(token), "192.0.2.1"),
            return_exceptions=True,
        )
    issued = [each for each in answers if isinstance(each, Enrolled)]
    refused = [each for each in answers if isinstance(each, EnrollmentRefusedError)]
    assert len(issued) == 1
    assert [each.reason for each in refused] == [Reason.KEY_TAKEN]
    phones.delete_pod()
    phones.make_pod()
    taken_over = await phones.enroll(phones.request(phones.token()))
    assert claims_of(taken_over.certificate).node_id == node_id(NODE_ID)


@on_a_loop
async def test_without_a_right_to_token_reviews_the_issuers_keys_judge(phones: Phones) -> None:
    class Namespaced(KubernetesCluster):
        async def review_token(self, token: str, audience: str) -> Manifest:
            raise ForbiddenError("tokenreviews is forbidden")

    async with phones.client() as client:
        cluster = Namespaced(client)
        desk = EnrollmentDesk(cluster, AuthorityStore(cluster, OPERATOR))
        enrolled = await desk.enroll(phones.request(phones.token()), "192.0.2.1")
        assert claims_of(enrolled.certificate).node_id == node_id(NODE_ID)
        for token, reason in (
            (phones.token(pod=""), Reason.NO_POD),
            (phones.token(audience="https://kubernetes.default.svc"), Reason.NOT_AUTHENTICATED),
            (phones.token()[:-4] + "AAAA", Reason.NOT_AUTHENTICATED),
        ):
            with pytest.raises(EnrollmentRefusedError) as refused:
                await desk.enroll(phones.request(token), "192.0.2.1")
            assert refused.value.reason is reason


@on_a_loop
async def test_two_stores_at_once_make_one_authority(phones: Phones) -> None:
    overlay = phones.overlay()
    async with phones.client() as client:
        cluster = KubernetesCluster(client)
        stores = [AuthorityStore(cluster, OPERATOR) for _ in range(4)]
        opened = await asyncio.gather(*(store.open(overlay) for store in stores))
        assert len({identity.instance_id for identity, _ in opened}) == 1
        await asyncio.gather(
            *(store.change(overlay, lambda record: founded(record, 5.0)) for store in stores)
        )
        assert (await AuthorityStore(cluster, OPERATOR).open(overlay))[0].founded_at == 5.0
        secret = await cluster.get(Ref("Secret", OPERATOR, f"ca-{phones.namespace}-voice"))
        assert "ownerReferences" not in secret["metadata"]
        await stores[0].delete(phones.namespace, "voice")
        await stores[0].delete(phones.namespace, "voice")
