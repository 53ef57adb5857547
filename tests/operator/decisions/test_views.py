"""A peer is joined from the objects of Kubernetes and its own word."""

from datetime import UTC, datetime

from chordial_node.ids import node_id
from chordial_operator.decisions.views import NodeView, node_view, peer_views, pod_view
from chordial_operator.spec.manifest import Manifest
from tests.operator.decisions.views_made import report

THEN = "2026-11-24T18:00:00Z"
THEN_SECONDS = datetime(2026, 11, 24, 18, tzinfo=UTC).timestamp()
ID = "0123456789abcdef0123456789abcdef"


def stateful_set(name: str, set_name: str = "edge", **annotations: str) -> Manifest:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": THEN,
            "labels": {"chordial.dev/set": set_name, "chordial.dev/role": "relay"},
            "annotations": {f"chordial.dev/{key}": value for key, value in annotations.items()},
        },
        "spec": {
            "replicas": 1,
            "template": {"metadata": {"annotations": {"chordial.dev/template-hash": "h"}}},
        },
    }


POD: Manifest = {
    "metadata": {
        "name": "edge-1-0",
        "uid": "u",
        "creationTimestamp": THEN,
        "deletionTimestamp": THEN,
        "annotations": {"chordial.dev/template-hash": "old"},
    },
    "spec": {"nodeName": "worker", "containers": [{"name": "peer", "image": "i"}]},
    "status": {
        "phase": "Running",
        "podIP": "10.1.0.9",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": THEN}],
    },
}


def node(status: str, **spec: object) -> Manifest:
    return {
        "metadata": {"name": "worker", "labels": {"topology.kubernetes.io/zone": "west"}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": THEN}]},
    }


def test_a_peer_is_joined_from_its_stateful_set_pod_node_and_word() -> None:
    said = report()
    keys = {"node-id": ID, "leaving": THEN, "remove-first": "true"}
    (view,) = peer_views(
        [stateful_set("edge-1", **keys)],
        [POD],
        [node("Unknown", unschedulable=True)],
        {"edge-1": said},
        (node_id(ID),),
    )
    assert (view.name, view.set_name, view.number, view.role) == ("edge-1", "edge", 1, "relay")
    assert (view.node_id.hex(), view.is_founder, view.created_at) == (ID, True, THEN_SECONDS)
    assert (view.leaving_since, view.wants_removal_first) == (THEN_SECONDS, True)
    assert (view.template_hash, view.stateful_set_replicas) == ("h", 1)
    assert view.report is said
    assert view.node_state == NodeView(True, THEN_SECONDS, "west/worker")
    pod = view.pod
    assert pod is not None
    assert (pod.uid, pod.ip, pod.node, pod.is_ready, pod.is_terminating, pod.template_hash) == (
        "u", "10.1.0.9", "worker", True, True, "old",
    )  # fmt: skip
    assert pod.image == "i"
    assert (view.is_leaving, view.is_unreachable, view.is_up, view.stays) == (
        True, True, False, False,
    )  # fmt: skip


def test_what_is_no_peer_is_left_out_and_peers_are_in_order() -> None:
    bodies = [
        stateful_set("edge-10", **{"node-id": ID}),
        stateful_set("edge-2", **{"node-id": ID}),
        stateful_set("edge-3", **{"node-id": "short"}),
        stateful_set("edge-x", **{"node-id": ID}),
        stateful_set("west-1", **{"node-id": ID}),
    ]
    views = peer_views(bodies, [], [], {}, ())
    assert [view.name for view in views] == ["edge-2", "edge-10"]
    assert views[0].pod is None


def test_an_annotation_that_is_no_time_still_means_leaving() -> None:
    (view,) = peer_views(
        [stateful_set("edge-1", **{"node-id": ID, "leaving": "yes"})], [], [], {}, ()
    )
    assert view.leaving_since == THEN_SECONDS


def test_a_node_that_is_heard_is_reachable_and_stands_in_zone_and_node() -> None:
    assert node_view(node("False")) == NodeView(False, None, "west/worker")
    assert node_view({"metadata": {"name": "bare"}}).failure_domain == "bare"


def test_why_a_pod_does_not_run_is_told() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    body: Manifest = {
        "metadata": {"name": "edge-1-0"},
        "status": {"conditions": [{**unscheduled, "message": "no room"}]},
    }
    assert pod_view(body).waiting == "Unschedulable: no room"
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    body = {
        "metadata": {"name": "edge-1-0"},
        "status": {"containerStatuses": [{"state": {"waiting": waiting}}]},
    }
    assert pod_view(body).waiting == "ErrImagePull: no such image"
    waiting["reason"] = "ContainerCreating"
    assert pod_view(body).waiting == ""
