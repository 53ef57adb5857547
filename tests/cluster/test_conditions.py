"""What no definition can refuse, because it spans objects, is told as a condition with its cure.

One overlay of four seeds in a namespace that is "restricted"; what takes time is begun first, and
looked at last.
"""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import ours
from tests.cluster.lifecycle import Fleet, opened, overlay, relays, seeds, timed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "conditions-that-span-two-objects"
LONG_NAME = "an-overlay-whose-name-is-as-long-as-may"
RESTRICTED = {"pod_security.kubernetes.io__enforce": "restricted"}
LISTENS = """
import socket, sys
address = socket.gethostbyname(socket.gethostname())
try:
    socket.create_connection((address, int(sys.argv[1])), 5).close()
    print("served")
except ConnectionRefusedError:
    print("refused")
"""
TCP_AND_TLS = [
    {"name": "tcp", "transport": "TCP", "port": 5060},
    {"name": "tls", "transport": "TLS", "port": 5061, "certificateRef": {"name": "front"}},
]


@pytest.fixture(scope="module")
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    """An overlay, and beside it everything that is wrong."""
    with opened(cluster, NAMESPACE, **RESTRICTED) as made:
        no_class = {"type": "Volume", "storageClassName": "no-such-class"}
        made.apply(
            overlay("voice"),
            seeds("seed", 4),
            relays("classless", 1, storage=no_class),
            relays("hosted", 1, exposure={"type": "HostPort"}),
            relays("front", 1, listeners=TCP_AND_TLS),
            relays("lonely", overlay="nobody"),
            user("early", passwordSecretRef={"name": "absent", "key": "password"}),
            user("alice", generate={"secretName": "alice-sip"}),
            overlay(LONG_NAME),
        )
        with timed("overlay ready in a restricted namespace"):
            made.wait_ready("overlay/voice")
        yield made


def user(name: str, number: str = "", overlay_name: str = "voice", **more: object) -> Json:
    """A SipUser."""
    return ours(
        "SipUser", name, {"overlayRef": {"name": overlay_name}, "user": number or name, **more}
    )


def test_an_overlay_that_is_not_there(fleet: Fleet) -> None:
    assert "no Overlay nobody" in fleet.told("relayset/lonely", "OverlayNotFound")
    assert "create it" in fleet.told("relayset/lonely", "Ready", "False")
    fleet.apply(user("stray", overlay_name="nobody", generate={"secretName": "stray-sip"}))
    assert "no Overlay nobody" in fleet.told("sipuser/stray", "Ready", "False")
    assert fleet.names("statefulset", "chordial.dev/set=lonely") == []


def test_an_overlay_with_a_long_name_has_a_shorter_one_in_certificates(fleet: Fleet) -> None:
    assert len(f"{NAMESPACE}.{LONG_NAME}") > 64
    fleet.told(f"overlay/{LONG_NAME}", "CertificatesReady")


def test_of_two_sets_with_one_name_the_older_keeps_it(fleet: Fleet) -> None:
    fleet.apply(relays("seed", 1))
    told = fleet.told("relayset/seed", "Ready", "False")
    assert "BootstrapSet seed has the names" in told
    assert "delete one of them" in told
    before = fleet.uids("pod", "chordial.dev/set=seed")
    fleet.kubectl("delete", "relayset/seed")
    fleet.settled("bootstrapset/seed", 4)
    assert fleet.uids("pod", "chordial.dev/set=seed") == before


def test_the_same_user_twice(fleet: Fleet) -> None:
    fleet.wait_ready("sipuser/alice", 60)
    fleet.apply(user("second", "alice", generate={"secretName": "second-sip"}))
    assert "SipUser alice is older" in fleet.told("sipuser/second", "Conflict")
    assert fleet.condition("sipuser/alice", "Conflict")["status"] == "False"
    fleet.told("sipuser/second", "Ready", "False")
    fleet.kubectl("delete", "sipuser/alice")
    with timed("the older user deleted, the younger is stored"):
        fleet.wait_ready("sipuser/second", 60)


def test_a_password_that_is_not_there(fleet: Fleet) -> None:
    told = fleet.told("sipuser/early", "CredentialsReady", "False")
    assert "Secret absent does not exist: create it with the key 'password'" in told
    fleet.kubectl("create", "secret", "generic", "absent", "--from-literal=other=x")
    fleet.until("the key is asked for", lambda: "has no key" in _message(fleet), 30)
    fleet.patch("secret/absent", {"stringData": {"password": "not a secret here"}})
    with timed("password written, user stored"):
        fleet.wait_ready("sipuser/early", 60)


def test_a_certificate_that_is_not_there(fleet: Fleet) -> None:
    told = fleet.told("relayset/front", "CertificatesReady", "False")
    assert "tls (Secret front)" in told
    fleet.settled("relayset/front", 1)
    pods = fleet.uids("pod", "chordial.dev/set=front")
    (pod,) = pods
    assert fleet.in_pod(pod, LISTENS, "5060") == "served"
    assert fleet.in_pod(pod, LISTENS, "5061") == "refused"


def test_pods_that_are_refused(fleet: Fleet) -> None:
    told = fleet.told("relayset/hosted", "PodsRefused", seconds=60)
    assert "host ports need a namespace whose Pod Security level is privileged" in told
    assert fleet.condition("relayset/hosted", "Ready")["reason"] == "PodsRefused"


def test_volumes_that_nobody_makes(fleet: Fleet) -> None:
    told = fleet.told("relayset/classless", "VolumesPending", seconds=100)
    assert "classless-0" in told
    assert "StorageClass" in told
    assert fleet.condition("relayset/classless", "Ready")["reason"] == "VolumesPending"


def test_what_is_wrong_goes_away_clean(fleet: Fleet) -> None:
    assert fleet.finalizers() == {}
    fleet.kubectl("delete", "relayset/classless", "relayset/hosted", "relayset/lonely")
    for name in ("classless", "hosted"):
        fleet.until("only a volume claim is left", partial(_is_clean, fleet, name), 30)
    with timed("namespace of wrong things deleted"):
        fleet.remove()


def _message(fleet: Fleet) -> str:
    return str(fleet.condition("sipuser/early", "CredentialsReady").get("message"))


def _is_clean(fleet: Fleet, name: str) -> bool:
    return all(each.startswith("persistentvolumeclaim/") for each in fleet.left_of(name))
