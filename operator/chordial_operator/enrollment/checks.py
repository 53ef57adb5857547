"""Who may have which certificate: every rule of enrollment, pure (fleet H9, 2.2).

A token that the API server believes is not enough: it may be of another audience, account or
namespace, bound to no pod, or outlive its pod by ten seconds. So the pod is read live, and its
chain of controllers is followed, by uid, to the set and the Overlay; the Node-ID comes from there.
Whoever may create pods in an overlay's namespace is trusted with the overlay.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from chordial_node.ids import NodeId, node_id
from chordial_operator.enrollment.authority import overlay_name_of
from chordial_operator.enrollment.last_issue import (
    ENROLLED_ANNOTATION,
    LastIssue,
    Step,
    judge,
    read_last_issue,
)
from chordial_operator.enrollment.objects import (
    NodeObject,
    OverlayObject,
    OwnerReference,
    PeerSetObject,
    Pod,
    StatefulSet,
    TokenStatus,
    read,
)
from chordial_operator.names import GROUP, NODE_ID_ANNOTATION, TOKEN_AUDIENCE

ACCOUNT_SUFFIX = "-peer"
ACCOUNT_PREFIX = "system:serviceaccount:"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
ZONE_LABEL = "topology.kubernetes.io/zone"
OUR_GROUP = f"{GROUP}/"
SET_KINDS = ("BootstrapSet", "RelaySet")
LIVING_PHASES = ("Pending", "Running")

Body = Mapping[str, object] | None
"""An object as the API server gave it; None: there is none."""


class Reason(StrEnum):
    """Why an enrollment was refused: the value of a counter's label."""

    MALFORMED = "malformed"
    BUSY = "busy"
    NOT_AUTHENTICATED = "not_authenticated"
    OTHER_AUDIENCE = "other_audience"
    OTHER_ACCOUNT = "other_account"
    NO_POD = "no_pod"
    POD_GONE = "pod_gone"
    POD_REPLACED = "pod_replaced"
    POD_ENDED = "pod_ended"
    POD_LEAVES = "pod_leaves"
    NO_PEER = "no_peer"
    OTHER_OVERLAY = "other_overlay"
    NO_NODE_ID = "no_node_id"
    REVOKED = "revoked"
    KEY_TAKEN = "key_taken"


class EnrollmentRefusedError(Exception):
    """Nobody gets a certificate for this; the message says why, to the caller and the log."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Claims(msgspec.Struct, frozen=True):
    """Whose token it is, as the API server says."""

    namespace: str
    account: str
    pod_name: str
    pod_uid: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the API server said, each object read live; what was not reached is None."""

    token: Mapping[str, object]
    """The status of the TokenReview."""
    pod: Body = None
    stateful_set: Body = None
    peer_set: Body = None
    overlay: Body = None


class Wish(msgspec.Struct, frozen=True):
    """What is asked for."""

    overlay_name: str
    public_key: bytes
    """SubjectPublicKeyInfo, DER; its possession is proven."""
    is_superseded: bool = False
    """Another process shows the certificate that the pod had, so its key is a new one."""


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets a certificate."""

    namespace: str
    overlay: str
    peer: str
    node_id: NodeId
    pod_uid: str
    node_name: str
    """Of the Kubernetes Node; empty while the pod is not bound to one."""
    step: Step
    superseded: str
    """The serial number of the certificate that counts no more, hexadecimal, or empty."""
    superseded_until: int
    """When that one would have ended, in seconds since 1970; 0: there is none."""
    is_stolen: bool
    """Whether somebody else has the key of that one."""
    advertised: tuple[str, ...]
    """What phones dial, as the set says."""
    resource_version: str
    """Of the StatefulSet as it was judged."""


def claims_of(token: Mapping[str, object]) -> Claims:
    """Return whose pod's token it is; EnrollmentRefusedError says what it lacks."""
    status = read(TokenStatus, token)
    if not status.authenticated:
        raise EnrollmentRefusedError(
            Reason.NOT_AUTHENTICATED,
            f"the API server does not know the token ({status.error or 'no reason told'}):"
            " read it again from its file",
        )
    if TOKEN_AUDIENCE not in status.audiences:
        heard = ", ".join(status.audiences) or "nobody"
        raise EnrollmentRefusedError(
            Reason.OTHER_AUDIENCE,
            f"the token is for {heard}, needed is audience {TOKEN_AUDIENCE!r}",
        )
    namespace, colon, account = status.user.username.removeprefix(ACCOUNT_PREFIX).partition(":")
    is_account = status.user.username.startswith(ACCOUNT_PREFIX) and colon and namespace
    if not is_account or not account.removesuffix(ACCOUNT_SUFFIX) or not _is_peers(account):
        raise EnrollmentRefusedError(
            Reason.OTHER_ACCOUNT,
            f"the token is of {status.user.username!r}, needed is the service account"
            f" OVERLAY{ACCOUNT_SUFFIX} of the overlay's namespace",
        )
    pod_name = next(iter(status.user.extra.get(POD_NAME, ())), "")
    pod_uid = next(iter(status.user.extra.get(POD_UID, ())), "")
    if not pod_name or not pod_uid:
        raise EnrollmentRefusedError(
            Reason.NO_POD,
            "the token is bound to no pod: peers use the token that is projected into them",
        )
    return Claims(namespace, account, pod_name, pod_uid)


def controller_of(body: Mapping[str, object]) -> OwnerReference | None:
    """Return who controls a pod or StatefulSet."""
    return read(StatefulSet, body).metadata.controller


def overlay_of(peer_set: Mapping[str, object]) -> str:
    """Return the name of the Overlay that a set belongs to."""
    return read(PeerSetObject, peer_set).spec.overlay_ref.name


def admit(evidence: Evidence, wish: Wish, now: float) -> Admission:
    """Return who gets a certificate; EnrollmentRefusedError says why nobody does."""
    claims = claims_of(evidence.token)
    pod = _living_pod(claims, evidence.pod)
    stateful_set = _stateful_set(pod, evidence.stateful_set)
    peer_set = _peer_set(stateful_set, evidence.peer_set)
    overlay = _overlay(claims, peer_set, evidence.overlay, wish)
    step, superseded = _judge_key(pod, stateful_set, wish, now)
    return Admission(
        namespace=claims.namespace,
        overlay=overlay,
        peer=stateful_set.metadata.name,
        node_id=_node_id(stateful_set),
        pod_uid=pod.metadata.uid,
        node_name=pod.spec.node_name,
        step=step,
        superseded=superseded.serial if superseded is not None else "",
        superseded_until=superseded.not_after if superseded is not None else 0,
        is_stolen=superseded is not None and wish.is_superseded,
        advertised=peer_set.spec.advertise.addresses,
        resource_version=stateful_set.metadata.resource_version,
    )


def failure_domain(node: Body, node_name: str) -> str:
    """Return `ZONE/NODE`, or the node's name alone where Nodes cannot be read or have no zone."""
    zone = read(NodeObject, node).metadata.labels.get(ZONE_LABEL, "") if node is not None else ""
    return f"{zone}/{node_name}" if zone else node_name


def _is_peers(account: str) -> bool:
    return account.endswith(ACCOUNT_SUFFIX)


def _living_pod(claims: Claims, body: Body) -> Pod:
    where = f"pod {claims.namespace}/{claims.pod_name}"
    if body is None:
        raise EnrollmentRefusedError(Reason.POD_GONE, f"{where} is gone")
    pod = read(Pod, body)
    if pod.metadata.uid != claims.pod_uid:
        raise EnrollmentRefusedError(
            Reason.POD_REPLACED, f"{where} is another one now: the token was of an earlier one"
        )
    if pod.spec.service_account_name != claims.account:
        raise EnrollmentRefusedError(
            Reason.OTHER_ACCOUNT,
            f"{where} runs as {pod.spec.service_account_name!r},"
            f" the token is of {claims.account!r}",
        )
    if pod.status.phase not in LIVING_PHASES:
        raise EnrollmentRefusedError(
            Reason.POD_ENDED, f"{where} is {pod.status.phase or 'of no phase'}: it runs no more"
        )
    return pod


def _stateful_set(pod: Pod, body: Body) -> StatefulSet:
    owner = pod.metadata.controller
    where = f"pod {pod.metadata.namespace}/{pod.metadata.name}"
    if owner is None or owner.kind != "StatefulSet" or not owner.api_version.startswith("apps/"):
        raise EnrollmentRefusedError(Reason.NO_PEER, f"{where} was not made by a StatefulSet")
    found = read(StatefulSet, body) if body is not None else None
    if found is None or found.metadata.uid != owner.uid:
        raise EnrollmentRefusedError(
            Reason.NO_PEER, f"{where} was made by StatefulSet {owner.name}, which is gone"
        )
    if pod.metadata.name != f"{found.metadata.name}-0":
        raise EnrollmentRefusedError(
            Reason.NO_PEER,
            f"{where} is not the first of its StatefulSet: a peer's StatefulSet has one pod",
        )
    return found


def _peer_set(stateful_set: StatefulSet, body: Body) -> PeerSetObject:
    owner = stateful_set.metadata.controller
    where = f"StatefulSet {stateful_set.metadata.namespace}/{stateful_set.metadata.name}"
    if (
        owner is None
        or owner.kind not in SET_KINDS
        or not owner.api_version.startswith(OUR_GROUP)
    ):  # fmt: skip
        raise EnrollmentRefusedError(
            Reason.NO_PEER, f"{where} belongs to no {' or '.join(SET_KINDS)}"
        )
    found = read(PeerSetObject, body) if body is not None else None
    if found is None or found.metadata.uid != owner.uid:
        raise EnrollmentRefusedError(
            Reason.NO_PEER, f"{where} belongs to {owner.kind} {owner.name}, which is gone"
        )
    return found


def _overlay(claims: Claims, peer_set: PeerSetObject, body: Body, wish: Wish) -> str:
    name = peer_set.spec.overlay_ref.name
    if body is None or not name:
        raise EnrollmentRefusedError(
            Reason.OTHER_OVERLAY, f"overlay {claims.namespace}/{name} does not exist"
        )
    overlay = read(OverlayObject, body)
    owners = [each for each in peer_set.metadata.owner_references if each.kind == "Overlay"]
    if overlay.metadata.name != name or any(o.uid != overlay.metadata.uid for o in owners):
        raise EnrollmentRefusedError(
            Reason.OTHER_OVERLAY,
            f"set {claims.namespace}/{peer_set.metadata.name} is of another overlay than {name}",
        )
    if claims.account != f"{name}{ACCOUNT_SUFFIX}":
        raise EnrollmentRefusedError(
            Reason.OTHER_ACCOUNT,
            f"the token is of account {claims.account!r}, peers of overlay {name} use"
            f" {name + ACCOUNT_SUFFIX!r}",
        )
    if wish.overlay_name != overlay_name_of(claims.namespace, name):
        raise EnrollmentRefusedError(
            Reason.OTHER_OVERLAY,
            f"the pod is of overlay {overlay_name_of(claims.namespace, name)},"
            f" not of {wish.overlay_name}",
        )
    return name


def _judge_key(
    pod: Pod, stateful_set: StatefulSet, wish: Wish, now: float
) -> tuple[Step, LastIssue | None]:
    """Return what the certificate would be, and what was issued for a key that is superseded."""
    last = read_last_issue(stateful_set.metadata.annotations.get(ENROLLED_ANNOTATION, ""))
    step = judge(last, wish.public_key, pod.metadata.uid, now, is_superseded=wish.is_superseded)
    peer = stateful_set.metadata.name
    if step is not Step.RENEWAL and pod.metadata.deletion_timestamp is not None:
        raise EnrollmentRefusedError(
            Reason.POD_LEAVES, f"the pod of {peer} is being deleted: it may only renew its own key"
        )
    if step is Step.REFUSED:
        raise EnrollmentRefusedError(
            Reason.KEY_TAKEN,
            f"this pod of {peer} has a certificate for another key already:"
            " delete the pod if its volume was lost",
        )
    return step, last if step is Step.REPLACEMENT else None


def _node_id(stateful_set: StatefulSet) -> NodeId:
    try:
        return node_id(stateful_set.metadata.annotations.get(NODE_ID_ANNOTATION, ""))
    except ValueError as error:
        raise EnrollmentRefusedError(
            Reason.NO_NODE_ID,
            f"StatefulSet {stateful_set.metadata.name} has no usable annotation"
            f" {NODE_ID_ANNOTATION}: {error}",
        ) from error
