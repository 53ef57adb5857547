"""Judges a service-account token without TokenReview: by the issuer's published keys (fleet H9).

For operators without a ClusterRole. The keys come from the API server, whose every account may read
them. RFC 7519 with the signatures of RFC 7518 that Kubernetes makes; anything else is refused. What
is lost against TokenReview is nothing that counts here: that a pod is gone is seen by reading it
live, which follows in any case. Pure; what is found has the form of a TokenReview's status.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from chordial_operator.spec.manifest import Manifest

LEEWAY_SECONDS = 30.0
_CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384(), 48),
    "ES512": ("P-521", ec.SECP521R1(), hashes.SHA512(), 66),
}
_RS256 = "RS256"


class TokenError(ValueError):
    """A token proves nothing; the message says why and never quotes it."""


class PublishedKey(msgspec.Struct, frozen=True):
    """One key of the issuer (RFC 7517)."""

    kid: str = ""
    kty: str = ""
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class PublishedKeys(msgspec.Struct, frozen=True):
    """The keys that an issuer signs with."""

    keys: tuple[PublishedKey, ...] = ()


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str = ""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    uid: str = ""


class _Bound(msgspec.Struct, frozen=True):
    namespace: str = ""
    serviceaccount: _Named = _Named()
    pod: _Named | None = None


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    exp: float
    aud: str | tuple[str, ...] = ()
    nbf: float = 0.0
    bound: _Bound = msgspec.field(name="kubernetes.io", default=_Bound())

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.aud,) if isinstance(self.aud, str) else self.aud


def review(
    token: str, keys: Sequence[PublishedKey], issuer: str, audience: str, now: float
) -> Manifest:
    """Return what a TokenReview for an audience would say of a token."""
    try:
        claims = _verified(token, keys, issuer, now)
    except TokenError as error:
        return {"authenticated": False, "error": str(error)}
    if audience not in claims.audiences:
        return {"authenticated": False, "error": "the token is for another audience"}
    bound = claims.bound
    extra = {}
    if bound.pod is not None:
        extra["authentication.kubernetes.io/pod-name"] = [bound.pod.name]
        extra["authentication.kubernetes.io/pod-uid"] = [bound.pod.uid]
    name = f"system:serviceaccount:{bound.namespace}:{bound.serviceaccount.name}"
    return {
        "authenticated": True,
        "audiences": [audience],
        "user": {"username": name, "uid": bound.serviceaccount.uid, "extra": extra},
    }


def is_signed_by_known_key(token: str, keys: Sequence[PublishedKey]) -> bool:
    """Tell whether a token names one of the keys: else they may have been exchanged."""
    try:
        kid = msgspec.json.decode(_decoded(token.split(".")[0]), type=_Header).kid
    except (ValueError, TokenError):
        return True  # no key will help
    return any(key.kid == kid for key in keys)


def _verified(token: str, keys: Sequence[PublishedKey], issuer: str, now: float) -> _Claims:
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("this is no signed token")
    try:
        header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
        claims = msgspec.json.decode(_decoded(parts[1]), type=_Claims)
    except msgspec.MsgspecError as error:
        raise TokenError("the token's header or claims cannot be read") from error
    key = next((key for key in keys if key.kid == header.kid), None)
    if key is None:
        raise TokenError("the token is signed by a key that the issuer does not publish")
    signed = f"{parts[0]}.{parts[1]}".encode()
    if not _is_signature(key, header.alg, signed, _decoded(parts[2])):
        raise TokenError("the token's signature does not fit")
    if claims.iss != issuer:
        raise TokenError("the token is of another issuer")
    if now > claims.exp + LEEWAY_SECONDS:
        raise TokenError("the token has expired")
    if now < claims.nbf - LEEWAY_SECONDS:
        raise TokenError("the token is not valid yet: check the clocks")
    return claims


def _is_signature(key: PublishedKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    try:
        if algorithm == _RS256 and key.kty == "RSA":
            numbers = rsa.RSAPublicNumbers(_number(key.e), _number(key.n))
            numbers.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            return True
        known = _CURVES.get(algorithm)
        if known is None or key.kty != "EC" or key.crv != known[0]:
            return False
        _, curve, digest, length = known
        if len(signature) != 2 * length:
            return False
        point = ec.EllipticCurvePublicNumbers(_number(key.x), _number(key.y), curve)
        pair = (int.from_bytes(signature[:length]), int.from_bytes(signature[length:]))
        point.public_key().verify(encode_dss_signature(*pair), signed, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):  # a key that is none, too
        return False
    return True


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("the token is not base64url") from error


def read_keys(body: Mapping[str, object]) -> tuple[PublishedKey, ...]:
    """Return the keys of a JWKS; ValueError when it is none."""
    return msgspec.convert(dict(body), PublishedKeys).keys
