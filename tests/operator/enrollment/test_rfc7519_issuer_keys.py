"""RFC 7519 and 7518: service-account tokens judged by the issuer's published keys."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from chordial_operator.cluster.errors import ForbiddenError, UnreachableError
from chordial_operator.enrollment.checks import Claims, claims_of
from chordial_operator.enrollment.issuer_keys import LEEWAY_SECONDS, read_keys, review
from chordial_operator.enrollment.tokens import (
    ISSUER_PATH,
    KEPT_SECONDS,
    KEYS_PATH,
    LEAST_SECONDS,
    TokenReviewer,
)
from chordial_operator.spec.manifest import Manifest
from tests.node.adapters.overlay_rig import on_a_loop
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.records import NOW
from tests.operator.enrollment.requests_made import Time

ISSUER = "https://kubernetes.default.svc"
Json = dict[str, object]
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
LENGTHS = {"ES256": 32, "ES384": 48, "ES512": 66}
HASHES = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}
NAMES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
ELLIPTIC = {name: ec.generate_private_key(curve) for name, curve in CURVES.items()}


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return text(value.to_bytes((value.bit_length() + 7) // 8))


def published(algorithm: str = "RS256") -> Json:
    """The key as the issuer publishes it (RFC 7517)."""
    if algorithm == "RS256":
        numbers = RSA.public_key().public_numbers()
        return {"kty": "RSA", "kid": "one", "n": number(numbers.n), "e": number(numbers.e)}
    point = ELLIPTIC[algorithm].public_key().public_numbers()
    return {
        "kty": "EC", "kid": "one", "crv": NAMES[algorithm],
        "x": text(point.x.to_bytes(LENGTHS[algorithm])),
        "y": text(point.y.to_bytes(LENGTHS[algorithm])),
    }  # fmt: skip


def claims(**changes: object) -> Json:
    bound = {
        "namespace": "phones",
        "serviceaccount": {"name": "voice-peer", "uid": "account-1"},
        "pod": {"name": "edge-0-0", "uid": "pod-1"},
        "node": {"name": "worker-1", "uid": "node-1"},
    }
    whole: Json = {
        "iss": ISSUER, "aud": ["chordial"], "exp": NOW + 3600, "iat": NOW, "nbf": NOW,
        "sub": "system:serviceaccount:phones:voice-peer", "kubernetes.io": bound,
    }  # fmt: skip
    return {**whole, **changes}


def signed(body: Json, algorithm: str = "RS256", kid: str = "one") -> str:
    head = text(json.dumps({"alg": algorithm, "kid": kid}).encode())
    both = f"{head}.{text(json.dumps(body).encode())}"
    if algorithm in ELLIPTIC:
        der = ELLIPTIC[algorithm].sign(both.encode(), ec.ECDSA(HASHES[algorithm]))
        length = LENGTHS[algorithm]
        signature = b"".join(part.to_bytes(length) for part in decode_dss_signature(der))
    else:
        signature = RSA.sign(both.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{both}.{text(signature)}"


def judged(token: str, key: Json | None = None, now: float = NOW) -> Manifest:
    keys = read_keys({"keys": [key or published()]})
    return review(token, keys, ISSUER, "chordial", now)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512"])
def test_a_good_token_says_whose_pod_it_is_of(algorithm: str) -> None:
    """RFC 7518 §3.1: the signatures that Kubernetes makes."""
    status = judged(signed(claims(), algorithm), published(algorithm))
    assert claims_of(status) == Claims("phones", "voice-peer", "edge-0-0", "pod-1")


def test_an_audience_may_be_one_text() -> None:
    """RFC 7519 §4.1.3."""
    assert judged(signed(claims(aud="chordial")))["authenticated"]


def forged() -> str:
    head, _, signature = signed(claims()).split(".")
    return f"{head}.{text(json.dumps(claims(sub='x')).encode())}.{signature}"


BAD = [
    ("", "no signed token"),
    ("a.b", "no signed token"),
    ("%.%.%", "not base64url"),
    ("e30.e30.AA", "header or claims"),
    (forged(), "signature does not fit"),
    (signed(claims(), kid="two"), "does not publish"),
    (signed(claims(), "none"), "signature does not fit"),
    (signed(claims(), "HS256"), "signature does not fit"),
    (signed(claims(iss="https://elsewhere")), "another issuer"),
    (signed(claims(aud=["https://kubernetes.default.svc"])), "another audience"),
    (signed(claims(exp=NOW - LEEWAY_SECONDS - 1)), "expired"),
    (signed(claims(nbf=NOW + LEEWAY_SECONDS + 1)), "not valid yet"),
]


@pytest.mark.parametrize(("token", "why"), BAD)
def test_a_bad_token_proves_nothing(token: str, why: str) -> None:
    """RFC 7519 §7.2: any step that fails refuses the token."""
    status = judged(token)
    assert not status["authenticated"]
    assert why in status["error"]


def test_a_key_of_another_kind_does_not_serve_an_algorithm() -> None:
    """RFC 8725 §3.1: the key says which algorithm it is for."""
    assert not judged(signed(claims(), "ES256"), published("RS256"))["authenticated"]
    assert not judged(signed(claims()), published("ES256"))["authenticated"]
    assert not judged(signed(claims(), "ES256"), published("ES384"))["authenticated"]


def test_a_token_bound_to_no_pod_names_none() -> None:
    bound = {"namespace": "phones", "serviceaccount": {"name": "voice-peer"}}
    status = judged(signed(claims(**{"kubernetes.io": bound})))
    assert status["authenticated"]
    assert status["user"]["extra"] == {}


class Namespaced(ApiInMemory):
    """An API server that lets nobody review tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = {ISSUER_PATH: {"issuer": ISSUER}, KEYS_PATH: {"keys": [published()]}}

    async def review_token(self, token: str, audience: str) -> Manifest:
        self.asked.append("review")
        raise ForbiddenError("tokenreviews is forbidden")


@on_a_loop
async def test_keys_are_read_once_and_the_right_is_tried_again_later() -> None:
    api, clock = Namespaced(), Time()
    reviewer = TokenReviewer(api, clock)
    for _ in range(3):
        assert (await reviewer.review(signed(claims())))["authenticated"]
    assert api.asked == ["review", f"get {ISSUER_PATH}", f"get {KEYS_PATH}"]
    clock.now += KEPT_SECONDS
    await reviewer.review(signed(claims()))
    assert api.asked.count("review") == 2


@on_a_loop
async def test_an_unknown_key_is_looked_for_but_not_for_every_token() -> None:
    api, clock = Namespaced(), Time()
    reviewer = TokenReviewer(api, clock)
    await reviewer.review(signed(claims()))
    fresh = signed(claims(), kid="two")
    assert not (await reviewer.review(fresh))["authenticated"]
    api.paths[KEYS_PATH]["keys"] = [{**published(), "kid": "two"}]
    assert not (await reviewer.review(fresh))["authenticated"]
    clock.now += LEAST_SECONDS
    assert (await reviewer.review(fresh))["authenticated"]
    assert api.asked.count(f"get {KEYS_PATH}") == 2


@on_a_loop
async def test_keys_that_cannot_be_read_are_worth_another_try() -> None:
    api = Namespaced()
    api.paths[KEYS_PATH] = {"keys": "?"}
    with pytest.raises(UnreachableError, match="has no keys"):
        await TokenReviewer(api, Time()).review(signed(claims()))
