"""An enrollment from request to answer, against an API server in memory."""

import asyncio
import logging

import msgspec
import pytest
from cryptography import x509

from chordial_node.boundary.enrollment import Enrolled
from chordial_node.ids import node_id
from chordial_node.security.authority import certificate_request, public_key_of
from chordial_node.security.certificates import Role, Trust, claims_of, key_hash_of
from chordial_node.security.configuration import open_configuration
from chordial_node.security.signatures import Ed25519Signatures
from chordial_operator.cluster.errors import ForbiddenError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.checks import EnrollmentRefusedError, Reason
from chordial_operator.enrollment.desk import LONGEST_TOKEN, PER_POD, PER_SOURCE, EnrollmentDesk
from chordial_operator.enrollment.last_issue import ENROLLED_ANNOTATION, read_last_issue
from chordial_operator.enrollment.metrics import enrollment_lines
from chordial_operator.enrollment.rotation import revoked
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.node.adapters.overlay_rig import on_a_loop
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.objects_made import (
    NODE_ID,
    POD_UID,
    changed,
    overlay,
    pod,
    stateful_set,
    token,
)
from tests.operator.enrollment.records import DAY, NOW
from tests.operator.enrollment.requests_made import (
    TOKEN,
    Time,
    desk_at,
    living_peer,
    new_key,
    request_of,
)

STATEFUL_SET = Ref("StatefulSet", "phones", "edge-0")
SOURCE = "192.0.2.9"


async def refused_at(desk: EnrollmentDesk, key: bytes, **changes: object) -> EnrollmentRefusedError:
    with pytest.raises(EnrollmentRefusedError) as refused:
        await desk.enroll(request_of(key, **changes), SOURCE)
    return refused.value


def told(api: ApiInMemory) -> str:
    annotations: dict[str, str] = api.objects[STATEFUL_SET]["metadata"]["annotations"]
    return annotations.get(ENROLLED_ANNOTATION, "")


def of_next_pod(api: ApiInMemory) -> None:
    """The pod is made again, with another uid and another token."""
    path = "user|extra|authentication.kubernetes.io/pod-uid"
    api.put("Pod", changed(pod(), "metadata|uid", "pod-2"))
    api.tokens[TOKEN] = changed(token(), path, ["pod-2"])


@on_a_loop
async def test_a_peer_gets_all_that_makes_it_one() -> None:
    api, key = living_peer(), new_key()
    enrolled = await desk_at(api).enroll(request_of(key), SOURCE)
    shown = Trust("phones.voice", enrolled.trusted).identity_of(enrolled.certificate, NOW)
    assert (shown.role, shown.node_id, shown.name) == (Role.PEER, node_id(NODE_ID), "edge-0")
    assert shown.public_key == public_key_of(key)
    assert shown.not_after == NOW + 7 * DAY
    assert enrolled.failure_domain == "a/worker-1"
    assert enrolled.listener_certificate == b""
    assert msgspec.json.decode(enrolled.overlay_keys)["current"] == 1
    said = open_configuration(Ed25519Signatures(bytes(32)), enrolled.configuration, "phones.voice")
    assert len(said.founders) == 4


@on_a_loop
async def test_what_was_issued_stands_on_the_stateful_set() -> None:
    api = living_peer()
    enrolled = await desk_at(api).enroll(request_of(new_key()), SOURCE)
    last = read_last_issue(told(api))
    assert last is not None
    certificate = x509.load_pem_x509_certificate(enrolled.certificate)
    assert last.serial == f"{certificate.serial_number:x}"
    assert (last.pod_uid, last.not_after) == (POD_UID, int(NOW + 7 * DAY))


@on_a_loop
async def test_the_life_of_a_certificate_is_the_overlays() -> None:
    api = living_peer()
    spec = {"domains": ["voice.example.org"], "certificates": {"lifetime": "2h"}}
    api.put("Overlay", changed(overlay(), "spec", spec))
    enrolled = await desk_at(api).enroll(request_of(new_key()), SOURCE)
    assert claims_of(enrolled.certificate).not_after == NOW + 7200


@on_a_loop
async def test_a_listeners_certificate_is_for_a_key_of_its_own() -> None:
    key, listener_key = new_key(), new_key()
    wanted = certificate_request(listener_key)
    enrolled = await desk_at(living_peer()).enroll(request_of(key, listener_request=wanted), SOURCE)
    certificate = x509.load_pem_x509_certificate(enrolled.listener_certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    assert hosts == ["voice.example.org", "sip.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    again = await refused_at(desk_at(living_peer()), key, listener_request=certificate_request(key))
    assert again.reason is Reason.MALFORMED


@on_a_loop
async def test_the_same_key_is_renewed_by_any_replica() -> None:
    api, key = living_peer(), new_key()
    first = await desk_at(api).enroll(request_of(key), SOURCE)
    second = await desk_at(api).enroll(request_of(key), SOURCE)
    assert second.certificate != first.certificate
    assert claims_of(second.certificate).public_key == claims_of(first.certificate).public_key
    assert second.trusted == first.trusted


@on_a_loop
async def test_a_second_key_is_refused_while_the_pod_of_the_first_lives() -> None:
    api = living_peer()
    desk = desk_at(api)
    await desk.enroll(request_of(new_key()), SOURCE)
    before = told(api)
    assert (await refused_at(desk, new_key())).reason is Reason.KEY_TAKEN
    assert told(api) == before


@on_a_loop
async def test_a_pod_whose_identity_was_stolen_gets_another_key_which_alone_counts() -> None:
    api, stolen, own = living_peer(), new_key(), new_key()
    await desk_at(api).enroll(request_of(stolen), SOURCE)
    enrolled = await desk_at(api).enroll(request_of(own, is_superseded=True), SOURCE)
    said = open_configuration(Ed25519Signatures(bytes(32)), enrolled.configuration, "phones.voice")
    assert said.keys_by_id == {node_id(NODE_ID): key_hash_of(public_key_of(own))}
    assert said.sequence == 2
    again = await desk_at(api).enroll(request_of(own), SOURCE)
    assert again.configuration == enrolled.configuration
    assert (await refused_at(desk_at(api), stolen)).reason is Reason.KEY_TAKEN


@on_a_loop
async def test_another_pod_takes_the_node_id_over(caplog: pytest.LogCaptureFixture) -> None:
    api = living_peer()
    first = await desk_at(api).enroll(request_of(new_key()), SOURCE)
    of_next_pod(api)
    desk = desk_at(api)
    with caplog.at_level(logging.INFO):
        second = await desk.enroll(request_of(new_key()), SOURCE)
    assert claims_of(second.certificate).node_id == claims_of(first.certificate).node_id
    serial = x509.load_pem_x509_certificate(first.certificate).serial_number
    assert f"{serial:x} of phones/edge-0 is superseded" in caplog.text
    assert desk.outcomes == {"replacement": 1}


@on_a_loop
async def test_two_keys_at_once_are_one_too_many() -> None:
    """Two replicas judge the same StatefulSet: the precondition lets one through."""
    api = living_peer()
    answers = await asyncio.gather(
        desk_at(api).enroll(request_of(new_key()), SOURCE),
        desk_at(api).enroll(request_of(new_key()), SOURCE),
        return_exceptions=True,
    )
    issued = [each for each in answers if isinstance(each, Enrolled)]
    turned_away = [each for each in answers if isinstance(each, EnrollmentRefusedError)]
    assert len(issued) == 1
    assert [each.reason for each in turned_away] == [Reason.KEY_TAKEN]


@on_a_loop
async def test_a_changed_stateful_set_is_judged_again() -> None:
    api, times = living_peer(), 0

    def interfere() -> None:
        nonlocal times
        times += 1
        if times <= 2:
            api.put("StatefulSet", api.objects[STATEFUL_SET])

    api.before_write = interfere
    await desk_at(api).enroll(request_of(new_key()), SOURCE)
    assert times == 3


@on_a_loop
async def test_a_revoked_peer_gets_nothing() -> None:
    api = living_peer()
    store = AuthorityStore(api, "system", clock=lambda: NOW)
    await store.change(parse_overlay(overlay()), lambda r: revoked(r, node_id(NODE_ID)))
    assert (await refused_at(desk_at(api), new_key())).reason is Reason.REVOKED


@pytest.mark.parametrize(
    "changes",
    [
        {"request": b"no PEM"},
        {"request": b""},
        {"listener_request": b"no PEM"},
        {"token": ""},
        {"token": "x" * (LONGEST_TOKEN + 1)},
    ],
)
@on_a_loop
async def test_what_is_no_request_is_refused_before_the_api_server_is_asked(
    changes: dict[str, object],
) -> None:
    api = living_peer()
    assert (await refused_at(desk_at(api), new_key(), **changes)).reason is Reason.MALFORMED
    assert api.asked == []


@on_a_loop
async def test_a_stranger_gets_nothing_and_learns_nothing_of_the_overlay() -> None:
    api = living_peer()
    error = await refused_at(desk_at(api), new_key(), token="forged")
    assert error.reason is Reason.NOT_AUTHENTICATED
    assert api.asked == ["review"]


@on_a_loop
async def test_the_chain_is_followed_no_further_than_it_leads() -> None:
    api = living_peer()
    bare: Manifest = changed(pod(), "metadata|ownerReferences", [])
    api.put("Pod", bare)
    assert (await refused_at(desk_at(api), new_key())).reason is Reason.NO_PEER
    assert api.asked == ["review", "get Pod phones/edge-0-0"]
    api.put("StatefulSet", changed(stateful_set(), "metadata|ownerReferences", []))
    api.put("Pod", pod())
    assert (await refused_at(desk_at(api), new_key())).reason is Reason.NO_PEER


@on_a_loop
async def test_without_a_right_to_nodes_the_nodes_name_is_the_failure_domain() -> None:
    class Namespaced(ApiInMemory):
        async def get(self, ref: Ref) -> Manifest:
            if ref.kind == "Node":
                raise ForbiddenError("nodes is forbidden")
            return await super().get(ref)

    api = Namespaced()
    for ref, held in living_peer().objects.items():
        api.put(ref.kind, held)
    api.tokens[TOKEN] = token()
    enrolled = await desk_at(api).enroll(request_of(new_key()), SOURCE)
    assert enrolled.failure_domain == "worker-1"


@on_a_loop
async def test_a_pod_where_the_operator_may_not_read_is_none_of_its() -> None:
    class Namespaced(ApiInMemory):
        async def get(self, ref: Ref) -> Manifest:
            raise ForbiddenError(f"{ref} is forbidden")

    api = Namespaced()
    api.tokens[TOKEN] = token()
    error = await refused_at(desk_at(api), new_key())
    assert error.reason is Reason.OTHER_OVERLAY
    assert "which this operator does not look after" in str(error)


@on_a_loop
async def test_a_pod_that_asks_too_often_waits() -> None:
    clock = Time()
    desk, key = desk_at(living_peer(), clock), new_key()
    for _ in range(int(PER_POD.burst)):
        await desk.enroll(request_of(key), SOURCE)
    assert (await refused_at(desk, key)).reason is Reason.BUSY
    clock.now += 1 / PER_POD.per_second
    await desk.enroll(request_of(key), SOURCE)


@on_a_loop
async def test_a_source_that_asks_too_often_costs_neither_a_question_nor_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = living_peer()
    desk = desk_at(api)
    for _ in range(int(PER_SOURCE.burst)):
        await refused_at(desk, new_key(), token="forged")
    asked = len(api.asked)
    caplog.clear()
    assert (await refused_at(desk, new_key(), token="forged")).reason is Reason.BUSY
    assert len(api.asked) == asked
    assert not caplog.records
    assert desk.outcomes["busy"] == 1


@on_a_loop
async def test_outcomes_are_counted_and_neither_token_nor_key_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = living_peer()
    desk = desk_at(api)
    with caplog.at_level(logging.DEBUG):
        enrolled = await desk.enroll(request_of(new_key()), SOURCE)
        await refused_at(desk, new_key())
        await refused_at(desk, new_key(), token="forged-token")
    secret = msgspec.json.decode(enrolled.overlay_keys)["keys"]["1"]
    assert "phones/edge-0" in caplog.text
    assert not [s for s in (TOKEN, "forged-token", secret, "BEGIN") if s in caplog.text]
    lines = [*enrollment_lines(desk.outcomes)]
    assert 'chordial_operator_enrollment_total{outcome="first"} 1' in lines
    assert 'chordial_operator_enrollment_total{outcome="key_taken"} 1' in lines
    assert 'chordial_operator_enrollment_total{outcome="renewal"} 0' in lines
