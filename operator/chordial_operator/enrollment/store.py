"""Where overlays' authorities are kept: one Secret each in the operator's namespace (fleet H21).

Made once and never overwritten: when two replicas make one at the same time, the API server lets
one through and the other reads it. Every later change is one step, written with the resource
version that it was made from. A Secret is read by name, never listed, and remembered for a moment.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence

import msgspec

from chordial_operator.cluster.errors import ConflictError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.api import AuthorityCluster
from chordial_operator.enrollment.authority import (
    AuthorityError,
    AuthorityRecord,
    CaPair,
    Draw,
    OverlayIdentity,
    OverlaySecrets,
    make_authority,
    open_authority,
    overlay_name_of,
)
from chordial_operator.enrollment.authority_secret import (
    authority_secret,
    read_authority,
    read_own_ca,
    secret_name,
)
from chordial_operator.enrollment.rotation import (
    ROTATE_CA_ANNOTATION,
    PeerBundle,
    RotationWishes,
    next_record,
)
from chordial_operator.names import GROUP
from chordial_operator.spec.manifest import Manifest, meta_of
from chordial_operator.spec.overlay import Overlay

KEPT_SECONDS = 5.0
"""How long a Secret that was read is believed without a question."""
MOST_KEPT = 256
START_ANEW_ANNOTATION = f"{GROUP}/start-anew"
"""On an Overlay whose authority is lost: its instance id, to be given up. It holds once."""
MOST_TRIES = 8

Opened = tuple[OverlayIdentity, OverlaySecrets]


class _Kept(msgspec.Struct, frozen=True):
    """An authority that was read, and until when it is believed."""

    until: float
    resource_version: str
    record: AuthorityRecord
    opened: Opened

    def __repr__(self) -> str:
        return "_Kept()"


class AuthorityStore:
    """The authorities of all overlays that this operator knows."""

    def __init__(
        self,
        cluster: AuthorityCluster,
        namespace: str,
        *,
        draw: Draw = os.urandom,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the API server and the operator's own namespace."""
        self._cluster = cluster
        self._namespace = namespace
        self._draw = draw
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def open(self, overlay: Overlay) -> Opened:
        """Return an overlay's authority, made if there was none; AuthorityError says why not."""
        return (await self._read(overlay)).opened

    async def record(self, overlay: Overlay) -> AuthorityRecord:
        """Return all that is kept of an overlay's authority, made if there was none."""
        return (await self._read(overlay)).record

    async def change(
        self, overlay: Overlay, step: Callable[[AuthorityRecord], AuthorityRecord]
    ) -> Opened:
        """Write what a step makes of the present record; a step that returns it writes nothing.

        The step is called again when somebody else has changed the record meanwhile.
        """
        for _ in range(MOST_TRIES):
            self._forget(overlay)
            kept = await self._read(overlay)
            made = step(kept.record)
            if made is kept.record:
                return kept.opened
            manifest = self._manifest(overlay, made)
            manifest["metadata"]["resourceVersion"] = kept.resource_version
            try:
                return self._keep(overlay, await self._cluster.replace(manifest)).opened
            except ConflictError:
                await asyncio.sleep(0)
        raise ConflictError(f"the authority of {_named(overlay)} changes faster than it is read")

    async def wishes(self, overlay: Overlay, *, is_resealed: bool) -> RotationWishes:
        """Return what asks for a rotation; AuthorityError if the own authority cannot be used."""
        return RotationWishes(
            annotation=overlay.meta.annotations.get(ROTATE_CA_ANNOTATION, ""),
            lifetime_seconds=overlay.certificates.ca_lifetime,
            own=await self._own_ca(overlay),
            brings_own=overlay.certificates.ca_secret_ref is not None,
            is_resealed=is_resealed,
        )

    async def advance(
        self, overlay: Overlay, peers: Sequence[PeerBundle], *, is_resealed: bool
    ) -> Opened:
        """Take the one step of a rotation that may be taken now, if any: once in every turn.

        `peers` are all that have an identity, but those that are given up as lost.
        """
        wishes = await self.wishes(overlay, is_resealed=is_resealed)

        def step(record: AuthorityRecord) -> AuthorityRecord:
            return next_record(record, wishes, peers, draw=self._draw, now=self._clock())

        kept = await self._read(overlay)
        if step(kept.record) is kept.record:
            return kept.opened
        return await self.change(overlay, step)

    async def delete(self, namespace: str, name: str) -> None:
        """Delete an overlay's authority for good: for `deletionPolicy: Delete` alone."""
        self._kept.pop((namespace, name), None)
        ref = self._ref(namespace, name)
        try:
            found = await self._cluster.get(ref)
        except NotFoundError:
            return
        await self._cluster.delete(ref, meta_of(found).uid)

    async def _read(self, overlay: Overlay) -> _Kept:
        kept = self._kept.get(_key(overlay))
        if kept is not None and self._clock() < kept.until:
            return kept
        ref = self._ref(*_key(overlay))
        try:
            found = await self._cluster.get(ref)
        except NotFoundError:
            await self._must_be_new(overlay)
            try:
                found = await self._cluster.create(await self._new(overlay))
            except ConflictError:
                found = await self._cluster.get(ref)
        return self._keep(overlay, found)

    async def _must_be_new(self, overlay: Overlay) -> None:
        """Refuse another authority to an overlay that has had one: its peers would all be shut out.

        The Overlay is read live: what a watch has shown may be older than the first authority.
        """
        namespace, name = _key(overlay)
        try:
            body = await self._cluster.get(Ref("Overlay", namespace, name))
        except NotFoundError:
            return
        lost = str((body.get("status") or {}).get("instanceID") or "")
        annotations = meta_of(body).annotations
        if lost and annotations.get(START_ANEW_ANNOTATION) != lost:
            raise AuthorityError(
                f"Secret {self._namespace}/{secret_name(namespace, name)} with the authority of"
                " this overlay is gone. Peers run on until their certificates end. Restore the"
                " Secret from its backup; or, to give up all peers' identities and begin anew,"
                f" annotate the Overlay with {START_ANEW_ANNOTATION}={lost} and delete its peers'"
                " StatefulSets and volumes."
            )

    async def _new(self, overlay: Overlay) -> Manifest:
        record = make_authority(
            overlay_name_of(*_key(overlay)),
            founders=overlay.successors + 1,
            lifetime_seconds=overlay.certificates.ca_lifetime,
            draw=self._draw,
            now=self._clock(),
            own=await self._own_ca(overlay),
        )
        return self._manifest(overlay, record)

    async def _own_ca(self, overlay: Overlay) -> CaPair | None:
        reference = overlay.certificates.ca_secret_ref
        if reference is None:
            return None
        where = f"spec.certificates.caSecretRef: Secret {overlay.meta.namespace}/{reference.name}"
        try:
            found = await self._cluster.get(Ref("Secret", overlay.meta.namespace, reference.name))
            return read_own_ca(found, overlay_name_of(*_key(overlay)), self._clock())
        except NotFoundError as error:
            raise AuthorityError(f"{where} does not exist") from error
        except AuthorityError as error:
            raise AuthorityError(f"{where}: {error}") from error

    def _keep(self, overlay: Overlay, secret: Manifest) -> _Kept:
        until = self._clock() + KEPT_SECONDS
        version = meta_of(secret).resource_version
        before = self._kept.get(_key(overlay))
        if before is not None and before.resource_version == version:
            kept = msgspec.structs.replace(before, until=until)
        else:
            record = self._parse(overlay, secret)
            kept = _Kept(until, version, record, open_authority(record))
        self._kept.pop(_key(overlay), None)
        while len(self._kept) >= MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[_key(overlay)] = kept
        return kept

    def _parse(self, overlay: Overlay, secret: Manifest) -> AuthorityRecord:
        try:
            return read_authority(secret, overlay_name_of(*_key(overlay)))
        except AuthorityError as error:
            name = secret_name(*_key(overlay))
            raise AuthorityError(f"Secret {self._namespace}/{name}: {error}") from error

    def _forget(self, overlay: Overlay) -> None:
        kept = self._kept.get(_key(overlay))
        if kept is not None:
            self._kept[_key(overlay)] = msgspec.structs.replace(kept, until=0.0)

    def _manifest(self, overlay: Overlay, record: AuthorityRecord) -> Manifest:
        return authority_secret(record, self._namespace, *_key(overlay))

    def _ref(self, namespace: str, name: str) -> Ref:
        return Ref("Secret", self._namespace, secret_name(namespace, name))


def _key(overlay: Overlay) -> tuple[str, str]:
    return overlay.meta.namespace, overlay.meta.name


def _named(overlay: Overlay) -> str:
    return f"{overlay.meta.namespace}/{overlay.meta.name}"
