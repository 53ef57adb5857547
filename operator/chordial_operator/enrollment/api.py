"""What enrollment asks of the API server: few questions, so that whoever answers may be small.

Each is said exactly as `cluster.protocol` says it, and refused with the same errors.
"""

from collections.abc import Mapping
from typing import Protocol

from chordial_operator.cluster.kinds import Ref
from chordial_operator.spec.manifest import Manifest


class AuthorityCluster(Protocol):
    """Where authorities are kept."""

    async def get(self, ref: Ref) -> Manifest:
        """Return an object as it is now; NotFoundError."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object; ConflictError when one of that name exists."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; ConflictError unless its resourceVersion is still that."""

    async def delete(self, ref: Ref, uid: str) -> None:
        """Delete the object of this uid; one that is gone is no error."""


class EnrollmentCluster(Protocol):
    """What proves a peer."""

    async def get(self, ref: Ref) -> Manifest:
        """Return an object as it is now; NotFoundError."""

    async def review_token(self, token: str, audience: str) -> Manifest:
        """Return the `status` of a TokenReview."""

    async def get_path(self, path: str) -> Manifest:
        """Return what the API server serves at a path that is no object's."""

    async def annotate(
        self, ref: Ref, annotations: Mapping[str, str | None], resource_version: str
    ) -> Manifest:
        """Write annotations unless somebody has changed the object: then ConflictError."""
