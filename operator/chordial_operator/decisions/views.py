"""What the operator sees of one peer: its StatefulSet, pod, Node, and its own word, joined.

Pure functions of manifests. Every decision and every status looks at these structs and at nothing
else, so that two operators with the same view decide alike. No decision belongs here.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from chordial_node.ids import NodeId, node_id
from chordial_operator.names import (
    LEAVING_ANNOTATION,
    NODE_ID_ANNOTATION,
    REMOVE_FIRST_ANNOTATION,
    ROLE_LABEL,
    SET_LABEL,
    TEMPLATE_HASH_ANNOTATION,
    peer_number,
    pod_name,
)
from chordial_operator.spec.manifest import Manifest, meta_of

ZONE_LABEL = "topology.kubernetes.io/zone"


class NodeView(msgspec.Struct, frozen=True):
    """The Node that a pod runs on."""

    cordoned: bool = False
    unreachable_since: float | None = None
    """Since when its kubelet has been silent; None: it is heard."""
    failure_domain: str = ""


class PodView(msgspec.Struct, frozen=True):
    """A peer's pod."""

    name: str
    uid: str = ""
    ip: str = ""
    node: str = ""
    phase: str = ""
    is_ready: bool = False
    ready_changed: float | None = None
    """When it last became ready or unready."""
    is_terminating: bool = False
    started_at: float = 0.0
    """When the pod was created."""
    template_hash: str = ""
    image: str = ""
    waiting: str = ""
    """Why it is not scheduled, or a container does not run, with the message."""


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer last said of itself."""

    at: float
    state: str = ""
    is_ready: bool = False
    in_step: bool = False
    calls: int = 0
    registrations: int = 0
    phones_waiting: int = 0
    copies_missing: int = 0
    entries: int = 0
    """Held at all, as owner or as copy."""
    membership_digest: str = ""
    members_alive: tuple[NodeId, ...] = ()
    """Whom it holds alive, itself included."""
    members_known: tuple[NodeId, ...] = ()
    """Whom it knows to be away but not to have left: they may come back."""
    version: str = ""
    failure_domain: str = ""
    not_after: float = 0.0
    bundle_hash: str = ""


class PeerView(msgspec.Struct, frozen=True, kw_only=True):
    """One peer, as all decisions see it."""

    name: str
    """Of its StatefulSet and its volume claim."""
    set_name: str
    role: str
    node_id: NodeId
    number: int
    is_founder: bool = False
    created_at: float = 0.0
    leaving_since: float | None = None
    wants_removal_first: bool = False
    template_hash: str = ""
    """Of the template that its next pod is made of."""
    stateful_set_replicas: int = 1
    pod: PodView | None = None
    node_state: NodeView = NodeView()
    report: PeerReport | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it was chosen to leave."""
        return self.leaving_since is not None

    @property
    def is_unreachable(self) -> bool:
        """Whether its Node is silent."""
        return self.node_state.unreachable_since is not None

    @property
    def is_up(self) -> bool:
        """Whether it serves: ready on a Node that is heard."""
        return self.pod is not None and self.pod.is_ready and not self.is_unreachable

    @property
    def stays(self) -> bool:
        """Whether it serves and is to go on with it."""
        return self.is_up and not self.is_leaving and not (self.pod and self.pod.is_terminating)

    @property
    def failure_domain(self) -> str:
        """Where it stands; what it was told at its enrollment where its Node is unknown."""
        told = self.report.failure_domain if self.report else ""
        return self.node_state.failure_domain or told or (self.pod.node if self.pod else "")


def peer_views(
    stateful_sets: Iterable[Manifest],
    pods: Iterable[Manifest],
    nodes: Iterable[Manifest],
    reports: Mapping[str, PeerReport],
    founders: Collection[NodeId],
) -> tuple[PeerView, ...]:
    """Return all peers of an overlay by set and number; a StatefulSet that is no peer is left out.

    `reports` are by the peer's name, `pods` and `nodes` may hold strangers.
    """
    by_name = {pod["metadata"]["name"]: pod_view(pod) for pod in pods}
    states = {node["metadata"]["name"]: node_view(node) for node in nodes}
    found = []
    for body in stateful_sets:
        meta = meta_of(body)
        set_name = meta.labels.get(SET_LABEL, "")
        number = peer_number(set_name, meta.name)
        try:
            own = node_id(meta.annotations.get(NODE_ID_ANNOTATION, ""))
        except ValueError:
            continue
        if number is None or meta.deletion:
            continue
        template = meta_of(_at(body, "spec", "template"))
        pod = by_name.get(pod_name(meta.name))
        found.append(
            PeerView(
                name=meta.name,
                set_name=set_name,
                role=meta.labels.get(ROLE_LABEL, ""),
                node_id=own,
                number=number,
                is_founder=own in founders,
                created_at=meta.creation,
                leaving_since=_leaving_since(meta.annotations, meta.creation),
                wants_removal_first=meta.annotations.get(REMOVE_FIRST_ANNOTATION, "")
                not in ("", "false"),
                template_hash=template.annotations.get(TEMPLATE_HASH_ANNOTATION, ""),
                stateful_set_replicas=_at(body, "spec").get("replicas", 1),
                pod=pod,
                node_state=_node_state(pod, states),
                report=reports.get(meta.name),
            )
        )
    return tuple(sorted(found, key=lambda peer: (peer.set_name, peer.number)))


def pod_view(body: Manifest) -> PodView:
    """Return what counts of a pod."""
    meta = meta_of(body)
    status = _at(body, "status")
    ready = _condition(status.get("conditions"), "Ready")
    return PodView(
        name=meta.name,
        uid=meta.uid,
        ip=status.get("podIP", ""),
        node=_at(body, "spec").get("nodeName", ""),
        phase=status.get("phase", ""),
        is_ready=ready.get("status") == "True",
        ready_changed=moment(ready.get("lastTransitionTime")),
        is_terminating=meta.deletion,
        started_at=meta.creation,
        template_hash=meta.annotations.get(TEMPLATE_HASH_ANNOTATION, ""),
        image=next((each.get("image", "") for each in _at(body, "spec").get("containers", ())), ""),
        waiting=_waiting(status),
    )


def node_view(body: Manifest) -> NodeView:
    """Return what counts of a Node; its failure domain is `ZONE/NODE`, as enrollment tells it."""
    meta = meta_of(body)
    ready = _condition(_at(body, "status").get("conditions"), "Ready")
    is_silent = ready.get("status") == "Unknown"
    zone = meta.labels.get(ZONE_LABEL, "")
    since = moment(ready.get("lastTransitionTime"))
    return NodeView(
        cordoned=bool(_at(body, "spec").get("unschedulable")),
        unreachable_since=(since or 0.0) if is_silent else None,
        failure_domain=f"{zone}/{meta.name}" if zone else meta.name,
    )


def is_seen_alive(peer: PeerView, overlay: Sequence[PeerView]) -> bool:
    """Tell whether some other peer that serves holds this one alive."""
    return any(
        other.report is not None and peer.node_id in other.report.members_alive
        for other in overlay
        if other.name != peer.name and other.is_up
    )


def is_known(peer: PeerView, overlay: Sequence[PeerView]) -> bool:
    """Tell whether the ring counts on this peer: it serves, or others hold it alive or away."""
    return peer.is_up or any(
        other.report is not None
        and (
            peer.node_id in other.report.members_alive or peer.node_id in other.report.members_known
        )
        for other in overlay
        if other.name != peer.name and other.is_up
    )


def moment(text: str | None) -> float | None:
    """Return the time that a timestamp of the API tells, in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _leaving_since(annotations: Mapping[str, str], creation: float) -> float | None:
    """The annotation holds the time of the choice; one that is no time still means leaving."""
    text = annotations.get(LEAVING_ANNOTATION)
    if not text:
        return None
    try:
        return moment(text)
    except ValueError:
        return creation


_BACK_OFF = re.compile(r"back-off \S+")


def _node_state(pod: PodView | None, states: Mapping[str, NodeView]) -> NodeView:
    if pod is None or not pod.node:
        return NodeView()
    return states.get(pod.node, NodeView(failure_domain=pod.node))


def _waiting(status: Manifest) -> str:
    scheduled = _condition(status.get("conditions"), "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            return f"{waiting.get('reason', '')}: {_steady(waiting.get('message', ''))}"
    return ""


def _steady(message: str) -> str:
    """Leave out for how long the kubelet backs off: a status must not change with it."""
    return _BACK_OFF.sub("back-off", message)


def _condition(conditions: Sequence[Manifest] | None, kind: str) -> Manifest:
    return next((each for each in conditions or () if each.get("type") == kind), {})


def _at(body: Manifest, *path: str) -> Manifest:
    for step in path:
        body = body.get(step) or {}
    return body
