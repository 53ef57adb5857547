"""Whether an object already is what is wanted, so that nothing needs to be written.

The API server fills in defaults and others own fields beside ours, so a wanted object is compared
as a part of the observed one. A field that is wanted no more would be missed so: a mark of the
whole wanted object stands in an annotation and differs then. Pure.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from chordial_operator.names import GROUP
from chordial_operator.spec.manifest import Manifest, exact_amount

APPLIED_ANNOTATION = f"{GROUP}/applied"
_MARK_BYTES = 12
_WHOLE = ("selector", "matchLabels", "nodeSelector", "ingress")
"""What is taken as a whole: a label more in a selector, and it selects something else."""


_QUANTITIES = ("requests", "limits")
"""Maps of quantities: another spelling of one amount is no difference."""


def marked(manifest: Manifest) -> Manifest:
    """Return the manifest with the mark of itself in an annotation."""
    mark = fingerprint(manifest)
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: mark}
    return {**manifest, "metadata": metadata}


def fingerprint(value: object) -> str:
    """Return a short mark that differs when a JSON value differs; key order does not count."""
    text = msgspec.json.encode(value, order="sorted")
    return hashlib.blake2b(text, digest_size=_MARK_BYTES).hexdigest()


def is_covered(wanted: object, observed: object) -> bool:
    """Tell whether a wanted JSON value is a part of an observed one."""
    if isinstance(wanted, Mapping):
        if not isinstance(observed, Mapping):
            return not wanted and observed is None
        return all(_is_there(key, value, observed.get(key)) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str | bytes):
        if not isinstance(observed, Sequence) or isinstance(observed, str | bytes):
            return not wanted and observed is None
        return len(wanted) == len(observed) and all(
            is_covered(one, other) for one, other in zip(wanted, observed, strict=True)
        )
    if isinstance(wanted, bool) or isinstance(observed, bool):
        return wanted is observed
    return wanted == observed


def _is_there(key: str, wanted: object, observed: object) -> bool:
    if key in _WHOLE:
        return (wanted or None) == (observed or None)
    if key in _QUANTITIES and isinstance(wanted, Mapping) and isinstance(observed, Mapping):
        return all(_is_amount(value, observed.get(name)) for name, value in wanted.items())
    return is_covered(wanted, observed)


def _is_amount(wanted: object, observed: object) -> bool:
    amount = exact_amount(wanted)
    if amount is None:
        return is_covered(wanted, observed)
    return amount == exact_amount(observed)
