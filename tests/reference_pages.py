"""Makes docs/reference/{wire,metrics,node-config}.md from the source: `make docs` writes them."""

from pathlib import Path

import msgspec

from chordial_node import config
from chordial_node.adapters.json_logs import LINES
from chordial_node.adapters.prometheus_metrics import (
    GAUGES,
    PEERS,
    REFUSED,
    STATES,
    UNSENT,
    PrometheusMetrics,
)
from chordial_node.boundary import notices
from chordial_node.boundary.effects import Notice
from chordial_node.config import Transport
from chordial_node.overlay.errors import ErrorCode
from chordial_node.overlay.kinds import KINDS
from chordial_node.overlay.messages import METHODS, Rank
from tests.source_tables import Definition, definitions, one_line, table

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "node" / "chordial_node"
PAGES = ROOT / "docs" / "reference"
LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error"}

WIRE = """\
# The wire between peers

Made from the message structs (`make docs`). Peers keep one gRPC stream for each pair of them, over
mutual TLS 1.2 or later; [link.proto](../../node/chordial_node/wire/link.proto) is its whole
definition. A `Frame` holds a msgpack array of envelopes: all that was queued for this peer when its
turn came.

- A struct is a msgpack **array** of its fields in the order of its table. Fields are only ever
  added at the end; who does not know them ignores them.
- A Node-ID, a Resource-ID and `Identifier` are 16 big-endian bytes.
- The code of a message is the `method` of its envelope. Requests are odd, their answers one more
  (RFC 6940 §14.8, RFC 7851 §9.3); 0xF000 and up is ours. An error answers any request.
- The body of an envelope is the message's own array, as bytes, and only the destination reads it.
- How phones and peers speak SIP is RFC 3261; between peers it runs over a TLS connection of its
  own, never over a link. The control service is
  [control.proto](../../node/chordial_node/wire/control.proto).
"""
METRICS = """\
# Metrics and notices

Made from the source (`make docs`). A peer answers `GET /metrics` on its HTTP address (`chordial
status --json` names it) with the metrics below, in the text format of Prometheus. What is only
counted starts at 0 with the process. No label holds an identifier.
"""
NODE_CONFIG = """\
# Configuration of a node

Made from `config.py` (`make docs`). `chordial-node FILE…` runs a peer for each file. A file is one
JSON object, a `NodeConfig`; a field that is not known is an error, and all problems are reported
together. No environment variable is read. `chordial up` writes these files itself.
"""


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    return {
        PAGES / "wire.md": wire_page(),
        PAGES / "metrics.md": metrics_page(),
        PAGES / "node-config.md": node_config_page(),
    }


def wire_page() -> str:
    """Return the page of the overlay's messages."""
    messages = SOURCE / "overlay" / "messages"
    files = {name: definitions(messages / f"{name}.py") for name in _WIRE_FILES}
    [trace] = [e for e in definitions(SOURCE / "kernel" / "tracing.py") if e.name == "Trace"]
    parts = [WIRE]
    for name, title in _WIRE_FILES.items():
        parts.append(f"\n## {title}\n")
        parts += [_struct(each) for each in files[name] if _is_on_the_wire(each)]
        if name == "envelope":
            parts.append(_struct(trace))
    parts.append("\n## Ranks\n\nWhat is known of a member at one incarnation; the larger wins: ")
    parts.append(", ".join(f"{rank.name.lower()} {rank.value}" for rank in Rank) + ".\n")
    parts.append("\n## Error codes\n\n| code | name |\n|---|---|\n")
    parts += [f"| {code.value:#x} | `{code.name.lower()}` |\n" for code in ErrorCode]
    parts.append(
        "\n## Kinds\n\n| Kind-ID | name | data model | entries at a Resource-ID | bytes of a value "
        "| longest lifetime |\n|---|---|---|---|---|---|\n"
    )
    parts += [
        f"| {kind.id:#x} | `{kind.name}` | {kind.model.value} | {kind.max_count} | {kind.max_size} "
        f"| {kind.max_lifetime_seconds:g} s |\n"
        for kind in KINDS.values()
    ]
    return "".join(parts)


_WIRE_FILES = {
    "envelope": "Envelope, and what messages are made of",
    "storage": "Storage",
    "ring": "Ring and diagnostics",
    "link": "Link control",
}


def metrics_page() -> str:
    """Return the page of everything observable."""
    [counters] = definitions(SOURCE / "boundary" / "counters.py")
    told = {each.name: each.meaning for each in definitions(SOURCE / "boundary" / "notices.py")}
    rows = [(gauge.name, "gauge", "", gauge.documentation) for gauge in GAUGES]
    rows.append((PEERS[0], "gauge", f"`state`: {', '.join(STATES)}", PEERS[1]))
    rows += [(f"chordial_{f.name}_total", "counter", "", f.meaning) for f in counters.fields]
    rows.append((REFUSED[0], "counter", "`error_type`", REFUSED[1]))
    rows.append((UNSENT[0], "counter", "", UNSENT[1]))
    rows += [(h.name, "histogram", "", h.documentation) for h in PrometheusMetrics().histograms]
    parts = [METRICS, "\n| metric | type | label | meaning |\n|---|---|---|---|\n"]
    parts += [f"| `{name}` | {kind} | {label} | {text} |\n" for name, kind, label, text in rows]
    parts.append(
        "\n## Notices\n\nWhat has happened is told as a notice; each is a line of the log (JSON, or"
        " for people where\nit goes to a terminal) from its level on, with its fields. `SpanEnded`"
        " also leaves as a span where\nan OTLP endpoint is configured.\n\n"
        "| notice | level | message | fields | meaning |\n|---|---|---|---|---|\n"
    )
    for kind, (level, message) in LINES.items():
        fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        meaning = one_line(told[kind.__name__])
        parts.append(
            f"| `{kind.__name__}` | {LEVELS[level]} | {message} | {fields} | {meaning} |\n"
        )
    return "".join(parts)


def node_config_page() -> str:
    """Return the page of a node's configuration."""
    found = {each.name: each for each in definitions(SOURCE / "config.py")}
    parts = [NODE_CONFIG, "\n## Example\n\n```json\n", _example(), "\n```\n"]
    for name in _CONFIG_ORDER:
        each = found[name]
        parts.append(f"\n## `{name}`\n\n{each.meaning}\n\n{table(each.fields, with_defaults=True)}")
    parts.append("\n`Transport` is " + ", ".join(f"`{each.value}`" for each in Transport) + ".\n")
    return "".join(parts)


_CONFIG_ORDER = (
    "NodeConfig", "OverlayConfig", "SipConfig", "ListenerConfig", "IdentityConfig",
    "StorageConfig", "TelemetryConfig", "Endpoint",
)  # fmt: skip


def _example() -> str:
    place = {"host": "192.0.2.7"}
    given = {
        "name": "peer-1",
        "overlay": {
            "name": "example",
            "bind": {**place, "port": 6084},
            "advertise": {**place, "port": 6084},
            "founders": ["19999999999999999999999999999999"],
        },
        "sip": {
            "domain": "example.org",
            "listeners": [
                {"transport": "udp", "bind": {**place, "port": 5060}},
                {"transport": "peer", "bind": {**place, "port": 5066}},
            ],
        },
        "identity": {
            "certificate": "peer.pem",
            "key": "peer.key",
            "trusted": "ca.pem",
            "overlay_keys": "overlay-keys.json",
        },
        "storage": {"path": "values.db"},
    }
    text = msgspec.json.format(msgspec.json.encode(given), indent=2)
    config.parse(text)
    return text.decode()


def _struct(each: Definition) -> str:
    code = "" if each.code is None else f" ({each.code:#06x}, `{METHODS[each.code]}`)"
    fields = f"\n{table(each.fields, with_defaults=False)}" if each.fields else ""
    return f"\n### {each.name}{code}\n\n{each.meaning}\n{fields}"


def _is_on_the_wire(each: Definition) -> bool:
    return bool(each.code) or (bool(each.fields) and each.name != "Message")


def notice_kinds() -> list[str]:
    """Return the names of all notices there are."""
    return [
        name
        for name, value in vars(notices).items()
        if isinstance(value, type) and issubclass(value, Notice) and value is not Notice
    ]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
