"""Peers as the operator sees them, made for tests: all well unless said otherwise."""

import hashlib

import msgspec

from chordial_node.ids import NodeId
from chordial_operator.decisions.views import NodeView, PeerReport, PeerView, PodView

NOW = 10_000.0
OLD, NEW = "hash-old", "hash-new"


def id_of(name: str) -> NodeId:
    return NodeId(hashlib.blake2b(name.encode(), digest_size=16).digest())


def peer(
    name: str,
    *,
    node: NodeId | None = None,
    domain: str = "node-a",
    ready: bool = True,
    revision: str = OLD,
    calls: int = 0,
    registrations: int = 0,
    leaving_since: float | None = None,
    removal_first: bool = False,
    cordoned: bool = False,
    unreachable_since: float | None = None,
    created_at: float = 0.0,
    role: str = "",
    image: str = "",
) -> PeerView:
    set_name, _, number = name.rpartition("-")
    own = node or id_of(name)
    return PeerView(
        name=name,
        set_name=set_name,
        role=role or ("seed" if set_name == "seeds" else "relay"),
        node_id=own,
        number=int(number),
        created_at=created_at,
        leaving_since=leaving_since,
        stateful_set_replicas=1 if leaving_since is None else 0,
        wants_removal_first=removal_first,
        template_hash=revision,
        pod=PodView(
            name=f"{name}-0",
            uid=f"uid-{name}",
            ip="10.0.0.1",
            node=domain,
            phase="Running",
            is_ready=ready,
            ready_changed=created_at,
            is_terminating=leaving_since is not None,
            started_at=created_at,
            template_hash=revision,
            image=image,
        ),
        node_state=NodeView(
            cordoned=cordoned, unreachable_since=unreachable_since, failure_domain=domain
        ),
        report=report(calls=calls, registrations=registrations, is_ready=ready),
    )


def report(
    *,
    at: float = NOW,
    calls: int = 0,
    registrations: int = 0,
    is_ready: bool = True,
    in_step: bool = True,
    copies_missing: int = 0,
    digest: str = "d",
    members_alive: tuple[NodeId, ...] = (),
    members_known: tuple[NodeId, ...] = (),
    version: str = "0.1.0",
) -> PeerReport:
    return PeerReport(
        at=at,
        state="ready" if is_ready else "joining",
        is_ready=is_ready,
        in_step=in_step,
        calls=calls,
        registrations=registrations,
        copies_missing=copies_missing,
        membership_digest=digest,
        members_alive=members_alive,
        members_known=members_known,
        version=version,
    )


def seeing_each_other(*peers: PeerView) -> list[PeerView]:
    """Return the peers with reports in which each holds all that are up alive."""
    alive = tuple(each.node_id for each in peers if each.is_up)
    return [
        each
        if each.report is None
        else msgspec.structs.replace(
            each, report=msgspec.structs.replace(each.report, members_alive=alive)
        )
        for each in peers
    ]
