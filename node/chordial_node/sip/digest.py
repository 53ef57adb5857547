"""Digest authentication: challenges, credentials and their check.

RFC 3261 §22, RFC 2617 §3.2, RFC 7616 and RFC 8760. It computes; who must prove what, which nonce
counts and whose secret it is are decided elsewhere. Passwords are only ever turned into an HA1.
"""

import hmac
import re

import msgspec

from chordial_node.security.credentials import Algorithm, digest_hash, ha1
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import AuthParams, parse_auth, quote

_NONCE_COUNT = re.compile(rb"[0-9A-Fa-f]{1,8}")
"""Eight digits by the grammar; aiovoip and others count without leading zeros."""


class Credentials(msgspec.Struct, frozen=True):
    """What an Authorization or Proxy-Authorization header claims; nothing of it is proven."""

    username: bytes
    realm: bytes
    nonce: bytes
    uri: bytes
    response: bytes
    algorithm: Algorithm
    qop: bytes | None
    cnonce: bytes
    nc: int
    nc_text: bytes


def challenge(
    realm: bytes,
    nonce: bytes,
    algorithm: Algorithm = Algorithm.MD5,
    *,
    stale: bool = False,
    qop: bool = True,
) -> bytes:
    """The value of a WWW-Authenticate or Proxy-Authenticate header."""
    text = b"Digest realm=%b, nonce=%b, algorithm=%b" % (
        quote(realm), quote(nonce), algorithm.value.encode()
    )  # fmt: skip
    if stale:
        text += b", stale=true"
    return text + b', qop="auth"' if qop else text


def read_credentials(auth: AuthParams) -> Credentials:
    """Read credentials; RemoteProtocolError(400) where they are malformed or not ours to check."""
    if auth.scheme != b"digest":
        raise RemoteProtocolError(400, "Unsupported Authentication Scheme")
    params = auth.params
    for name in (b"username", b"realm", b"nonce", b"uri", b"response"):
        if name not in params:
            raise RemoteProtocolError(400, f"Missing {name.decode()} in credentials")
    qop = params.get(b"qop")
    nc_text = params.get(b"nc", b"")
    if qop is not None:
        qop = qop.lower()
        if qop != b"auth" or not params.get(b"cnonce"):
            raise RemoteProtocolError(400, "Unsupported qop")
        if not _NONCE_COUNT.fullmatch(nc_text):
            raise RemoteProtocolError(400, "Malformed nonce count")
    return Credentials(
        username=params[b"username"],
        realm=params[b"realm"],
        nonce=params[b"nonce"],
        uri=params[b"uri"],
        response=params[b"response"].lower(),
        algorithm=_algorithm(params.get(b"algorithm", b"MD5")),
        qop=qop,
        cnonce=params.get(b"cnonce", b""),
        nc=int(nc_text, 16) if qop is not None else 0,
        nc_text=nc_text,
    )


def of_realm(value: bytes, realm: bytes) -> AuthParams | None:
    """The digest credentials of a header if they are for that realm; None for all others.

    The edge that consumes credentials removes those of its own realm before it forwards.
    """
    if realm not in value:
        return None
    try:
        auth = parse_auth(value)
    except RemoteProtocolError:
        return None
    return auth if auth.scheme == b"digest" and auth.params.get(b"realm") == realm else None


def response(credentials: Credentials, secret: bytes, method: bytes) -> bytes:
    """The response that fits an HA1, for the nonce, URI and count of the credentials."""
    algorithm = credentials.algorithm
    ha2 = digest_hash(algorithm, method + b":" + credentials.uri)
    if credentials.qop is None:
        return digest_hash(algorithm, b":".join((secret, credentials.nonce, ha2)))
    return digest_hash(
        algorithm,
        b":".join(
            (
                secret,
                credentials.nonce,
                credentials.nc_text,
                credentials.cnonce,
                credentials.qop,
                ha2,
            )
        ),
    )


def verify(credentials: Credentials, secret: bytes, method: bytes) -> bool:
    """Whether the credentials prove knowledge of that HA1; takes equally long either way."""
    return hmac.compare_digest(response(credentials, secret, method), credentials.response)


def answer(
    asked: AuthParams,
    *,
    user: bytes,
    password: bytes,
    method: bytes,
    uri: bytes,
    count: int,
    cnonce: bytes,
) -> bytes:
    """The value of an Authorization header for a challenge, as a user agent makes it."""
    realm, nonce = asked.params.get(b"realm", b""), asked.params.get(b"nonce", b"")
    algorithm = _algorithm(asked.params.get(b"algorithm", b"MD5"))
    offered = [each.strip() for each in asked.params.get(b"qop", b"").lower().split(b",")]
    qop = b"auth" if b"auth" in offered else None
    claimed = Credentials(
        user, realm, nonce, uri, b"", algorithm, qop, cnonce, count, b"%08x" % count
    )  # fmt: skip
    text = b"Digest username=%b, realm=%b, nonce=%b, uri=%b, response=%b, algorithm=%b" % (
        quote(user),
        quote(realm),
        quote(nonce),
        quote(uri),
        quote(response(claimed, ha1(algorithm, user, realm, password), method)),
        algorithm.value.encode(),
    )
    if b"opaque" in asked.params:
        text += b", opaque=" + quote(asked.params[b"opaque"])
    if qop is None:
        return text
    return text + b", qop=%b, nc=%b, cnonce=%b" % (qop, claimed.nc_text, quote(cnonce))


def _algorithm(name: bytes) -> Algorithm:
    for algorithm in Algorithm:
        if name.upper() == algorithm.value.encode():
            return algorithm
    raise RemoteProtocolError(400, "Unsupported Digest Algorithm")
