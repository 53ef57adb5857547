"""The chart's custom resource definitions as read from their files: for tests and pages alike."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from chordial_operator.spec.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "chordial"
FOLDER = CHART / "files" / "crds"
POLICIES = CHART / "files" / "policies"
EXAMPLES = CHART / "examples"
KINDS = ("Overlay", "BootstrapSet", "RelaySet", "SipUser")


@cache
def definitions() -> dict[str, Manifest]:
    """Return each CustomResourceDefinition by its kind."""
    found: dict[str, Manifest] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        definition: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[definition["spec"]["names"]["kind"]] = definition
    return {kind: found[kind] for kind in KINDS}


def version(definition: Manifest) -> Manifest:
    """Return the one version of a definition."""
    [only] = definition["spec"]["versions"]
    return dict(only)


def schema(kind: str) -> Manifest:
    """Return the OpenAPI schema of a kind."""
    return dict(version(definitions()[kind])["schema"]["openAPIV3Schema"])


def policies() -> list[Manifest]:
    """Return the admission policies and their bindings."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(POLICIES.glob("*.yaml"))]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text)]


def examples() -> dict[str, list[Manifest]]:
    """Return the manifests of each example by the name of its file."""
    return {
        path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        for path in sorted(EXAMPLES.glob("*.yaml"))
    }


def fields(part: Manifest, path: str = "") -> Iterator[tuple[str, Manifest]]:
    """Yield every field below a schema by its path; `[]` stands for the items of a list."""
    for name, field in part.get("properties", {}).items():
        inner = f"{path}.{name}".removeprefix(".")
        yield inner, field
        yield from fields(field, inner)
        yield from fields(field.get("items", {}), f"{inner}[]")


def shape(part: Manifest) -> str:
    """Return what a value of this schema is, in a word or two."""
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    kind = part.get("type", "")
    if kind == "array":
        return f"list of {_plural(shape(part['items']))}"
    if kind == "object" and "additionalProperties" in part:
        return "map"
    if kind == "string" and _is_duration(part):
        return "duration"
    if kind == "string" and "quantity(" in str(part.get("x-kubernetes-validations")):
        return "quantity"
    return "time" if part.get("format") == "date-time" else str(kind)


def rules(part: Manifest) -> list[Manifest]:
    """Return the CEL rules of a schema."""
    return list(part.get("x-kubernetes-validations", []))


def defaulted(part: Manifest, value: object) -> object:
    """Return a value with the schema's defaults filled in, as the API server does it."""
    if isinstance(value, dict) and "properties" in part:
        filled = dict(value)
        for name, field in part["properties"].items():
            if name not in filled and "default" in field:
                filled[name] = copy.deepcopy(field["default"])
            if name in filled:
                filled[name] = defaulted(field, filled[name])
        return filled
    if isinstance(value, list) and "items" in part:
        return [defaulted(part["items"], item) for item in value]
    return value


def _is_duration(part: Manifest) -> bool:
    return any("duration(self)" in rule["rule"] for rule in rules(part))


def _plural(word: str) -> str:
    return word if re.search(r"s$|`", word) else f"{word}s"
