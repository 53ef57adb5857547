"""Proof 8: who is no peer gets nothing, and who listens between two pods reads nothing.

The pod of another namespace is the best that an outsider can have: the image of a peer, an account
of the same name, a token for the same audience. The copy of a volume is `test_impostor.py`'s.
"""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from chordial_node.boundary.control import AskStatus, StatusAnswer
from chordial_node.boundary.enrollment import EnrollmentRequest
from chordial_node.client import PeerClient, PeerUnreachableError
from chordial_node.security.authority import (
    Authority,
    Term,
    certificate_request,
    make_private_key,
    public_key_of,
)
from chordial_node.security.certificates import Role
from chordial_node.wire.enrollment_codec import PATH, encode_request
from tests.cluster.fleet import NAMESPACE, UDP, Fleet, password
from tests.cluster.harness import images, network
from tests.cluster.harness.cluster import NODES
from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import field
from tests.cluster.phones import foreign
from tests.cluster.phones.capture import CaptureError, Segment, capturing, texts
from tests.cluster.phones.foreign import Edge
from tests.integration import sipp
from tests.integration.rig import wait_for

pytestmark = [
    pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("quiet_phone"),
]  # fmt: skip

OTHERS = "outsiders"
ENROLLMENT = "chordial-operator"
OVERLAY = f"{NAMESPACE}.voice"
ACCOUNT = "voice-peer"
OVERLAY_PORT, ENROLLMENT_PORT, SIP_PEER_PORT = 6084, 6085, 5081
REFUSED = "chordial_edge_refused_total"
POD_NETWORKS = "10.244."
CALLER, CALLEE = 76, 77


def stranger(name: str) -> Json:
    """A pod with a peer's image and account that no set has made."""
    wait = "import time; time.sleep(600)"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "stranger",
                    "image": images.name_of("node"),
                    "command": ["python", "-c", wait],
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def strangers(fleet: Fleet) -> Iterator[dict[str, str]]:
    """The tokens of strangers, by what is wrong with them."""
    kubectl = fleet.cluster.kubectl
    account: Json = {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT},
    }  # fmt: skip
    kubectl("create", "namespace", OTHERS)
    try:
        listed = {"apiVersion": "v1", "kind": "List", "items": [account, stranger("stranger")]}
        kubectl("apply", f"--namespace={OTHERS}", "-f", "-", text=json.dumps(listed))
        fleet.installation.apply(stranger("stranger"))
        for namespace in (OTHERS, NAMESPACE):
            kubectl.wait("--for=condition=Ready", "pod/stranger", f"--namespace={namespace}")
        foreign_token = token(fleet, OTHERS, "stranger")
        peer = field(fleet.peers()[0], "metadata", "name")
        real = token(fleet, NAMESPACE, peer)
        yield {
            "another namespace's pod": foreign_token,
            "a pod that no set has made": token(fleet, NAMESPACE, "stranger"),
            "an account without a pod": token(fleet, NAMESPACE, ""),
            "another audience": token(fleet, NAMESPACE, peer, audience="other"),
            "a forged signature": forged(real),
            "no token at all": "",
        }
    finally:
        fleet.installation.kubectl("delete", "pod", "stranger", "--ignore-not-found")
        kubectl("delete", "namespace", OTHERS, "--ignore-not-found", timeout=100)


def token(fleet: Fleet, namespace: str, pod: str, audience: str = "chordial") -> str:
    """A token of the peers' account as the API server makes it, bound to a pod if one is named."""
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    return fleet.cluster.kubectl(
        "create", "token", ACCOUNT, f"--namespace={namespace}", f"--audience={audience}", *bound
    ).strip()


def forged(real: str) -> str:
    """A token with everything right but its signature."""
    head, _, signature = real.rpartition(".")
    return f"{head}.{signature[::-1]}"


REFUSALS = {
    "another namespace's pod": "not made by a StatefulSet|does not look after",
    "a pod that no set has made": "not made by a StatefulSet",
    "an account without a pod": "bound to no pod",
    "another audience": "audience",
    "a forged signature": "does not know the token",
    "no token at all": "no token",
}


@pytest.mark.parametrize("what", list(REFUSALS))
def test_strangers_get_no_certificate(fleet: Fleet, strangers: dict[str, str], what: str) -> None:
    with pytest.raises(grpc.RpcError, match=REFUSALS[what]):
        ask_for_certificate(fleet, strangers[what])


def ask_for_certificate(fleet: Fleet, shown: str) -> bytes:
    """Ask the operator as a pod does."""
    service = fleet.installation.json("get", "service", ENROLLMENT)
    bundle = fleet.installation.json("get", "configmap", "voice-bundle")["data"]
    assert isinstance(bundle, dict)
    request = EnrollmentRequest(OVERLAY, shown, certificate_request(make_private_key()))
    name = f"{ENROLLMENT}.{NAMESPACE}.svc"
    with grpc.secure_channel(
        f"{field(service, 'spec', 'clusterIP')}:{ENROLLMENT_PORT}",
        grpc.ssl_channel_credentials(root_certificates=bundle["enrollment.pem"].encode()),
        (("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)),
    ) as channel:
        ask = channel.unary_unary(PATH, encode_request, bytes)
        answer: bytes = ask(request, timeout=10)
        return answer


@pytest.mark.parametrize("port", [OVERLAY_PORT, SIP_PEER_PORT])
def test_without_a_certificate_a_peers_ports_say_nothing(fleet: Fleet, port: int) -> None:
    before = fleet.metric(1, REFUSED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if port == OVERLAY_PORT else "sip"])
    said = b""
    with (
        suppress(OSError),  # with TLS 1.3 the refusal comes after the handshake
        socket.create_connection((fleet.pod_on(1)[1], port), 10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"OPTIONS sip:chordial.test SIP/2.0\r\n\r\n")
        said = connection.recv(100)
    assert said == b""
    wait_for(lambda: fleet.metric(1, REFUSED) > before)


def test_a_certificate_of_another_authority_opens_no_control_service(fleet: Fleet) -> None:
    own = Authority.make(OVERLAY, _term(1))
    key = make_private_key()
    shown = own.issue_user(public_key_of(key), Role.ADMIN, "eve", _term(2))
    bundle = fleet.installation.json("get", "configmap", "voice-bundle")["data"]
    assert isinstance(bundle, dict)
    trusted = bundle["roots.pem"].encode()
    target = (fleet.pod_on(1)[1], OVERLAY_PORT)

    async def ask() -> None:
        async with PeerClient(target, trusted=trusted, certificate=shown, key=key) as client:
            await client.ask_for(AskStatus(), StatusAnswer)

    with pytest.raises(PeerUnreachableError):
        asyncio.run(ask())


def _term(serial: int) -> Term:
    return Term(time.time(), 3_600.0, (1 << 70) + serial)


def test_between_two_pods_nothing_can_be_read_while_the_phones_own_leg_shows(
    fleet: Fleet, tmp_path: Path
) -> None:
    addresses = [fleet.pod_on(node)[1] for node in (1, 2)]
    pods = " or ".join(f"host {address}" for address in addresses)
    for number in (CALLER, CALLEE):
        network.remove_phone(number)
    caller, callee = (
        network.add_phone(number, NODES, gateway=number - 75) for number in (CALLER, CALLEE)
    )
    try:
        with capturing(
            tmp_path / "pods.pcap", f"({pods}) and not port 8080",
            namespace=network.node_namespace(1),
        ) as capture, foreign.answering(tmp_path, callee):  # fmt: skip
            fleet.add_users("harald", "ida")
            edge = Edge(fleet.address, UDP)
            assert foreign.register(tmp_path, callee, edge, ["ida"]) == sipp.Counts(1, 0, 0)
            called = foreign.call(tmp_path, caller, edge, [("harald", "ida")], "-d", "500")
            assert called == sipp.Counts(1, 0, 0)
        everything = capture.segments()
    finally:
        for number in (CALLER, CALLEE):
            network.remove_phone(number)
    between = [each for each in everything if is_between_pods(each)]
    phones = texts([each for each in everything if not is_between_pods(each)])
    assert any(b"INVITE sip:ida@" in each for each in phones), "the capture proves nothing"
    ports = {port for each in between for port in (each.source[1], each.destination[1])}
    assert {OVERLAY_PORT, SIP_PEER_PORT} <= ports
    hidden = (b"SIP/2.0", b"sip:", b"harald", b"ida@", b"chordial.link", b"INVITE")
    require_hidden(texts(between), hidden)
    require_hidden(texts(everything), [password(user).encode() for user in ("harald", "ida")])


def is_between_pods(segment: Segment) -> bool:
    ends = segment.source[0], segment.destination[0]
    return all(address.startswith(POD_NETWORKS) for address in ends)


def require_hidden(streams: list[bytes], words: Sequence[bytes]) -> None:
    for word in words:
        for stream in streams:
            place = stream.find(word)
            if place >= 0:
                around = stream[max(place - 100, 0) : place + 100]
                raise CaptureError(f"the capture shows {word!r}: …{around!r}…")
