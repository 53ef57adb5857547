"""Makes docs/reference/{rbac,labels,operator}.md: `make docs` writes them.

Rights and their reasons stand in the chart's files/rbac/rules.yaml, from which its Roles are made
too; names in the operator's names.py; settings in its settings.py. What a label or a flag is for
is said here, and a test holds that nothing is left out.
"""

import ast
from pathlib import Path

import msgspec
import yaml

from chordial_operator import names
from chordial_operator.enrollment.last_issue import ENROLLED_ANNOTATION
from chordial_operator.enrollment.metrics import NAME as ENROLLMENT
from chordial_operator.enrollment.metrics import OUTCOMES, enrollment_lines
from chordial_operator.enrollment.rotation import ROTATE_CA_ANNOTATION
from chordial_operator.enrollment.store import START_ANEW_ANNOTATION
from chordial_operator.probes import STUCK_SECONDS
from chordial_operator.queue import TURN_SECONDS

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "operator" / "chordial_operator" / "settings.py"
RUNTIME = ROOT / "operator" / "chordial_operator" / "runtime.py"
RULES = ROOT / "charts" / "chordial" / "files" / "rbac" / "rules.yaml"
PAGES = ROOT / "docs" / "reference"
PROBES = (
    "## Probes and metrics\n\nPlain HTTP on the probe port, `GET` alone, no user's data:\n\n"
    "| path | answer |\n|---|---|\n"
    f"| `/healthz` | 503 when a turn has run or waited for more than {STUCK_SECONDS:.0f} s: one is"
    f" ended after {TURN_SECONDS:.0f} s, so something is stuck, and the kubelet starts the process"
    " anew. A blocked event loop answers nothing, which counts as well. |\n"
    "| `/readyz` | 503 with the reason while this operator signs no certificates. All replicas are"
    " ready; `leader` tells which one reconciles. |\n"
    "| `/metrics` | Prometheus text, as follows. |\n\n"
    "Worth an alert: `queue_oldest_seconds` above 60 for minutes, `turn_errors_total` that grows,"
    " and a\n`leader` of 0 on all replicas.\n"
)


class Metric(msgspec.Struct, frozen=True):
    """A number on the operator's metrics page."""

    name: str
    kind: str
    told: str


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Verbs, and why they are needed."""

    verbs: tuple[str, ...]
    why: str


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What may be done with some resources."""

    api_groups: tuple[str, ...]
    resources: tuple[str, ...]
    grants: tuple[Grant, ...]


PARTS = {
    "own": "In the operator's own namespace",
    "overlays": "In each namespace whose overlays it runs",
    "cluster": "In the whole cluster",
}
PARTS_TOLD = {
    "own": "A Role in the namespace of the release.",
    "overlays": (
        "A Role in each of `watchNamespaces`, by default in the release's own alone. With"
        " `clusterWide` it is a\nClusterRole: such an operator can read every Secret of the cluster"
        " whose name it knows."
    ),
    "cluster": "A small ClusterRole; `rbac.clusterRole: false` leaves it out.",
}
RBAC = """\
# What the operator may do, and why

Made from the file that the chart's Roles are made from (`make docs`),
[rules.yaml](../../charts/chordial/files/rbac/rules.yaml): a right without a reason cannot be
granted. Verbs are those of Kubernetes; server-side apply needs `create` and `patch`. The peers' own
account, `OVERLAY-peer`, has no rights at all, and its pods no token of the API server's.

Secrets are never listed or watched. Where the issuer's keys are needed (no TokenReview), every
account may read them by Kubernetes' own default role `system:service-account-issuer-discovery`.
"""
LABELS = """\
# Labels, annotations, names and ports

Made from the operator's `names.py` (`make docs`). These are an interface: they change with a major
version only.
"""
OPERATOR = """\
# The operator's settings

Made from `settings.py` (`make docs`). The chart sets them by environment variables; a flag wins
over its variable. All problems are told together, and the process ends with exit code 2.
"""


def rules() -> dict[str, tuple[Rule, ...]]:
    """Return the rules of each part of the file."""
    loaded = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return msgspec.convert(loaded, dict[str, tuple[Rule, ...]])


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    return {
        PAGES / "rbac.md": rbac_page(),
        PAGES / "labels.md": labels_page(),
        PAGES / "operator.md": operator_page(),
    }


def rbac_page() -> str:
    """Return the page of the operator's rights."""
    text = [RBAC]
    for part, title in PARTS.items():
        text.append(
            f"\n## {title}\n\n{PARTS_TOLD[part]}\n\n| resources | verbs | why |\n|---|---|---|\n"
        )
        for rule in rules()[part]:
            groups = ", ".join(group or "core" for group in rule.api_groups)
            what = f"{', '.join(f'`{name}`' for name in rule.resources)} ({groups})"
            for grant in rule.grants:
                text.append(f"| {what} | {', '.join(grant.verbs)} | {grant.why} |\n")
                what = ""
    return "".join(text)


LABELS_TOLD = {
    names.OVERLAY_LABEL: "The Overlay, on everything that belongs to one.",
    names.SET_LABEL: "The BootstrapSet or RelaySet, on what belongs to one.",
    names.PEER_LABEL: "The peer: the name of its StatefulSet.",
    names.ROLE_LABEL: f"`{names.SEED}` or `{names.RELAY}`.",
    names.NAME_LABEL: f"`{names.APPLICATION}`.",
    names.COMPONENT_LABEL: "What an object is: a seed, a relay, the operator, an authority.",
    names.INSTANCE_LABEL: "The Overlay.",
    names.MANAGED_BY_LABEL: f"`{names.FIELD_MANAGER}`: selects everything that the operator made.",
}
ANNOTATIONS_TOLD = {
    names.RESTARTED_AT_ANNOTATION: (
        "Overlay, BootstrapSet, RelaySet",
        "you",
        "A new value restarts all peers of it, one at a time, as an upgrade does.",
    ),
    names.REMOVE_FIRST_ANNOTATION: (
        "StatefulSet of a peer",
        "you",
        'With the value `"true"` this peer is the first to leave when its set shrinks.',
    ),
    names.FORCE_SCALE_IN_ANNOTATION: (
        "BootstrapSet, RelaySet",
        "you",
        "With the set's `metadata.generation` as its value, peers leave also below what copies and"
        " ring need. It counts for that generation alone.",
    ),
    START_ANEW_ANNOTATION: (
        "Overlay",
        "you",
        "With the instance id of an authority that is lost: another one is made.",
    ),
    ROTATE_CA_ANNOTATION: (
        "Overlay",
        "you",
        "A value that it never had exchanges the authority.",
    ),
    names.NODE_ID_ANNOTATION: (
        "StatefulSet and pod of a peer",
        "operator",
        "The peer's place in the ring, chosen once and never changed.",
    ),
    names.LEAVING_ANNOTATION: (
        "StatefulSet of a peer",
        "operator",
        "Since when the peer leaves. It cannot be taken back: what a drain has moved stays moved.",
    ),
    ENROLLED_ANNOTATION: (
        "StatefulSet of a peer",
        "operator",
        "Hash of the key that was enrolled last, uid of its pod, serial number and end.",
    ),
    f"{names.GROUP}/reclaim": (
        "PersistentVolumeClaim of a peer",
        "operator",
        "What becomes of the volume once nothing else of its peer is left: `storage.reclaim`.",
    ),
    names.TEMPLATE_HASH_ANNOTATION: (
        "StatefulSet and pod of a peer",
        "operator",
        "Of what the specs say of the pod; another one asks for a restart.",
    ),
}


def labels_page() -> str:
    """Return the page of everything that has a fixed spelling."""
    overlay, peer = "OVERLAY", "SET-N"
    text = [LABELS, "\n## Labels\n\n| label | value |\n|---|---|\n"]
    text += [f"| `{name}` | {told} |\n" for name, told in LABELS_TOLD.items()]
    text.append(
        "\n## Annotations\n\n| annotation | on | written by | meaning |\n|---|---|---|---|\n"
    )
    text += [
        f"| `{name}` | {where} | {who} | {told} |\n"
        for name, (where, who, told) in ANNOTATIONS_TOLD.items()
    ]
    text.append("\n## Objects\n\n| object | for |\n|---|---|\n")
    made = {
        f"ConfigMap `{names.bundle_name(overlay)}`": "what peers trust before they enroll",
        f"Service `{names.peers_name(overlay)}`": "headless; how peers find each other",
        f"NetworkPolicy `{names.peers_name(overlay)}`": "who may reach the peers",
        f"PodDisruptionBudget `{names.budget_name(overlay)}`": "over all peers of the overlay",
        f"ServiceAccount `{names.account_name(overlay)}`": "its tokens prove that a pod is a peer",
        f"Secret `{names.admin_secret_name(overlay)}`": "certificate and key of the command",
        f"Secret `{names.authority_secret_name('NAMESPACE', overlay)}`": (
            "in the operator's namespace: the overlay's authority"
        ),
        f"Secret `{names.ENROLLMENT_SECRET}`": (
            "in the operator's namespace: authority and certificate of the enrollment server"
        ),
        f"ConfigMap `{names.config_name('SET')}`": "the configuration of a set's peers",
        f"Service `{names.phones_service_name('SET')}`": (
            f"where a set is reached; with `exposure.scope: Peer` one for each, `{peer}`"
        ),
        f"StatefulSet `{names.peer_name('SET', 3).replace('3', 'N')}`": (
            f"one peer; its pod is `{names.pod_name(peer)}`"
        ),
        f"PersistentVolumeClaim `{peer}`": "the peer's volume; it outlives its set",
    }
    text += [f"| {what} | {why} |\n" for what, why in made.items()]
    text.append("\n## Ports of a peer\n\n| port | protocol | who speaks there |\n|---|---|---|\n")
    ports = {
        names.OVERLAY_PORT: "gRPC with mutual TLS: peers, the operator, the command",
        names.PEER_SIP_PORT: "SIP with mutual TLS: peers",
        names.PROBE_PORT: (
            f"plain HTTP: `{names.LIVENESS_PATH}`, `{names.READINESS_PATH}`,"
            f" `{names.METRICS_PATH}`; no user's data"
        ),
    }
    text += [f"| {port} | TCP | {told} |\n" for port, told in ports.items()]
    text.append("| as `listeners` say | UDP, TCP | SIP, plain or with TLS: phones |\n")
    text.append(
        f"\nThe operator takes enrollments on {names.ENROLLMENT_PORT} (gRPC, TLS) and answers"
        f" probes and metrics on {names.PROBE_PORT}.\n"
    )
    return "".join(text)


class Option(msgspec.Struct, frozen=True):
    """A flag of the operator, as its source adds it."""

    flag: str
    variable: str
    default: str
    told: str


def options() -> list[Option]:
    """Return the flags in the order of the source, which is where their words stand."""
    module = ast.parse(SETTINGS.read_text(encoding="utf-8"))
    constants = {
        ast.unparse(node.targets[0]): node.value
        for node in module.body
        if isinstance(node, ast.Assign)
    }
    calls = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("add", "parser.add_argument")
    ]
    found = []
    for call in sorted(calls, key=lambda node: node.lineno):
        if not isinstance(call.args[0], ast.Constant):
            continue  # the definition of add itself
        given = {word.arg: word.value for word in call.keywords}
        texts = [_value(each, constants) for each in call.args]
        if len(texts) == 4:
            found.append(Option(*texts))
        else:
            default, told = (
                _value(given[name], constants) if name in given else ""
                for name in ("default", "help")
            )
            found.append(Option(texts[0], "", default, told))
    return found


def _value(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    node = constants.get(ast.unparse(node), node)
    if isinstance(node, ast.Call) and isinstance(node.args[0], ast.Name):  # ", ".join(LEVELS)
        return ", ".join(ast.literal_eval(constants[node.args[0].id]))
    if isinstance(node, ast.Name):
        return str(getattr(names, node.id))
    return str(ast.literal_eval(node))


def operator_metrics() -> list[Metric]:
    """Return what the operator's metrics page tells, read from where it is made."""
    tree = ast.parse(RUNTIME.read_text(encoding="utf-8"))
    rows = [
        [str(each.value) for each in node.elts[:3] if isinstance(each, ast.Constant)]
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple) and len(node.elts) == 4
    ]
    found = [Metric(f"chordial_operator_{row[0]}", row[1], row[2]) for row in rows if len(row) == 3]
    about, kind = (line.split(" ", 3)[3] for line in list(enrollment_lines({}))[:2])
    outcomes = ", ".join(f"`{each}`" for each in OUTCOMES)
    return [*found, Metric(ENROLLMENT, kind, f"{about} `outcome` is one of {outcomes}.")]


def operator_page() -> str:
    """Return the page of the operator's flags and variables."""
    text = [OPERATOR, "\n| flag | variable | default | what it is |\n|---|---|---|---|\n"]
    for each in options():
        variable, default = (f"`{text}`" if text else "" for text in (each.variable, each.default))
        text.append(f"| `{each.flag}` | {variable} | {default} | {each.told} |\n")
    text.append(
        "\nRoles that fit these settings: [what the operator may do](rbac.md). With the chart any"
        " variable can\nbe set by its value `operator.extraEnv`.\n"
    )
    text.append(f"\n{PROBES}\n| metric | type | what it counts |\n|---|---|---|\n")
    text += [f"| `{each.name}` | {each.kind} | {each.told} |\n" for each in operator_metrics()]
    return "".join(text)


if __name__ == "__main__":
    for path, page in pages().items():
        path.write_text(page)
