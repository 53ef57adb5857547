"""Makes the chart's README and values.schema.json from values.yaml: `make docs` writes them.

A value's description is the comment above it; its type is that of its default. What may hold
anything (a spec, labels, resources) is told by `FREE`, what has few values by `ONE_OF`.
"""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "chordial"

Value = str | int | float | bool | list[object] | dict[str, object] | None

FREE = (
    "operator.resources",
    "operator.nodeSelector",
    "operator.affinity",
    "operator.podAnnotations",
    "operator.podLabels",
    "serviceAccount.annotations",
    "overlay.spec",
    "bootstrapSet.spec",
    "metrics.podMonitor.labels",
)
"""Objects that the chart hands on without looking into them."""
ITEMS = {
    "global.imagePullSecrets": {"type": "string", "minLength": 1},
    "watchNamespaces": {"type": "string", "minLength": 1},
}
"""What a list holds, where that is not an object handed on."""
ONE_OF = {
    "operator.image.pullPolicy": ["Always", "IfNotPresent", "Never"],
    "node.image.pullPolicy": ["Always", "IfNotPresent", "Never"],
    "tests.transport": ["udp", "tcp"],
    "operator.logLevel": ["debug", "info", "warning", "error"],
}
PATTERNS = {
    "operator.image.digest": "^(sha256:[0-9a-f]{64})?$",
    "node.image.digest": "^(sha256:[0-9a-f]{64})?$",
    "overlay.name": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    "bootstrapSet.name": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
}
README = """\
# The Helm chart of Chordial

Installs the operator, the custom resource definitions and a first overlay of bootstrap seeds. This
page is made from `values.yaml` (`make docs`).

    helm install chordial charts/chordial --namespace voice --create-namespace --wait \\
      --set global.imageRegistry=registry.example.org
    kubectl -n voice wait --for=create overlay/voice --timeout=60s
    kubectl -n voice wait --for=condition=Ready overlay/voice --timeout=180s

The way to a first call is in the [README](../../README.md#on-kubernetes), the choices in
[Install](../../docs/how-to/install.md).

- The definitions are upgraded by `helm upgrade` and kept by `helm uninstall` (`crds.keep`), and
  with them every overlay: it goes on without this release. To end one delete it and its sets.
- The first overlay is applied by the operator from a ConfigMap, once for each change of it, and
  never deleted by it. What a person or an autoscaler changes by hand stays theirs.
- A second release in one cluster needs `--set crds.enabled=false`.
- No object has a finalizer: nothing here can get stuck.
- All images of an installation: `helm template charts/chordial | grep -E 'image:|NODE_IMAGE'`.

## Values

| value | default | what it is |
|---|---|---|
"""


def values() -> dict[str, object]:
    """Return the defaults."""
    loaded = yaml.safe_load((CHART / "values.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def descriptions() -> dict[str, str]:
    """Return the comment above each value by its path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.removeprefix("#").strip())
            continue
        if ":" in text:
            indent = len(line) - len(line.lstrip())
            path = [each for each in path if each[0] < indent]
            path.append((indent, text.split(":", 1)[0]))
            if comment:
                found[".".join(name for _, name in path)] = " ".join(comment)
        comment = []
    return found


def leaves(tree: dict[str, object], prefix: str = "") -> dict[str, Value]:
    """Return the values that users set, by path: an object that is handed on is one value."""
    found: dict[str, Value] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path not in FREE:
            found.update(leaves(value, f"{path}."))
        else:
            assert isinstance(value, str | int | float | bool | list | dict)
            found[path] = value
    return found


def readme() -> str:
    """Return the chart's README."""
    told = descriptions()
    rows = [
        f"| `{path}` | `{json.dumps(value)}` | {told[path]} |"
        for path, value in leaves(values()).items()
    ]
    return README + "\n".join(rows) + "\n"


def schema() -> str:
    """Return the JSON schema that Helm checks values with."""
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart chordial",
        **_object_schema(values(), "", descriptions()),
    }
    return json.dumps(whole, indent=2) + "\n"


def _object_schema(tree: dict[str, object], prefix: str, told: dict[str, str]) -> dict[str, object]:
    properties = {name: _schema_of(value, f"{prefix}{name}", told) for name, value in tree.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema_of(value: object, path: str, told: dict[str, str]) -> dict[str, object]:
    described: dict[str, object] = {"description": told[path]} if path in told else {}
    match value:
        case dict() if path not in FREE:
            return {**described, **_object_schema(value, f"{path}.", told)}
        case dict():
            return {**described, "type": "object"}
        case list():
            return {**described, "type": "array", "items": ITEMS.get(path, {"type": "object"})}
        case bool():
            return {**described, "type": "boolean"}
        case int():
            return {**described, "type": "integer", "minimum": 0}
    limits: dict[str, object] = {}
    if path in ONE_OF:
        limits["enum"] = ONE_OF[path]
    if path in PATTERNS:
        limits["pattern"] = PATTERNS[path]
    return {**described, "type": "string", **limits}


def pages() -> dict[Path, str]:
    """Return the text of each file by its path."""
    return {CHART / "README.md": readme(), CHART / "values.schema.json": schema()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
