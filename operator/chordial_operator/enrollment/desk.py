"""One enrollment from request to answer: ask the API server, judge, write down, sign.

Level-triggered like the rest: everything is read live for each request, nothing is remembered but
the authority for seconds. What is issued is written on the peer's StatefulSet *before* it is handed
out, with a precondition; whoever loses that race judges again. No gRPC type belongs here.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.security.authority import Term, requested_public_key
from chordial_node.security.certificates import IdentityError, key_hash_of
from chordial_operator.cluster.errors import ConflictError, ForbiddenError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.api import EnrollmentCluster
from chordial_operator.enrollment.authority import Draw, OverlayIdentity, PeerKey, draw_serial
from chordial_operator.enrollment.checks import (
    SET_KINDS,
    Admission,
    EnrollmentRefusedError,
    Evidence,
    Reason,
    Wish,
    admit,
    claims_of,
    controller_of,
    failure_domain,
    overlay_of,
)
from chordial_operator.enrollment.issuing import Issued, issue_listener, issue_peer
from chordial_operator.enrollment.last_issue import (
    ENROLLED_ANNOTATION,
    LastIssue,
)
from chordial_operator.enrollment.limits import CallerLimits, Rate, TokenBucket
from chordial_operator.enrollment.rotation import rekeyed
from chordial_operator.enrollment.store import AuthorityStore
from chordial_operator.enrollment.tokens import TokenReviewer
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay, parse_overlay

LONGEST_TOKEN = 16_384
LONGEST_REQUEST = 8_192
MOST_TRIES = 6
IN_ALL = Rate(burst=400.0, per_second=100.0)
PER_SOURCE = Rate(burst=30.0, per_second=5.0)
"""By address, before the token is reviewed: several pods may share one."""
PER_POD = Rate(burst=5.0, per_second=0.2)

log = logging.getLogger("chordial.enrollment")


class _Keys(msgspec.Struct, frozen=True):
    """Public keys (DER) whose possession the caller has proven."""

    peer: bytes
    listener: bytes


class EnrollmentDesk:
    """Answers requests for certificates."""

    def __init__(
        self,
        cluster: EnrollmentCluster,
        store: AuthorityStore,
        *,
        draw: Draw = os.urandom,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the API server, and where authorities are kept."""
        self._cluster = cluster
        self._store = store
        self._reviewer = TokenReviewer(cluster, clock)
        self._draw = draw
        self._clock = clock
        self._in_all = TokenBucket(IN_ALL, clock())
        self._sources = CallerLimits(PER_SOURCE, clock)
        self._pods = CallerLimits(PER_POD, clock)
        self.outcomes: Counter[str] = Counter()
        """Requests by what came of them: a step, or the reason of a refusal."""

    async def enroll(self, request: EnrollmentRequest, source: str) -> Enrolled:
        """Return what makes the caller a peer; EnrollmentRefusedError says why it is none."""
        try:
            admission, enrolled = await self._enroll(request, source)
        except EnrollmentRefusedError as error:
            self.outcomes[error.reason] += 1
            if error.reason is not Reason.BUSY:  # a flood is counted, a line each would be another
                log.warning("refused %s: %s (%s)", source, error, error.reason)
            raise
        except Exception:
            self.outcomes["failed"] += 1
            raise
        self.outcomes[admission.step] += 1
        log.info(
            "issued a certificate to %s/%s of overlay %s at %s: %s",
            admission.namespace, admission.peer, admission.overlay, source, admission.step,
        )  # fmt: skip
        if admission.superseded:
            log.warning(
                "the certificate %s of %s/%s is superseded: another key counts from now on",
                admission.superseded, admission.namespace, admission.peer,
            )  # fmt: skip
        return enrolled

    async def _enroll(self, request: EnrollmentRequest, source: str) -> tuple[Admission, Enrolled]:
        if not self._in_all.take(self._clock()) or not self._sources.take(source):
            raise EnrollmentRefusedError(Reason.BUSY, "too many requests: ask again later")
        keys = _proven_keys(request)
        token = await self._reviewer.review(request.token)
        if not self._pods.take(claims_of(token).pod_uid):
            raise EnrollmentRefusedError(Reason.BUSY, "this pod asks too often: wait some seconds")
        wish = Wish(request.overlay_name, keys.peer, request.is_superseded)
        for _ in range(MOST_TRIES):
            evidence = await self._evidence(token)
            admission = admit(evidence, wish, self._clock())
            enrolled = await self._issue(admission, evidence, keys)
            if enrolled is not None:
                return admission, enrolled
        raise EnrollmentRefusedError(Reason.BUSY, "the peer's StatefulSet changes too fast")

    async def _evidence(self, token: Manifest) -> Evidence:
        """Follow the pod's controllers as far as they lead."""
        claims = claims_of(token)
        namespace = claims.namespace
        try:
            pod = await self._get("Pod", namespace, claims.pod_name)
        except ForbiddenError as error:
            raise EnrollmentRefusedError(
                Reason.OTHER_OVERLAY,
                f"the pod is in namespace {namespace}, which this operator does not look after",
            ) from error
        evidence = Evidence(token=token, pod=pod)
        owner = controller_of(evidence.pod) if evidence.pod is not None else None
        if owner is None or owner.kind != "StatefulSet":
            return evidence
        stateful_set = await self._get("StatefulSet", namespace, owner.name)
        evidence = msgspec.structs.replace(evidence, stateful_set=stateful_set)
        owner = controller_of(stateful_set) if stateful_set is not None else None
        if owner is None or owner.kind not in SET_KINDS:
            return evidence
        peer_set = await self._get(owner.kind, namespace, owner.name)
        evidence = msgspec.structs.replace(evidence, peer_set=peer_set)
        name = overlay_of(peer_set) if peer_set is not None else ""
        if not name:
            return evidence
        overlay = await self._get("Overlay", namespace, name)
        return msgspec.structs.replace(evidence, overlay=overlay)

    async def _issue(
        self, admission: Admission, evidence: Evidence, keys: _Keys
    ) -> Enrolled | None:
        """Write down and hand out; None when somebody changed the StatefulSet meanwhile."""
        assert evidence.overlay is not None  # admitted
        overlay = parse_overlay(dict(evidence.overlay))
        identity, secrets = await self._store.open(overlay)
        if admission.node_id in identity.revoked:
            raise EnrollmentRefusedError(
                Reason.REVOKED,
                f"Node-ID {admission.node_id.hex()} of {admission.peer} is shut out of the overlay:"
                " remove the peer, another one takes its place",
            )
        issued = issue_peer(
            secrets, keys.peer, admission.node_id, admission.peer, term=self._term(overlay)
        )
        listener = b""
        if keys.listener:
            listener = issue_listener(
                secrets, keys.listener, overlay.domains, admission.advertised,
                term=self._term(overlay),
            )  # fmt: skip
        identity = await self._supersede(overlay, admission, identity, keys.peer)
        if not await self._write_down(admission, keys.peer, issued):
            return None
        return Enrolled(
            certificate=issued.certificate,
            trusted=identity.roots,
            overlay_keys=secrets.keys_json,
            failure_domain=await self._failure_domain(admission.node_name),
            configuration=identity.configuration,
            listener_certificate=listener,
        )

    async def _supersede(
        self,
        overlay: Overlay,
        admission: Admission,
        identity: OverlayIdentity,
        public_key: bytes,
    ) -> OverlayIdentity:
        """Let the key that a peer has now alone count, if somebody else has the one before.

        That of a pod that is gone needs no word to all peers: whoever shows it will be noticed.
        """
        key_hash = key_hash_of(public_key)
        told = identity.peer_keys.get(admission.node_id)
        if not admission.is_stolen and told in (None, key_hash):
            return identity
        key = PeerKey(admission.node_id, key_hash, admission.superseded_until)
        now, is_stolen = self._clock(), admission.is_stolen
        changed, _ = await self._store.change(
            overlay, lambda record: rekeyed(record, key, now, is_stolen=is_stolen)
        )
        return changed

    async def _write_down(self, admission: Admission, public_key: bytes, issued: Issued) -> bool:
        last = LastIssue(
            key_hash_of(public_key), admission.pod_uid, f"{issued.serial:x}", int(issued.not_after)
        )
        ref = Ref("StatefulSet", admission.namespace, admission.peer)
        try:
            await self._cluster.annotate(
                ref, {ENROLLED_ANNOTATION: last.text()}, admission.resource_version
            )
        except ConflictError:
            return False
        return True

    async def _failure_domain(self, node_name: str) -> str:
        if not node_name:
            return ""
        try:
            return failure_domain(await self._get("Node", "", node_name), node_name)
        except ForbiddenError:  # a namespaced operator
            return node_name

    async def _get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._cluster.get(Ref(kind, namespace, name))
        except NotFoundError:
            return None

    def _term(self, overlay: Overlay) -> Term:
        return Term(self._clock(), overlay.certificates.lifetime, draw_serial(self._draw))


def _proven_keys(request: EnrollmentRequest) -> _Keys:
    sizes = (len(request.token), len(request.request), len(request.listener_request))
    if sizes[0] > LONGEST_TOKEN or max(sizes[1:]) > LONGEST_REQUEST:
        raise EnrollmentRefusedError(Reason.MALFORMED, "the request is longer than any good one")
    if not request.token:
        raise EnrollmentRefusedError(Reason.MALFORMED, "the request has no token")
    try:
        peer = requested_public_key(request.request)
        wanted = request.listener_request
        listener = requested_public_key(wanted) if wanted else b""
    except IdentityError as error:
        raise EnrollmentRefusedError(Reason.MALFORMED, str(error)) from error
    if peer == listener:
        raise EnrollmentRefusedError(
            Reason.MALFORMED, "listeners need a key of their own, not the peer's"
        )
    return _Keys(peer, listener)
