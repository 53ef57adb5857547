"""The definitions in the chart and the structs that the operator parses say one thing."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from chordial_operator import names
from chordial_operator.cluster.kinds import KINDS as REACHED
from chordial_operator.spec.manifest import Manifest, Quantity, Seconds
from chordial_operator.spec.overlay import Overlay, parse_overlay
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set
from chordial_operator.spec.sip_user import SipUser, parse_sip_user
from tests.definitions import KINDS, defaulted, definitions, fields, schema, version

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "Overlay": Overlay,
    "BootstrapSet": PeerSet,
    "RelaySet": PeerSet,
    "SipUser": SipUser,
}
PARSERS = {
    "Overlay": parse_overlay,
    "BootstrapSet": parse_bootstrap_set,
    "RelaySet": parse_relay_set,
    "SipUser": parse_sip_user,
}
LEAST: dict[str, Manifest] = {
    "Overlay": {"domains": ["voice.example.org"]},
    "BootstrapSet": {"overlayRef": {"name": "voice"}},
    "RelaySet": {
        "overlayRef": {"name": "voice"},
        "listeners": [{"name": "sip", "transport": "UDP", "port": 5060}],
    },
    "SipUser": {"overlayRef": {"name": "voice"}, "user": "alice", "generate": {}},
}
FULLER: dict[str, Manifest] = {
    "Overlay": {"image": {}, "telemetry": {"otlp": {"endpoint": "http://collector:4317"}}},
    "BootstrapSet": {"drain": {"maxConcurrent": 2}},
    "RelaySet": {"drain": {"maxConcurrent": 2}},
    "SipUser": {"generate": None, "passwordSecretRef": {"name": "alice"}},
}
BY_KIND = {"replicas", "drain.timeout"}
"""The two sets have different defaults of these; parsing fills them in."""
PHONES = {  # what a BootstrapSet lacks, since its peers serve no phones
    "listeners",
    "advertise",
    "registration",
    "exposure.externalTrafficPolicy",
    "exposure.nodePorts",
    "exposure.loadBalancerClass",
    "exposure.loadBalancerSourceRanges",
}
EMPTY: tuple[object, ...] = (None, "", (), {}, [])


class Pair(msgspec.Struct, frozen=True):
    """A field of a schema and of a struct; one may be missing."""

    path: str
    part: Manifest | None
    field: msgspec.structs.FieldInfo | None
    annotation: object = None


def pairs(part: Manifest, struct: type[msgspec.Struct], path: str = "") -> Iterator[Pair]:
    """Yield every field of schema and struct, each with its counterpart."""
    hints = get_type_hints(struct)
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in {**part["properties"], **known}:
        inner = f"{path}.{name}".removeprefix(".")
        if inner in ("meta", "kind"):
            continue
        found, field = part["properties"].get(name), known.get(name)
        annotation = bare(hints[field.name]) if field is not None else None
        yield Pair(inner, found, field, annotation)
        below = annotation
        if found is not None and get_origin(annotation) is tuple:
            below, found = get_args(annotation)[0], found["items"]
        if found is not None and isinstance(below, type) and issubclass(below, msgspec.Struct):
            yield from pairs(found, below, inner)


def bare(annotation: object) -> object:
    """Return a type without `| None`."""
    if get_origin(annotation) in (UnionType, Union):
        [annotation] = [one for one in get_args(annotation) if one is not NoneType]
    return annotation


def default(field: msgspec.structs.FieldInfo) -> object:
    """Return what a struct has where nothing is said; NODEFAULT where something must be."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def parsed(annotation: object, said: object) -> object:
    """Return a default of a schema as the struct would have it."""
    if isinstance(annotation, type) and issubclass(annotation, (Seconds, Quantity)):
        return annotation.parse(str(said))
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_the_schema_is_one_of_the_struct_and_back(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    found = list(pairs(spec, STRUCTS[kind]))
    assert [pair.path for pair in found if pair.field is None] == []
    missing = {pair.path for pair in found if pair.part is None}
    assert missing == (PHONES if kind == "BootstrapSet" else set())


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_stands_in_both(kind: str) -> None:
    for pair in pairs(schema(kind)["properties"]["spec"], STRUCTS[kind]):
        if pair.part is None or pair.field is None or pair.path in BY_KIND:
            continue
        has = default(pair.field)
        if isinstance(has, msgspec.Struct):
            assert pair.part.get("default") == {}, pair.path
        elif "default" in pair.part:
            assert parsed(pair.annotation, pair.part["default"]) == has, pair.path
        else:
            assert has is msgspec.NODEFAULT or has in EMPTY, pair.path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, FULLER], ids=["least", "fuller"])
def test_parsing_adds_nothing_to_what_the_api_server_fills_in(
    kind: str, more: dict[str, Manifest]
) -> None:
    spec = {**LEAST[kind], **more.get(kind, {})}
    spec = {name: value for name, value in spec.items() if value is not None}
    filled = defaulted(schema(kind)["properties"]["spec"], spec)
    parse = PARSERS[kind]
    assert parse({"metadata": {"name": "a"}, "spec": filled}) == parse(
        {"metadata": {"name": "a"}, "spec": spec}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_requires_the_other_requires(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    required = {f"{name}" for name in spec["required"]}
    for path, part in fields(spec):
        below = part["items"] if part.get("type") == "array" else part
        required |= {f"{path.replace('[]', '')}.{name}" for name in below.get("required", [])}
    opaque = {"topologySpreadConstraints", "tolerations", "networkPolicy.metricsFrom"}
    required = {path for path in required if not any(path.startswith(f"{o}.") for o in opaque)}
    demanded = {
        pair.path
        for pair in pairs(spec, STRUCTS[kind])
        if pair.field is not None and default(pair.field) is msgspec.NODEFAULT
    }
    filled_in = {"replicas"} & demanded
    least_one = {"listeners"} & required  # the struct is that of seeds too
    assert demanded - filled_in == required - least_one


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_is_the_same(kind: str) -> None:
    for pair in pairs(schema(kind)["properties"]["spec"], STRUCTS[kind]):
        if pair.part is None or get_origin(pair.annotation) is not Literal:
            continue
        choices = set(get_args(pair.annotation))
        offered = set(pair.part["enum"])
        if kind == "BootstrapSet" and pair.path == "exposure.type":
            choices -= {"HostPort"}  # for phones alone
        assert offered == choices, pair.path


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_description(kind: str) -> None:
    whole = schema(kind)
    described = {path: part.get("description", "") for path, part in fields(whole)}
    del described["metadata"]  # the API server describes it
    described[kind] = whole["description"]
    assert [path for path, text in described.items() if not text.endswith(".")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_bounded(kind: str) -> None:
    for path, part in fields(schema(kind)):
        if part.get("type") == "array":
            assert part.get("maxItems", 1000) <= 32, path
            assert part.get("x-kubernetes-list-type") in ("map", "set", "atomic"), path
        elif "additionalProperties" in part:
            assert part.get("maxProperties", 1000) <= 32, path
        elif part.get("type") == "string" and path.startswith("spec."):
            assert "enum" in part or part.get("maxLength", 10_000) <= 512, path


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_free_of_its_schema_but_affinity(kind: str) -> None:
    free = [
        path
        for path, part in fields(schema(kind))
        if "x-kubernetes-preserve-unknown-fields" in part
    ]
    assert free == (["spec.affinity"] if kind in ("BootstrapSet", "RelaySet") else [])


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_says_what_to_do_and_where(kind: str) -> None:
    whole = schema(kind)
    for path, part in [("", whole), *fields(whole)]:
        for rule in part.get("x-kubernetes-validations", []):
            assert len(rule["message"].split()) >= 6, (path, rule)
            if part.get("type") == "object" and path and not path.endswith("overlayRef"):
                assert "fieldPath" in rule or "self.all(k" in rule["rule"], (path, rule)


def test_both_sets_say_the_same_of_what_they_share() -> None:
    def told(kind: str) -> dict[str, Any]:
        plain = yaml.safe_dump(schema(kind)["properties"]["spec"], width=10_000)
        for own in ("BootstrapSet", "RelaySet"):
            plain = plain.replace(own, "set")
        for own in ("seeds", "relays"):
            plain = plain.replace(own, "peers")
        properties: dict[str, Any] = yaml.safe_load(plain)["properties"]
        return properties

    seeds, relays = told("BootstrapSet"), told("RelaySet")
    shared = [name for name in seeds if name not in ("replicas", "exposure", "drain")]
    assert len(shared) == 12
    for name in shared:
        assert seeds[name] == relays[name], name


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_waits_for_the_operator(kind: str) -> None:
    """Else `helm install --wait` says ready when nobody has looked (fleet H15)."""
    waiting = schema(kind)["properties"]["status"]["default"]
    assert waiting["observedGeneration"] == -1
    [ready] = waiting["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "Pending")


@pytest.mark.parametrize("kind", KINDS)
def test_is_named_as_everybody_spells_it(kind: str) -> None:
    definition = definitions()[kind]
    said = definition["spec"]
    assert said["group"] == names.GROUP
    assert version(definition)["name"] == names.VERSION
    assert said["names"]["plural"] == REACHED[kind].plural
    assert said["names"]["categories"] == ["chordial"]
    shown = version(definition)["additionalPrinterColumns"]
    assert len([column for column in shown if "priority" not in column]) <= 6
    assert "metadata.finalizers" not in str(definition)
