"""The enrollment server's authority is made once, replaced in time, and never guessed at."""

import asyncio

import pytest
from cryptography import x509

from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.authority import AuthorityError
from chordial_operator.enrollment.root import (
    LIFE_SECONDS,
    SERVER_SECONDS,
    ServerIdentity,
    open_root,
)
from tests.node.adapters.overlay_rig import on_a_loop
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.records import NOW
from tests.operator.enrollment.requests_made import Time

SECRET = Ref("Secret", "system", "chordial-enrollment")


@on_a_loop
async def test_it_is_made_once_whoever_makes_it() -> None:
    api = ApiInMemory()
    pairs = await asyncio.gather(*(open_root(api, "system", now=NOW) for _ in range(4)))
    assert len({pair.certificate for pair in pairs}) == 1
    assert api.objects[SECRET]["type"] == "kubernetes.io/tls"


@on_a_loop
async def test_an_old_one_is_replaced_once() -> None:
    api = ApiInMemory()
    first = await open_root(api, "system", now=NOW)
    assert await open_root(api, "system", now=NOW + 0.79 * LIFE_SECONDS) == first
    late = NOW + 0.81 * LIFE_SECONDS
    pairs = await asyncio.gather(*(open_root(api, "system", now=late) for _ in range(4)))
    assert {pair.certificate for pair in pairs}.isdisjoint({first.certificate})
    assert len({pair.certificate for pair in pairs}) == 1


@on_a_loop
async def test_a_broken_one_is_named() -> None:
    api = ApiInMemory()
    await open_root(api, "system", now=NOW)
    api.objects[SECRET]["data"] = {}
    with pytest.raises(AuthorityError, match=r"Secret system/chordial-enrollment: .*delete it"):
        await open_root(api, "system", now=NOW)


@on_a_loop
async def test_the_server_shows_its_service_names_and_follows_its_authority() -> None:
    hosts = ["chordial-enrollment.system.svc", "chordial-enrollment.system.svc.cluster.local"]
    clock = Time()
    root = await open_root(ApiInMemory(), "system", now=NOW)
    identity = ServerIdentity(root, hosts, clock=clock)
    first = identity.shown()
    certificate = x509.load_pem_x509_certificate(first)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == hosts
    clock.now += SERVER_SECONDS / 3 - 1
    assert identity.shown() == first
    clock.now += 2
    assert identity.shown() != first

    other = await open_root(ApiInMemory(), "system", now=NOW)
    identity.take(other)
    assert identity.root == other.certificate
    x509.load_pem_x509_certificate(identity.shown()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(other.certificate)
    )
