"""Who gets a certificate and who does not: every refusal of fleet H9, one changed thing each."""

import pytest

from chordial_node.ids import node_id
from chordial_node.security.certificates import key_hash_of
from chordial_operator.enrollment.checks import (
    Admission,
    EnrollmentRefusedError,
    Evidence,
    Reason,
    Wish,
    admit,
    failure_domain,
)
from chordial_operator.enrollment.last_issue import ENROLLED_ANNOTATION, LastIssue, Step
from tests.operator.enrollment.objects_made import (
    NODE_ID,
    PEER,
    POD_UID,
    Object,
    changed,
    evidence,
    overlay,
    owner,
    peer_set,
    pod,
    stateful_set,
    token,
)
from tests.operator.enrollment.records import NOW

KEY, OTHER_KEY = b"the key", b"another key"
WISH = Wish("phones.voice", KEY)
USER = "user|username"
POD_NAME = "user|extra|authentication.kubernetes.io/pod-name"
POD_UID_EXTRA = "user|extra|authentication.kubernetes.io/pod-uid"


def issued(key: bytes, pod_uid: str = POD_UID, not_after: float = NOW + 60) -> Object:
    last = LastIssue(key_hash_of(key), pod_uid, "ab12", int(not_after))
    return stateful_set(**{ENROLLED_ANNOTATION: last.text()})


def account(name: str) -> Evidence:
    return evidence(token=changed(token(), USER, f"system:serviceaccount:{name}"))


def owned_by_overlay(uid: str) -> Object:
    owners = [{"apiVersion": "chordial.dev/v1alpha1", "kind": "Overlay", "name": "voice",
               "uid": uid}]  # fmt: skip
    return changed(peer_set(), "metadata|ownerReferences", owners)


TERMINATING = changed(pod(), "metadata|deletionTimestamp", "2027-01-15T08:00:00Z")

REFUSED: list[tuple[str, Evidence, Reason, str]] = [
    ("a token that the API server does not know",
     evidence(token={"error": "expired"}), Reason.NOT_AUTHENTICATED, "expired"),
    ("a token for the API server alone",
     evidence(token=changed(token(), "audiences", ["https://kubernetes.default.svc"])),
     Reason.OTHER_AUDIENCE, "needed is audience 'chordial'"),
    ("a review that names no audience",
     evidence(token=changed(token(), "audiences", [])), Reason.OTHER_AUDIENCE, "nobody"),
    ("a stranger's account", account("phones:default"), Reason.OTHER_ACCOUNT, "OVERLAY-peer"),
    ("an account that is only the suffix", account("phones:-peer"), Reason.OTHER_ACCOUNT, "of '"),
    ("no service account",
     evidence(token=changed(token(), USER, "phones:voice-peer")), Reason.OTHER_ACCOUNT, "of '"),
    ("another overlay's account", account("phones:data-peer"), Reason.OTHER_ACCOUNT, "runs as"),
    ("another overlay's account of a pod that says so too",
     evidence(
         token=changed(token(), USER, "system:serviceaccount:phones:data-peer"),
         pod=changed(pod(), "spec|serviceAccountName", "data-peer"),
     ), Reason.OTHER_ACCOUNT, "peers of overlay voice use 'voice-peer'"),
    ("a token bound to no pod",
     evidence(token=changed(token(), "user|extra", {})), Reason.NO_POD, "bound to no pod"),
    ("a token without the pod's uid",
     evidence(token=changed(token(), POD_UID_EXTRA, [])), Reason.NO_POD, "bound to no pod"),
    ("another namespace, where there is no such pod",
     evidence(
         token=changed(token(), USER, "system:serviceaccount:strangers:voice-peer"), pod=None
     ), Reason.POD_GONE, "strangers/edge-0-0 is gone"),
    ("another namespace that has it all, asking for this overlay",
     account("strangers:voice-peer"), Reason.OTHER_OVERLAY, "strangers.voice, not of phones.voice"),
    ("a pod that is gone", evidence(pod=None), Reason.POD_GONE, "is gone"),
    ("a pod of the same name",
     evidence(pod=changed(pod(), "metadata|uid", "pod-2")), Reason.POD_REPLACED, "another one now"),
    ("a pod that succeeded",
     evidence(pod=changed(pod(), "status|phase", "Succeeded")), Reason.POD_ENDED, "Succeeded"),
    ("a pod that failed",
     evidence(pod=changed(pod(), "status|phase", "Failed")), Reason.POD_ENDED, "Failed"),
    ("a pod whose node is silent",
     evidence(pod=changed(pod(), "status|phase", "Unknown")), Reason.POD_ENDED, "Unknown"),
    ("a pod without owner",
     evidence(pod=changed(pod(), "metadata|ownerReferences", [])), Reason.NO_PEER, "not made by"),
    ("a pod of a Job",
     evidence(pod=changed(pod(), "metadata|ownerReferences",
                          [owner("Job", "edge-0", "sts-1", "batch/v1")])),
     Reason.NO_PEER, "not made by a StatefulSet"),
    ("a pod of another API's StatefulSet",
     evidence(pod=changed(pod(), "metadata|ownerReferences",
                          [owner("StatefulSet", "edge-0", "sts-1", "apps.kruise.io/v1")])),
     Reason.NO_PEER, "not made by a StatefulSet"),
    ("an owner that does not control",
     evidence(pod=changed(pod(), "metadata|ownerReferences",
                          [owner("StatefulSet", "edge-0", "sts-1", "apps/v1")
                           | {"controller": False}])),
     Reason.NO_PEER, "not made by a StatefulSet"),
    ("a StatefulSet that is gone", evidence(stateful_set=None), Reason.NO_PEER, "which is gone"),
    ("a StatefulSet of the same name",
     evidence(stateful_set=changed(stateful_set(), "metadata|uid", "sts-2")),
     Reason.NO_PEER, "which is gone"),
    ("the second pod of a StatefulSet",
     evidence(
         token=changed(token(), POD_NAME, ["edge-0-1"]),
         pod=changed(pod(), "metadata|name", "edge-0-1"),
     ), Reason.NO_PEER, "not the first"),
    ("a StatefulSet of nobody",
     evidence(stateful_set=changed(stateful_set(), "metadata|ownerReferences", [])),
     Reason.NO_PEER, "belongs to no BootstrapSet or RelaySet"),
    ("a StatefulSet of a RelaySet of another API",
     evidence(stateful_set=changed(stateful_set(), "metadata|ownerReferences",
                                   [owner("RelaySet", "edge", "set-1", "example.org/v1")])),
     Reason.NO_PEER, "belongs to no BootstrapSet or RelaySet"),
    ("a set that is gone", evidence(peer_set=None), Reason.NO_PEER, "which is gone"),
    ("a set of the same name",
     evidence(peer_set=changed(peer_set(), "metadata|uid", "set-2")), Reason.NO_PEER, "is gone"),
    ("a set without Overlay", evidence(overlay=None), Reason.OTHER_OVERLAY, "does not exist"),
    ("another overlay's set",
     evidence(peer_set=changed(peer_set(), "spec|overlayRef|name", "data"),
              overlay=changed(overlay(), "metadata|name", "data")),
     Reason.OTHER_ACCOUNT, "peers of overlay data use"),
    ("a set of an Overlay of the same name",
     evidence(peer_set=owned_by_overlay("overlay-0")), Reason.OTHER_OVERLAY, "of another overlay"),
    ("a StatefulSet without Node-ID",
     evidence(stateful_set=changed(stateful_set(), "metadata|annotations", {})),
     Reason.NO_NODE_ID, "chordial.dev/node-id"),
    ("a Node-ID that is none",
     evidence(stateful_set=stateful_set(**{"chordial.dev/node-id": "12"})),
     Reason.NO_NODE_ID, "32 hexadecimal digits"),
    ("a second key while the first one's pod lives",
     evidence(stateful_set=issued(OTHER_KEY)), Reason.KEY_TAKEN, "another key already"),
    ("a first key of a pod that is being deleted",
     evidence(pod=TERMINATING), Reason.POD_LEAVES, "only renew"),
    ("a new key of a pod that is being deleted",
     evidence(pod=TERMINATING, stateful_set=issued(OTHER_KEY, "pod-0")),
     Reason.POD_LEAVES, "only renew"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("proof", "reason", "sentence"),
    [row[1:] for row in REFUSED],
    ids=[row[0].replace(" ", "-") for row in REFUSED],
)
def test_is_refused(proof: Evidence, reason: Reason, sentence: str) -> None:
    with pytest.raises(EnrollmentRefusedError) as refused:
        admit(proof, WISH, NOW)
    assert refused.value.reason is reason
    assert sentence in str(refused.value)


ADMITTED: list[tuple[str, Evidence, Step, str]] = [
    ("a first certificate", evidence(), Step.FIRST, ""),
    ("a pod that is not yet Running",
     evidence(pod=changed(pod(), "status|phase", "Pending")), Step.FIRST, ""),
    ("a peer of a BootstrapSet",
     evidence(stateful_set=changed(stateful_set(), "metadata|ownerReferences",
              [owner("BootstrapSet", "edge", "set-1", "chordial.dev/v1alpha1")])),
     Step.FIRST, ""),
    ("a set that its Overlay owns",
     evidence(peer_set=owned_by_overlay("overlay-1")), Step.FIRST, ""),
    ("the same key again", evidence(stateful_set=issued(KEY)), Step.RENEWAL, ""),
    ("the same key of the volume's next pod",
     evidence(stateful_set=issued(KEY, "pod-0")), Step.RENEWAL, ""),
    ("the same key after its certificate ended",
     evidence(stateful_set=issued(KEY, not_after=NOW - 1)), Step.RENEWAL, ""),
    ("the same key of a pod that is being deleted",
     evidence(pod=TERMINATING, stateful_set=issued(KEY)), Step.RENEWAL, ""),
    ("another key when the first one's pod is gone",
     evidence(stateful_set=issued(OTHER_KEY, "pod-0")), Step.REPLACEMENT, "ab12"),
    ("another key when the first one's certificate has ended",
     evidence(stateful_set=issued(OTHER_KEY, not_after=NOW)), Step.FIRST, ""),
    ("an annotation that says nothing",
     evidence(stateful_set=stateful_set(**{ENROLLED_ANNOTATION: "?"})), Step.FIRST, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("proof", "step", "superseded"),
    [row[1:] for row in ADMITTED],
    ids=[row[0].replace(" ", "-") for row in ADMITTED],
)
def test_is_admitted(proof: Evidence, step: Step, superseded: str) -> None:
    admission = admit(proof, WISH, NOW)
    assert (admission.step, admission.superseded) == (step, superseded)
    assert admission.node_id == node_id(NODE_ID)


def test_an_admission_tells_who_it_is_for() -> None:
    assert admit(evidence(), WISH, NOW) == Admission(
        namespace="phones",
        overlay="voice",
        peer=PEER,
        node_id=node_id(NODE_ID),
        pod_uid=POD_UID,
        node_name="worker-1",
        step=Step.FIRST,
        superseded="",
        superseded_until=0,
        is_stolen=False,
        advertised=("sip.example.org", "192.0.2.7"),
        resource_version="8",
    )


def test_a_pod_whose_key_somebody_else_has_gets_another_one() -> None:
    wish = Wish(WISH.overlay_name, WISH.public_key, is_superseded=True)
    admission = admit(evidence(stateful_set=issued(OTHER_KEY)), wish, NOW)
    assert (admission.step, admission.is_stolen) == (Step.REPLACEMENT, True)
    assert admission.superseded == "ab12"
    for proof in (evidence(pod=TERMINATING, stateful_set=issued(OTHER_KEY)), evidence(pod=None)):
        with pytest.raises(EnrollmentRefusedError):
            admit(proof, wish, NOW)


@pytest.mark.parametrize(
    ("node", "domain"),
    [
        (None, "worker-1"),
        ({"metadata": {"name": "worker-1"}}, "worker-1"),
        ({"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}}, "a/worker-1"),
    ],
)
def test_a_failure_domain_is_zone_and_node(node: Object | None, domain: str) -> None:
    assert failure_domain(node, "worker-1") == domain
