"""Where each kind that the operator touches lies in the API; a kind that is not here is refused.

Written down instead of discovered: a start needs no request, and the list is what the RBAC page
explains. What is done with a kind must never be put here.
"""

import msgspec

from chordial_operator.names import GROUP, VERSION


class Kind(msgspec.Struct, frozen=True):
    """One kind of object in the API."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS: dict[str, Kind] = {
    "Overlay": Kind(GROUP, VERSION, "overlays"),
    "BootstrapSet": Kind(GROUP, VERSION, "bootstrapsets"),
    "RelaySet": Kind(GROUP, VERSION, "relaysets"),
    "SipUser": Kind(GROUP, VERSION, "sipusers"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Secret": Kind("", "v1", "secrets"),
    "Service": Kind("", "v1", "services"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "PersistentVolumeClaim": Kind("", "v1", "persistentvolumeclaims"),
    "Pod": Kind("", "v1", "pods"),
    "Node": Kind("", "v1", "nodes", namespaced=False),
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "Lease": Kind("coordination.k8s.io", "v1", "leases"),
    "Event": Kind("events.k8s.io", "v1", "events"),
    "TokenReview": Kind("authentication.k8s.io", "v1", "tokenreviews", namespaced=False),
}


class Ref(msgspec.Struct, frozen=True):
    """Which object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
