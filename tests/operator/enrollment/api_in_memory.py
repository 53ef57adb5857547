"""The API server's part in enrollment, in memory: objects, resource versions, tokens it knows."""

import copy
from collections.abc import Callable, Mapping

from chordial_operator.cluster.errors import ConflictError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.spec.manifest import Manifest


class ApiInMemory:
    """Keeps objects and answers as the API server would."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.tokens: dict[str, Manifest] = {}
        self.paths: dict[str, Manifest] = {}
        self.asked: list[str] = []
        self.before_create: Callable[[], None] = lambda: None
        self.before_write: Callable[[], None] = lambda: None
        self._version = 100

    def put(self, kind: str, body: Mapping[str, object]) -> Manifest:
        """Put an object there, as if somebody else had written it."""
        held: Manifest = copy.deepcopy(dict(body))
        self._version += 1
        held["metadata"]["resourceVersion"] = str(self._version)
        held["metadata"].setdefault("uid", f"uid-{self._version}")
        meta = held["metadata"]
        self.objects[Ref(kind, meta.get("namespace", ""), meta["name"])] = held
        return copy.deepcopy(held)

    async def get(self, ref: Ref) -> Manifest:
        self.asked.append(f"get {ref}")
        if ref not in self.objects:
            raise NotFoundError(f"{ref} is not there")
        return copy.deepcopy(self.objects[ref])

    async def create(self, manifest: Manifest) -> Manifest:
        self.before_create()
        ref = _ref(manifest)
        self.asked.append(f"create {ref}")
        if ref in self.objects:
            raise ConflictError(f"{ref} exists")
        return self.put(manifest["kind"], manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self.before_write()
        ref = _ref(manifest)
        self.asked.append(f"replace {ref}")
        held = self.objects[ref]["metadata"]
        if held["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise ConflictError(f"{ref} was changed")
        return self.put(manifest["kind"], manifest)

    async def delete(self, ref: Ref, uid: str) -> None:
        self.asked.append(f"delete {ref}")
        if ref in self.objects and self.objects[ref]["metadata"]["uid"] == uid:
            del self.objects[ref]

    async def annotate(
        self, ref: Ref, annotations: Mapping[str, str | None], resource_version: str
    ) -> Manifest:
        self.before_write()
        self.asked.append(f"annotate {ref}")
        held = copy.deepcopy(self.objects[ref])
        if held["metadata"]["resourceVersion"] != resource_version:
            raise ConflictError(f"{ref} was changed")
        held["metadata"].setdefault("annotations", {}).update(annotations)
        return self.put(ref.kind, held)

    async def review_token(self, token: str, audience: str) -> Manifest:
        self.asked.append("review")
        assert audience == "chordial"
        return self.tokens.get(token, {"authenticated": False, "error": "unknown"})

    async def get_path(self, path: str) -> Manifest:
        self.asked.append(f"get {path}")
        if path not in self.paths:
            raise NotFoundError(f"nothing is served at {path}")
        return copy.deepcopy(self.paths[path])


def _ref(manifest: Manifest) -> Ref:
    meta = manifest["metadata"]
    return Ref(manifest["kind"], meta.get("namespace", ""), meta["name"])
