"""A peer's side of enrollment for tests: its keys, its token, and a cluster where it lives."""

import msgspec

from chordial_node.boundary.enrollment import EnrollmentRequest
from chordial_node.security.authority import certificate_request, make_private_key
from chordial_operator.enrollment.desk import EnrollmentDesk
from chordial_operator.enrollment.store import AuthorityStore
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.objects_made import overlay, peer_set, pod, stateful_set, token
from tests.operator.enrollment.records import NOW

TOKEN = "header.claims-of-edge-0.signature"


def living_peer() -> ApiInMemory:
    """An API server that knows one peer, its pod and its token."""
    api = ApiInMemory()
    api.put("Pod", pod())
    api.put("StatefulSet", stateful_set())
    api.put("RelaySet", peer_set())
    api.put("Overlay", overlay())
    node = {"name": "worker-1", "labels": {"topology.kubernetes.io/zone": "a"}}
    api.put("Node", {"metadata": node})
    api.tokens[TOKEN] = token()
    return api


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def desk_at(api: ApiInMemory, clock: Time | None = None) -> EnrollmentDesk:
    """One replica of the operator."""
    tells = clock or Time()
    return EnrollmentDesk(api, AuthorityStore(api, "system", clock=tells), clock=tells)


def request_of(private_key: bytes, **changes: object) -> EnrollmentRequest:
    """What a peer sends."""
    asked = EnrollmentRequest("phones.voice", TOKEN, certificate_request(private_key))
    return msgspec.structs.replace(asked, **changes)


def new_key() -> bytes:
    """A private key, PEM."""
    return make_private_key()
