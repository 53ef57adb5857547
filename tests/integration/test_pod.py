"""A peer's life in a pod: probes first, enrollment, renewal, and a volume that lasts."""

import asyncio
import ssl
import time
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from chordial_node import __version__
from chordial_node.boundary.control import AskStatus, StatusAnswer
from chordial_node.client import PeerUnreachableError
from chordial_node.config import Transport
from chordial_node.pod_config import PodListener
from tests.integration.pods import Operator, Pod, pods
from tests.integration.rig import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def status_of(operator: Operator, pod: Pod) -> StatusAnswer | None:
    """Ask one pod; None when it does not believe the operator, or is not there."""

    async def ask() -> StatusAnswer | None:
        async with operator.client(pod) as client:
            try:
                return await client.ask_for(AskStatus(), StatusAnswer)
            except PeerUnreachableError:
                return None

    return asyncio.run(ask())


def shown_by(pod: Pod) -> x509.Certificate:
    """The certificate at a pod's SIP port for phones, whoever signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    async def connect() -> bytes:
        _, writer = await asyncio.open_connection(pod.address, 5061, ssl=context)
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return shown

    return x509.load_der_x509_certificate(asyncio.run(connect()))


def test_pods_form_a_ring_by_enrollment_alone_and_return_without_it(tmp_path: Path) -> None:
    with pods(tmp_path, 3) as (operator, made):
        for pod in made:
            pod.start()
        for pod in made:
            wait_for(partial(_is_waiting, pod))
            status, told = pod.get("/readyz")
            assert (status, told[:26]) == (503, "waiting for a certificate:")
            assert pod.get("/healthz") == (200, "ok\n")
            assert "chordial_ready 0" in pod.get("/metrics")[1]
        operator.start()
        for pod in made:
            wait_for(pod.is_ready, limit=60.0)
        answers = [status_of(operator, pod) for pod in made]
        seen = [each for each in answers if each is not None]
        assert len(seen) == 3
        assert {len(each.successors) for each in seen} == {2}
        assert {each.is_ready for each in seen} == {True}
        assert {each.version for each in seen} == {__version__}
        assert {each.failure_domain for each in seen} == {"zone-a/host"}
        assert all(each.not_after > time.time() + 3_000 for each in seen)
        wait_for(lambda: len({_digest(operator, pod) for pod in made}) == 1)

        operator.stop()
        asked = len(operator.asked)
        assert made[1].end() == 0
        made[1].start()
        wait_for(made[1].is_ready)
        assert "identity found on the volume" in made[1].told()
        assert len(operator.asked) == asked
        assert "no certificate" not in made[1].told().rsplit("identity found", 1)[1]

        assert made[1].end() == 0
        made[1].environment["CHORDIAL_NODE_NAME"] = "worker-2"
        made[1].start()
        wait_for(made[1].is_ready)
        moved = status_of(operator, made[1])
        assert moved is not None
        assert moved.failure_domain == "worker-2"


def _is_waiting(pod: Pod) -> bool:
    return "does not answer" in pod.get("/readyz")[1]


def _digest(operator: Operator, pod: Pod) -> str:
    answer = status_of(operator, pod)
    return answer.membership_digest if answer is not None else pod.address


def test_a_certificate_is_renewed_and_the_authority_exchanged_without_a_restart(
    tmp_path: Path,
) -> None:
    listeners = (PodListener("tls", Transport.TLS, 5061),)
    with pods(tmp_path, 1, 12.0, role="relay", listeners=listeners) as (operator, (pod,)):
        operator.start()
        pod.start()
        wait_for(pod.is_ready)
        first = status_of(operator, pod)
        assert first is not None
        names = shown_by(pod).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["voice.test"]
        before = shown_by(pod).serial_number

        operator.rotate()
        renewed = wait_for(lambda: _later(operator, pod, first.not_after))
        assert renewed.bundle_hash != first.bundle_hash
        wait_for(lambda: time.time() > first.not_after)
        last = status_of(operator, pod)  # a new connection, to a certificate of the new authority
        assert last is not None
        assert last.not_after > first.not_after
        assert last.uptime_seconds > first.uptime_seconds
        wait_for(lambda: shown_by(pod).serial_number != before)
        assert len({each.request for each in operator.asked}) == len(operator.asked)
        assert pod.is_ready()

        pod.configure(advertise=("203.0.113.9",))
        wait_for(lambda: '"listeners":["203.0.113.9:5061"' in pod.told())


def test_other_names_of_its_listeners_are_a_reason_to_enroll_again(tmp_path: Path) -> None:
    listeners = (PodListener("tls", Transport.TLS, 5061),)
    with pods(tmp_path, 1, 3600.0, role="relay", listeners=listeners) as (operator, (pod,)):
        operator.start()
        pod.start()
        wait_for(pod.is_ready)
        before = shown_by(pod).serial_number
        assert len(operator.asked) == 1

        pod.configure(advertise=("sip.voice.test",))
        wait_for(lambda: len(operator.asked) == 2)
        assert operator.asked[1].listener_request
        wait_for(lambda: shown_by(pod).serial_number != before)
        assert pod.is_ready()


def test_a_volume_that_cannot_be_read_for_a_while_does_not_end_renewal(tmp_path: Path) -> None:
    listeners = (PodListener("tls", Transport.TLS, 5061),)
    with pods(tmp_path, 1, 3600.0, role="relay", listeners=listeners) as (operator, (pod,)):
        operator.start()
        pod.start()
        wait_for(pod.is_ready)
        about = Path(pod.paths.identity) / "about.json"
        kept = about.rename(about.with_name("about.away"))
        about.mkdir()
        wait_for(lambda: '"message":"no renewal"' in pod.told())
        about.rmdir()
        kept.rename(about)

        pod.configure(advertise=("sip.voice.test",))
        wait_for(lambda: len(operator.asked) == 2, 60.0)
        assert pod.is_ready()


def _later(operator: Operator, pod: Pod, end: float) -> StatusAnswer | None:
    answer = status_of(operator, pod)
    return answer if answer is not None and answer.not_after > end else None


def test_a_revoked_peer_is_left_alone(tmp_path: Path) -> None:
    with pods(tmp_path, 3) as (operator, made):
        operator.start()
        for pod in made:
            pod.start()
        for pod in made:
            wait_for(pod.is_ready, limit=60.0)
        operator.revoke(made[2].node)
        for pod in made[:2]:
            pod.mount(operator)
        wait_for(lambda: _is_alone(operator, made[0], made[2]), limit=40.0)
        wait_for(lambda: _is_alone(operator, made[1], made[2]))
        assert "revoked" in made[0].told()


def _is_alone(operator: Operator, pod: Pod, other: Pod) -> bool:
    answer = status_of(operator, pod)
    assert answer is not None
    return not any(each.is_linked for each in answer.members if each.node_id == other.node)


def test_a_stolen_identity_is_shut_out_and_its_peer_begins_anew_with_another_key(
    tmp_path: Path,
) -> None:
    with pods(tmp_path, 3) as (operator, made):
        operator.start()
        for pod in made:
            pod.start()
        for pod in made:
            wait_for(pod.is_ready, limit=60.0)
        wait_for(lambda: _uptime(operator, made[2]) > 12.0)  # beyond the grace of a start
        operator.refuses = "not yet"
        stolen = made[2].copy(tmp_path / "stolen", 9)
        Path(stolen.paths.token).unlink()
        stolen.start()
        try:
            wait_for(lambda: "not yet" in made[2].get("/readyz")[1], limit=60.0)
            assert made[2].get("/readyz")[0] == 503
            assert made[2].get("/healthz")[0] == 200
            assert made[2].is_running()
            wait_for(stolen.is_ready, limit=60.0)

            operator.refuses = ""
            wait_for(lambda: operator.configuration.keys, limit=60.0)
            for pod in made:
                pod.mount(operator)
            wait_for(lambda: all(pod.is_ready() for pod in made), limit=60.0)
            wait_for(lambda: _is_linked(operator, made[0], made[2]))
            wait_for(lambda: "is superseded" in made[0].told() + made[1].told(), limit=60.0)
            made[2].end()
            wait_for(lambda: not _is_linked(operator, made[0], made[2]))
            made[2].start()
            wait_for(made[2].is_ready, limit=60.0)
            wait_for(lambda: _is_linked(operator, made[0], made[2]))
            assert "identity found on the volume" in made[2].told()
        finally:
            stolen.end()
        assert made[2].end() == 0


def _is_linked(operator: Operator, pod: Pod, other: Pod) -> bool:
    return not _is_alone(operator, pod, other)


def _uptime(operator: Operator, pod: Pod) -> float:
    answer = status_of(operator, pod)
    return answer.uptime_seconds if answer is not None else 0.0


def test_a_refusal_is_told_clearly_and_the_next_token_counts(tmp_path: Path) -> None:
    with pods(tmp_path, 1) as (operator, (pod,)):
        operator.refuses = "the token has expired"
        operator.start()
        pod.start()
        expected = "waiting for a certificate: the operator refuses: the token has expired\n"
        wait_for(lambda: pod.get("/readyz") == (503, expected))
        assert '"level":"error"' in pod.told()
        operator.refuses = ""
        wait_for(pod.is_ready)


def test_who_waits_for_a_certificate_ends_when_asked(tmp_path: Path) -> None:
    with pods(tmp_path, 1) as (_, (pod,)):
        pod.start()
        wait_for(lambda: pod.get("/healthz")[0] == 200)
        assert pod.end() == 0


def test_a_volume_of_somebody_else_is_refused_and_kept(tmp_path: Path) -> None:
    with pods(tmp_path, 1) as (operator, (pod,)):
        operator.start()
        pod.start()
        wait_for(pod.is_ready)
        assert pod.end() == 0
        identity = Path(pod.paths.identity)
        before = {each.name: each.read_bytes() for each in identity.iterdir()}
        pod.environment["CHORDIAL_NODE_ID"] = "0b" * 16
        pod.start()
        assert pod.wait() == 2
        told = pod.told().splitlines()[-1]
        assert f"it is of Node-ID {pod.node.hex()}, this peer is {'0b' * 16}" in told
        assert {each.name: each.read_bytes() for each in identity.iterdir()} == before


def test_what_a_pod_lacks_is_told_at_once(tmp_path: Path) -> None:
    with pods(tmp_path, 1) as (_, (pod,)):
        pod.environment.update(CHORDIAL_PEER="", CHORDIAL_POD_IPS="0.0.0.0")
        pod.start()
        assert pod.wait() == 2
        told = pod.told()
        assert "CHORDIAL_PEER is empty" in told
        assert "must not hold a wildcard" in told
