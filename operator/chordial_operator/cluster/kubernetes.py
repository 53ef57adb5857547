"""The API server through `kubernetes.aio.dynamic`: the only file that knows that library.

Every call is one request with a time-out, at most a few at once, and ends in an answer or one of
our errors. What is worth asking is decided by the turns, never here.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, ApiException
from kubernetes.aio.dynamic import DynamicClient, Resource

from chordial_operator.cluster.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TooManyRequestsError,
    UnreachableError,
)
from chordial_operator.cluster.happenings import Posted, event_manifest, notes
from chordial_operator.cluster.kinds import KINDS, Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.names import FIELD_MANAGER
from chordial_operator.spec.manifest import Manifest

REQUEST_SECONDS = 30.0
MOST_REQUESTS = 24
MOST_EVENTS = 50
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_ERRORS: dict[int, type[ClusterError]] = {
    400: InvalidError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    409: ConflictError,
    410: NotFoundError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}


class _Told(msgspec.Struct):
    """What is read of the Status that comes with a refusal."""

    message: str = ""


class KubernetesCluster:
    """The API server of the cluster that an ApiClient knows."""

    def __init__(self, client: ApiClient, instance: str = "") -> None:
        """Take the configured client; `instance` names this operator in Events."""
        dynamic = DynamicClient(client)  # not awaited: where kinds lie is known, see `kinds`
        self._dynamic = dynamic
        self._send = cast("Callable[..., Awaitable[Manifest]]", dynamic.request)
        self._slots = asyncio.Semaphore(MOST_REQUESTS)
        self._posted = Posted(time.monotonic)
        self._instance = instance
        self.requests = 0
        """How many requests were sent."""

    async def apply(
        self, manifest: Manifest, *, manager: str = FIELD_MANAGER, force: bool = True
    ) -> Manifest:
        """Apply an object server-side and return it as it is now."""
        return await self._apply(_ref(manifest), "", manifest, manager, force)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Apply the status of an object server-side."""
        return await self._apply(_ref(manifest), "/status", manifest, FIELD_MANAGER, True)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object; ConflictError when one of that name exists."""
        ref = _ref(manifest)
        made = await self._ask(
            "post",
            self._path(msgspec.structs.replace(ref, name="")),
            manifest,
            field_manager=FIELD_MANAGER,
        )
        return await self._own(ref, made)

    async def get(self, ref: Ref) -> Manifest:
        """Return an object as the API server has it now."""
        return await self._ask("get", self._path(ref))

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; ConflictError unless its resourceVersion is still that."""
        return await self._ask(
            "put", self._path(_ref(manifest)), manifest, field_manager=FIELD_MANAGER
        )

    async def delete(self, ref: Ref, uid: str, *, at_once: bool = False) -> None:
        """Delete the object of this uid; one that is gone is no error."""
        options: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if at_once:
            options["gracePeriodSeconds"] = 0
        try:
            await self._ask("delete", self._path(ref), options)
        except NotFoundError:
            return

    async def evict(self, ref: Ref, uid: str) -> None:
        """Evict a pod; TooManyRequestsError when a disruption budget forbids it now."""
        eviction: Manifest = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        try:
            await self._ask("post", f"{self._path(ref)}/eviction", eviction)
        except NotFoundError:
            return

    async def annotate(
        self, ref: Ref, annotations: Mapping[str, str | None], resource_version: str
    ) -> Manifest:
        """Write annotations (None removes) unless somebody has changed the object meanwhile."""
        metadata = {"annotations": dict(annotations), "resourceVersion": resource_version}
        return await self._ask(
            "patch",
            self._path(ref),
            {"metadata": metadata},
            content_type=_MERGE,
            field_manager=FIELD_MANAGER,
        )

    async def review_token(self, token: str, audience: str) -> Manifest:
        """Return the `status` of a TokenReview."""
        review: Manifest = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token, "audiences": [audience]},
        }
        said = await self._ask("post", self._path(Ref("TokenReview", "", "")), review)
        status: Manifest = said.get("status") or {}
        return status

    async def get_path(self, path: str) -> Manifest:
        """Return what the API server serves at a path that is no object's."""
        kinds = "application/json, application/jwk-set+json"
        return await self._ask("get", path, header_params={"Accept": kinds})

    async def nodes(self) -> list[Manifest]:
        """Return all Nodes of the cluster."""
        said = await self._ask("get", self._path(Ref("Node", "", "")), resource_version="0")
        items: list[Manifest] = said.get("items") or []
        return items

    async def complaints(self, ref: Ref, reason: str) -> list[str]:
        """Return what Events of a reason say of an object, the newest first."""
        which = f"regarding.kind={ref.kind},regarding.name={ref.name},reason={reason}"
        path = self._path(Ref("Event", ref.namespace, ""))
        said = await self._ask("get", path, field_selector=which, limit=MOST_EVENTS)
        return notes(said.get("items") or [])

    async def tell(self, about: Manifest, happening: Happening) -> None:
        """Post an Event about an object; the same one within ten minutes is not posted again."""
        if not self._posted.is_new(about, happening):
            return
        event = event_manifest(
            about, happening, at=time.time(), instance=self._instance, mark=os.urandom(8).hex()
        )
        namespace = event["metadata"]["namespace"]
        await self._ask("post", self._path(Ref("Event", namespace, "")), event)

    async def _apply(
        self, ref: Ref, below: str, manifest: Manifest, manager: str, force: bool
    ) -> Manifest:
        return await self._ask(
            "patch",
            self._path(ref) + below,
            manifest,
            content_type="application/apply-patch+yaml",
            field_manager=manager,
            force_conflicts=force,
        )

    async def _own(self, ref: Ref, made: Manifest) -> Manifest:
        """Turn the ownership of what was created into that of what was applied.

        Else a field that is applied no more would stay for ever, as the creator's.
        """
        entries = made["metadata"].get("managedFields") or []
        owned = [
            {**entry, "operation": "Apply"} if entry.get("manager") == FIELD_MANAGER else entry
            for entry in entries
        ]
        patch = [
            {
                "op": "test",
                "path": "/metadata/resourceVersion",
                "value": made["metadata"]["resourceVersion"],
            },
            {"op": "replace", "path": "/metadata/managedFields", "value": owned},
        ]
        try:
            return await self._ask(
                "patch",
                self._path(ref),
                patch,
                content_type=_JSON_PATCH,
                field_manager=FIELD_MANAGER,
            )
        except (ConflictError, InvalidError, NotFoundError):
            return made  # somebody was quicker; the object stands all the same

    def _path(self, ref: Ref) -> str:
        kind = KINDS[ref.kind]
        resource = Resource(
            prefix="apis" if kind.group else "api",
            group=kind.group,
            api_version=kind.version,
            kind=ref.kind,
            namespaced=kind.namespaced,
            name=kind.plural,
            client=self._dynamic,
        )
        path: str = resource.path(name=ref.name or None, namespace=ref.namespace or None)
        return path

    async def _ask(self, method: str, path: str, body: object = None, **params: object) -> Manifest:
        async with self._slots:
            self.requests += 1
            try:
                return await self._send(
                    method, path, body, serializer=_plain, _request_timeout=REQUEST_SECONDS,
                    **params,
                )  # fmt: skip
            except ApiException as error:
                raise _translated(error) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                said = str(error) or type(error).__name__
                raise UnreachableError(f"the API server did not answer: {said}") from error


def _ref(manifest: Manifest) -> Ref:
    metadata = manifest["metadata"]
    return Ref(manifest["kind"], metadata.get("namespace", ""), metadata["name"])


def _plain(_: object, data: Manifest) -> Manifest:
    return data


def _translated(error: ApiException) -> ClusterError:
    status = error.status or 0
    text = _message(error)
    if status == 429:
        return TooManyRequestsError(text, _retry_after(error))
    known = _ERRORS.get(status)
    if known is not None:
        return known(text)
    return UnreachableError(text)


def _message(error: ApiException) -> str:
    body = error.body or ""
    try:
        told = msgspec.json.decode(body, type=_Told).message
    except (msgspec.MsgspecError, TypeError):
        told = ""
    return told or f"{error.status} {error.reason}"


def _retry_after(error: ApiException) -> float:
    headers: Mapping[str, str] = error.headers or {}
    try:
        return min(60.0, max(1.0, float(headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0
