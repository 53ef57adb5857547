"""A Kubernetes object as it comes and goes, and what its `metadata` says.

The one place where `Any` stands for the shape of foreign JSON (style A21). Parses the types that
all kinds share: durations and quantities. What one kind means belongs in its own module.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any, TypeVar

import msgspec

Manifest = dict[str, Any]
"""One object of the Kubernetes API, or a part of one that is passed on as it is."""

Struct = TypeVar("Struct", bound=msgspec.Struct)

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_ANY_QUANTITY = re.compile(
    r"([0-9]+\.?[0-9]*|\.[0-9]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?"
)
_UNIT = {"": Fraction(1)}
_UNIT |= {unit: Fraction(1, 1000**power) for power, unit in enumerate("mun", 1)}
_UNIT |= {unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", 1)}
_UNIT |= {f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", 1)}
_LONGEST = 32


class InvalidSpecError(ValueError):
    """A spec cannot be used; says which field, and what would be right."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Seconds(float):
    """A duration: a float of seconds, written `10m` in a spec."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:  # said anew: type checkers let it equal any number
        return float.__eq__(self, other) is True

    __hash__ = float.__hash__

    @classmethod
    def parse(cls, text: str) -> "Seconds":
        """Return what a text such as `1h30m` says; ValueError when it says nothing."""
        if len(text) > _LONGEST or not _DURATION.fullmatch(text):
            raise ValueError(f"must be a duration such as 30s, 10m or 1h30m, not {text!r}")
        parts = _PART.findall(text)
        return cls(sum(float(count) * _UNIT_SECONDS[unit] for count, unit in parts))


class Quantity(str):
    """An amount as Kubernetes writes it (`1Gi`), kept as it was written."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Quantity":
        """Return a text that is an amount; ValueError when it is none."""
        if len(text) > _LONGEST or not _QUANTITY.fullmatch(text):
            raise ValueError(f"must be a quantity such as 64Ki or 1Gi, not {text!r}")
        return cls(text)

    @property
    def amount(self) -> int:
        """The number that it stands for, rounded down."""
        found = _QUANTITY.fullmatch(self)
        assert found is not None  # parse() has seen it
        return int(Fraction(found[1]) * _UNIT[found[2] or ""])


def exact_amount(value: object) -> Fraction | None:
    """Return the number that any spelling of a quantity stands for; None for what is none.

    The API server keeps one spelling of many: `0.5` and `500m`, `1024Mi` and `1Gi`, 1 and `1`.
    """
    text = str(value) if isinstance(value, int | float) else value
    if isinstance(value, bool) or not isinstance(text, str) or len(text) > _LONGEST:
        return None
    found = _ANY_QUANTITY.fullmatch(text)
    if found is None:
        return None
    return Fraction(found[1]) * Fraction(10) ** int(found[3] or 0) * _UNIT[found[2] or ""]


class ObjectMeta(msgspec.Struct, frozen=True):
    """Who an object is."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation: float = 0.0
    """When it was created, in seconds since 1970."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion: bool = False
    """Whether it is being deleted."""


class NameRef(msgspec.Struct, frozen=True):
    """The name of an object in the same namespace."""

    name: str


class SecretKeyRef(msgspec.Struct, frozen=True):
    """One key of a Secret in the same namespace."""

    name: str
    key: str = "password"


def meta_of(body: Mapping[str, Any]) -> ObjectMeta:
    """Return what the metadata of an object says."""
    meta = body.get("metadata") or {}
    created = meta.get("creationTimestamp")
    return ObjectMeta(
        name=meta.get("name", ""),
        namespace=meta.get("namespace", ""),
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        resource_version=meta.get("resourceVersion", ""),
        creation=datetime.fromisoformat(created).timestamp() if created else 0.0,
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        deletion=bool(meta.get("deletionTimestamp")),
    )


def parse_spec(body: Mapping[str, Any], struct: type[Struct], **known: object) -> Struct:
    """Return an object's spec as a struct with its `meta`; InvalidSpecError names the field."""
    meta = msgspec.to_builtins(meta_of(body))
    fields = {**(body.get("spec") or {}), **known, "meta": meta}
    try:
        return msgspec.convert(fields, struct, dec_hook=_shared_type)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidSpecError(f"spec{path.rstrip('`')}", message) from error


def _shared_type(wanted: type, value: object) -> object:
    parsers: dict[type, Callable[[str], object]] = {
        Seconds: Seconds.parse,
        Quantity: Quantity.parse,
    }
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {value!r}")
    return parsers[wanted](value)
