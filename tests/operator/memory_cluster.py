"""An API server in memory: enough of one for turns and the lease, with a log of what was asked."""

import copy
import itertools
from collections.abc import Mapping

from chordial_operator.cluster.errors import (
    ClusterError,
    ConflictError,
    NotFoundError,
    TooManyRequestsError,
)
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.names import FIELD_MANAGER
from chordial_operator.spec.manifest import Manifest


class MemoryCluster:
    """Objects by reference; every write gives a new resourceVersion."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.asked: list[str] = []
        """What was asked, in order: `verb Kind name`."""
        self.told: list[tuple[str, Happening]] = []
        self.refuses: dict[str, ClusterError] = {}
        """Errors by what is asked, `verb Kind`."""
        self.said_of: dict[Ref, list[str]] = {}
        """What Events complain of, by object."""
        self.evictions_allowed = True
        self.all_nodes: list[Manifest] = []
        self._versions = itertools.count(1)

    def put(self, manifest: Manifest) -> Manifest:
        """Set an object as somebody else would."""
        return self._store(_ref(manifest), copy.deepcopy(manifest))

    def drop(self, ref: Ref) -> None:
        """Delete an object as somebody else would."""
        self.objects.pop(ref, None)

    def of_kind(self, kind: str) -> list[Manifest]:
        return [body for ref, body in self.objects.items() if ref.kind == kind]

    def names(self, kind: str) -> list[str]:
        return [ref.name for ref in self.objects if ref.kind == kind]

    async def apply(
        self, manifest: Manifest, *, manager: str = FIELD_MANAGER, force: bool = True
    ) -> Manifest:
        ref = _ref(manifest)
        self._note("apply", ref)
        before = self.objects.get(ref, {})
        merged = {**copy.deepcopy(manifest)}
        if "status" in before:
            merged["status"] = before["status"]
        kept = (before.get("metadata") or {}).get("annotations") or {}
        metadata = merged["metadata"]
        metadata["annotations"] = {**kept, **(metadata.get("annotations") or {})}
        if not metadata["annotations"]:
            del metadata["annotations"]
        return self._store(ref, merged)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        ref = _ref(manifest)
        self._note("status", ref)
        if ref not in self.objects:
            raise NotFoundError(f"{ref} is not there")
        return self._store(ref, {**self.objects[ref], "status": copy.deepcopy(manifest["status"])})

    async def create(self, manifest: Manifest) -> Manifest:
        ref = _ref(manifest)
        self._note("create", ref)
        if ref in self.objects:
            raise ConflictError(f"{ref} exists")
        return self._store(ref, copy.deepcopy(manifest))

    async def get(self, ref: Ref) -> Manifest:
        self._note("get", ref)
        if ref not in self.objects:
            raise NotFoundError(f"{ref} is not there")
        return copy.deepcopy(self.objects[ref])

    async def replace(self, manifest: Manifest) -> Manifest:
        ref = _ref(manifest)
        self._note("replace", ref)
        self._check(ref, manifest["metadata"].get("resourceVersion", ""))
        return self._store(ref, copy.deepcopy(manifest))

    async def delete(self, ref: Ref, uid: str, *, at_once: bool = False) -> None:
        self._note("delete", ref)
        found = self.objects.get(ref)
        if found is None:
            return
        if found["metadata"].get("uid") != uid:
            raise ConflictError(f"{ref} is another one")
        del self.objects[ref]

    async def evict(self, ref: Ref, uid: str) -> None:
        self._note("evict", ref)
        if not self.evictions_allowed:
            raise TooManyRequestsError("the disruption budget needs 5 healthy pods and has 5")
        self.objects.pop(ref, None)

    async def annotate(
        self, ref: Ref, annotations: Mapping[str, str | None], resource_version: str
    ) -> Manifest:
        self._note("annotate", ref)
        self._check(ref, resource_version)
        body = copy.deepcopy(self.objects[ref])
        held = {**(body["metadata"].get("annotations") or {}), **annotations}
        body["metadata"]["annotations"] = {k: v for k, v in held.items() if v is not None}
        return self._store(ref, body)

    async def review_token(self, token: str, audience: str) -> Manifest:
        return {"authenticated": False}

    async def get_path(self, path: str) -> Manifest:
        raise NotFoundError(f"nothing is served at {path}")

    async def nodes(self) -> list[Manifest]:
        return self.all_nodes

    async def complaints(self, ref: Ref, reason: str) -> list[str]:
        self._note("events", ref)
        return self.said_of.get(ref, [])

    async def tell(self, about: Manifest, happening: Happening) -> None:
        if "create Event" in self.refuses:
            raise self.refuses["create Event"]
        self.told.append((about["metadata"]["name"], happening))

    def _note(self, verb: str, ref: Ref) -> None:
        self.asked.append(f"{verb} {ref.kind} {ref.name}")
        refusal = self.refuses.get(f"{verb} {ref.kind}")
        if refusal is not None:
            raise refusal

    def _check(self, ref: Ref, resource_version: str) -> None:
        found = self.objects.get(ref)
        if found is None:
            raise NotFoundError(f"{ref} is not there")
        if resource_version and found["metadata"]["resourceVersion"] != resource_version:
            raise ConflictError(f"{ref} has changed")

    def _store(self, ref: Ref, body: Manifest) -> Manifest:
        before = (self.objects.get(ref) or {}).get("metadata") or {}
        metadata = body["metadata"]
        metadata["uid"] = before.get("uid") or metadata.get("uid") or f"uid-{next(self._versions)}"
        metadata["resourceVersion"] = str(next(self._versions))
        metadata.setdefault("creationTimestamp", before.get("creationTimestamp", CREATED))
        self.objects[ref] = body
        return copy.deepcopy(body)


CREATED = "2026-01-01T00:00:00Z"


def _ref(manifest: Manifest) -> Ref:
    metadata = manifest["metadata"]
    return Ref(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
