"""Makes docs/reference/{overlay,bootstrapset,relayset,sipuser}.md: `make docs` writes them.

Everything on a page stands in the definition (descriptions, defaults, bounds, rules, columns) or
in the chart's examples; a word about a field is written there, never here.
"""

import json
from pathlib import Path

from chordial_operator.spec.manifest import Manifest
from tests.definitions import (
    EXAMPLES,
    KINDS,
    ROOT,
    definitions,
    fields,
    rules,
    schema,
    shape,
    version,
)

PAGES = ROOT / "docs" / "reference"


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    return {PAGES / f"{kind.lower()}.md": page(kind) for kind in KINDS}


def page(kind: str) -> str:
    """Return the page of one kind."""
    definition, whole = definitions()[kind], schema(kind)
    names = definition["spec"]["names"]
    spec, status = whole["properties"]["spec"], whole["properties"]["status"]
    parts = [
        f"# {kind}\n\nMade from the chart's definition (`make docs`); `kubectl explain "
        f"{names['singular']}` tells the same.\n\n{whole['description']}\n\n",
        f"Kind `{kind}` of `chordial.dev/v1alpha1`, namespaced; `kubectl get "
        f"{names['shortNames'][0]}`, or `kubectl get chordial` for all kinds.\nThe operator never "
        "writes the spec, and no object has a finalizer. Durations are texts such as\n`90s`, "
        "`10m` or `1h30m`.\n",
        *(_example(path) for path in _examples(kind)),
        "\n## Spec\n\n",
        _table(spec, with_defaults=True),
        "\n## What is refused\n\nThe API server refuses, with the field and these sentences:\n\n",
        *(f"- `{path}`: {message}\n" for path, message in _refusals(whole)),
        "\n## Status\n\n",
        f"{status['description']} A new object is `Ready=Unknown` with reason `Pending` until the "
        "operator has looked at it.\n\n",
        _table(status, with_defaults=False),
        "\n## What `kubectl get` shows\n\n",
        _columns(definition),
    ]
    return "".join(parts)


def _examples(kind: str) -> list[Path]:
    return sorted(EXAMPLES.glob(f"{kind.lower()}*.yaml"), key=lambda path: len(path.name))


def _example(path: Path) -> str:
    where = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    return f"\n## Example: [{path.name}](../../{where})\n\n```yaml\n{text}```\n"


def _table(part: Manifest, *, with_defaults: bool) -> str:
    titles = ["field", "type", "default", "meaning"]
    rows = [titles, ["---"] * 4]
    required = _required(part)
    for path, field in fields(part):
        meaning = " ".join(field["description"].split()).replace("|", "\\|")
        rows.append([f"`{path}`", shape(field), _default(path, field, required), meaning])
    if not with_defaults:
        rows = [[*row[:2], row[3]] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _required(part: Manifest, path: str = "") -> list[str]:
    found = [f"{path}.{name}".removeprefix(".") for name in part.get("required", [])]
    for name, field in part.get("properties", {}).items():
        inner = f"{path}.{name}".removeprefix(".")
        found += _required(field, inner) + _required(field.get("items", {}), f"{inner}[]")
    return found


def _default(path: str, field: Manifest, required: list[str]) -> str:
    if path in required:
        return "required"
    default = field.get("default", {})
    if default == {}:
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _refusals(whole: Manifest) -> list[tuple[str, str]]:
    found = []
    for path, part in [("", whole), *fields(whole)]:
        places = [(path, part)]
        if part.get("type") == "array":
            places.append((f"{path}[]", part["items"]))
        for place, told in places:
            for rule in rules(told):
                where = f"{place}{rule.get('fieldPath', '')}" or "metadata.name"
                found.append((where, " ".join(rule["message"].split())))
    return found


def _columns(definition: Manifest) -> str:
    columns = version(definition)["additionalPrinterColumns"]
    usual = [column["name"] for column in columns if "priority" not in column]
    wide = [column["name"] for column in columns if "priority" in column]
    selectable = version(definition).get("selectableFields", [])
    text = f"{', '.join(usual)}; with `--output=wide` also {', '.join(wide)}."
    if selectable:
        named = ", ".join(f"`{field['jsonPath'].removeprefix('.')}`" for field in selectable)
        text += f" `--field-selector` takes {named}."
    return f"{text}\n"


if __name__ == "__main__":
    for target, content in pages().items():
        target.write_text(content, encoding="utf-8")
