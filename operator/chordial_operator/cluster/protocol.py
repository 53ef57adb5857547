"""What the operator asks of the API server; the real client and the tests' one both do it.

Each question maps to one request. What is asked when is the turns' affair, never this file's.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from chordial_operator.cluster.kinds import Ref
from chordial_operator.names import FIELD_MANAGER
from chordial_operator.spec.manifest import Manifest


class Happening(msgspec.Struct, frozen=True):
    """What a user should see in `kubectl describe`: a change, never a state."""

    reason: str
    """PascalCase, of a short list."""
    note: str
    """A sentence."""
    kind: Literal["Normal", "Warning"] = "Normal"
    action: str = "Reconcile"


class Cluster(Protocol):
    """The API server; every method raises a ClusterError when it refuses."""

    async def apply(
        self, manifest: Manifest, *, manager: str = FIELD_MANAGER, force: bool = True
    ) -> Manifest:
        """Apply an object server-side and return it as it is now."""

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Apply the status of an object server-side."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object; ConflictError when one of that name exists.

        What is applied later may drop fields of it again, as if it had been applied.
        """

    async def get(self, ref: Ref) -> Manifest:
        """Return an object as the API server has it now."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; ConflictError unless its resourceVersion is still that."""

    async def delete(self, ref: Ref, uid: str, *, at_once: bool = False) -> None:
        """Delete the object of this uid; one that is gone is no error.

        `at_once` is for pods on nodes that are lost: the object goes without its kubelet's word.
        """

    async def evict(self, ref: Ref, uid: str) -> None:
        """Evict a pod; TooManyRequestsError when a disruption budget forbids it now."""

    async def annotate(
        self, ref: Ref, annotations: Mapping[str, str | None], resource_version: str
    ) -> Manifest:
        """Write annotations (None removes) unless somebody has changed the object meanwhile."""

    async def review_token(self, token: str, audience: str) -> Manifest:
        """Return the `status` of a TokenReview."""

    async def get_path(self, path: str) -> Manifest:
        """Return what the API server serves at a path that is no object's."""

    async def nodes(self) -> list[Manifest]:
        """Return all Nodes of the cluster."""

    async def complaints(self, ref: Ref, reason: str) -> list[str]:
        """Return what Events of a reason say of an object, the newest first."""

    async def tell(self, about: Manifest, happening: Happening) -> None:
        """Post an Event about an object; the same one within ten minutes is not posted again."""
