"""Who reviews a token: the API server, or where the operator may not ask it, the issuer's keys.

Decided by what the API server lets the operator do, and asked again now and then: a ClusterRole may
be bound later. The keys are kept for minutes, and read again when a token names an unknown one.
"""

import logging
from collections.abc import Callable

import msgspec

from chordial_operator.cluster.errors import ForbiddenError, UnreachableError
from chordial_operator.enrollment.api import EnrollmentCluster
from chordial_operator.enrollment.issuer_keys import (
    PublishedKey,
    is_signed_by_known_key,
    read_keys,
    review,
)
from chordial_operator.names import TOKEN_AUDIENCE
from chordial_operator.spec.manifest import Manifest

ISSUER_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
KEPT_SECONDS = 300.0
LEAST_SECONDS = 10.0
"""Between two readings of the keys, whatever tokens name."""

log = logging.getLogger("chordial.enrollment")


class _Published(msgspec.Struct, frozen=True):
    issuer: str
    keys: tuple[PublishedKey, ...]
    read_at: float


class TokenReviewer:
    """Says whose token it is."""

    def __init__(self, cluster: EnrollmentCluster, clock: Callable[[], float]) -> None:
        """Take the API server and a clock."""
        self._cluster = cluster
        self._clock = clock
        self._published: _Published | None = None
        self._forbidden_until = 0.0

    async def review(self, token: str) -> Manifest:
        """Return the status of a TokenReview, or the same by the issuer's keys."""
        if self._clock() >= self._forbidden_until:
            try:
                return await self._cluster.review_token(token, TOKEN_AUDIENCE)
            except ForbiddenError as error:
                self._forbidden_until = self._clock() + KEPT_SECONDS
                log.warning("tokens are judged by the issuer's keys: %s", error)
        published = await self._keys_for(token)
        return review(token, published.keys, published.issuer, TOKEN_AUDIENCE, self._clock())

    async def _keys_for(self, token: str) -> _Published:
        published, now = self._published, self._clock()
        if published is not None:
            age = now - published.read_at
            is_known = is_signed_by_known_key(token, published.keys)
            if age < (KEPT_SECONDS if is_known else LEAST_SECONDS):
                return published
        issuer = (await self._cluster.get_path(ISSUER_PATH)).get("issuer", "")
        try:
            keys = read_keys(await self._cluster.get_path(KEYS_PATH))
        except ValueError as error:
            raise UnreachableError(f"{KEYS_PATH} has no keys: {error}") from error
        self._published = _Published(issuer, keys, now)
        return self._published
