"""What a Store must satisfy at the responsible peer, in the order of RFC 6940 §7.4.1.1.

Responsibility is judged before (`ranges.py`); signatures and policies of RELOAD have no place here
because enrolled peers are trusted with every AOR (`protocol.md` §1). All checks come before the
first change, so that a Store is accepted whole or refused whole. Nothing is changed here.
"""

import msgspec

from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import PRECEDENCE_LENGTH, DataModel, Kind, kind_of
from chordial_node.overlay.messages import (
    NOTHING_THERE,
    Entry,
    KindData,
    ReplicaItem,
    StoreAnswer,
    StoreRequest,
    encode_body,
)
from chordial_node.overlay.storage.values import Values, is_live

CLOCK_TOLERANCE_MS = 5_000
MARKERS_PER_VALUE = 16
"""Markers that one Kind may hold at a resource, for each value that it may hold."""
MAX_KEY_LENGTH = 255


class Accepted(msgspec.Struct, frozen=True):
    """A Store that may take effect: what it changes, and what it finds as it wants it."""

    changed: tuple[ReplicaItem, ...]
    unchanged: tuple[ReplicaItem, ...]
    generations: tuple[tuple[int, int], ...]
    storage_time_ms: int


def check_kinds(kinds: tuple[int, ...]) -> None:
    """Raise unless each Kind is known and named once; an unknown one is told by its Kind-ID."""
    if not kinds:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, "no Kind is named")
    if len(dict.fromkeys(kinds)) != len(kinds):
        raise OverlayError(ErrorCode.INVALID_MESSAGE, "a Kind is named twice in one request")
    for kind in kinds:
        kind_of(kind)


def accept(request: StoreRequest, values: Values, now_ms: int) -> Accepted:
    """Return what a Store changes; OverlayError with the code of the first rule it breaks."""
    _check_form(request)
    _check_generations(request, values)
    for data in request.kinds:
        for entry in data.entries:
            _check_storage_time(request, data.kind, entry, values, now_ms)
    for data in request.kinds:
        _check_size_and_count(request, data, values, now_ms)
    for data in request.kinds:
        for entry in data.entries:
            _check_lifetime(kind_of(data.kind), entry)
    return _accepted(request, values, now_ms)


def _check_form(request: StoreRequest) -> None:
    for data in request.kinds:
        kind = kind_of(data.kind)
        keys = [entry.key for entry in data.entries]
        if not keys:
            raise _invalid(f"{kind.name}: nothing to store")
        if len(dict.fromkeys(keys)) != len(keys):
            raise _invalid(f"{kind.name}: one key stands twice in one Store")
        for entry in data.entries:
            if (kind.model is DataModel.SINGLE) != (entry.key == b""):
                raise _invalid(f"{kind.name}: a {kind.model.value} has a key or has none")
            if len(entry.key) > MAX_KEY_LENGTH:
                raise _invalid(f"{kind.name}: the key is longer than {MAX_KEY_LENGTH} bytes")
            if len(entry.precedence) not in (0, PRECEDENCE_LENGTH):
                raise _invalid(f"{kind.name}: a precedence has {PRECEDENCE_LENGTH} bytes or none")
            if entry.digest:
                raise _invalid(f"{kind.name}: only a marker has a digest")
            if entry.value and not entry.exists:
                raise _invalid(f"{kind.name}: what does not exist has no value")


def _check_generations(request: StoreRequest, values: Values) -> None:
    current = tuple(
        (data.kind, values.generation(request.resource, data.kind)) for data in request.kinds
    )
    for data, (_, generation) in zip(request.kinds, current, strict=True):
        if _fits(data.generation, generation):
            continue
        if all(_is_stored(request, data.kind, entry, values) for entry in data.entries):
            continue  # a repetition of a Store whose answer was lost
        error = OverlayError(
            ErrorCode.GENERATION_COUNTER_TOO_LOW,
            f"generation {data.generation} of Kind {data.kind:#x} is not {generation}: fetch first",
        )
        error.data = encode_body(StoreAnswer(generations=current, replicas=()))
        raise error


def _fits(asked: int, current: int) -> bool:
    return asked in (0, current) or (asked == NOTHING_THERE and not current)


def _check_storage_time(
    request: StoreRequest, kind: int, entry: Entry, values: Values, now_ms: int
) -> None:
    offset_ms = entry.storage_time_ms - now_ms
    if abs(offset_ms) > CLOCK_TOLERANCE_MS:
        reason = f"the storage time is {offset_ms / 1000:+.1f} s off our clock: check both clocks"
        raise OverlayError(ErrorCode.DATA_TOO_OLD, reason)
    stored = values.entry(request.resource, kind, entry.key)
    none = bytes(PRECEDENCE_LENGTH)
    if stored is not None and (entry.precedence or none) < (stored.precedence or none):
        raise OverlayError(ErrorCode.DATA_TOO_OLD, "a later version is stored")


def _check_size_and_count(
    request: StoreRequest, data: KindData, values: Values, now_ms: int
) -> None:
    kind = kind_of(data.kind)
    for entry in data.entries:
        if len(entry.value) > kind.max_size:
            size = len(entry.value)
            reason = f"{kind.name}: {size} bytes are more than {kind.max_size}"
            raise OverlayError(ErrorCode.DATA_TOO_LARGE, reason)
    held = {entry.key: entry for entry in values.entries(request.resource, data.kind)}
    live = {key for key, entry in held.items() if is_live(entry, now_ms)}
    for entry in data.entries:
        (live.add if entry.exists else live.discard)(entry.key)
    if len(live) > kind.max_count:
        reason = f"{kind.name}: {len(live)} values are more than {kind.max_count}"
        raise OverlayError(ErrorCode.DATA_TOO_LARGE, reason)
    held.update({entry.key: entry for entry in data.entries})
    if len(held) > kind.max_count * (1 + MARKERS_PER_VALUE):
        reason = f"{kind.name}: too many values ended here lately"
        raise OverlayError(ErrorCode.BUSY, reason, retry_after=10.0)


def _check_lifetime(kind: Kind, entry: Entry) -> None:
    lifetime_ms = entry.expires_at_ms - entry.storage_time_ms
    if not 0 < lifetime_ms <= kind.max_lifetime_seconds * 1000:
        most = f"{kind.max_lifetime_seconds:g} s"
        raise _invalid(f"{kind.name}: a lifetime is above 0 and at most {most}")


def _accepted(request: StoreRequest, values: Values, now_ms: int) -> Accepted:
    changed: list[ReplicaItem] = []
    unchanged: list[ReplicaItem] = []
    generations: list[tuple[int, int]] = []
    for data in request.kinds:
        generation = values.generation(request.resource, data.kind)
        is_repeated = not _fits(data.generation, generation)
        repeated: list[Entry] = []
        stamped: list[Entry] = []
        for entry in data.entries:
            stored = values.entry(request.resource, data.kind, entry.key)
            is_same = stored is not None and _is_same(entry, stored)
            if stored is not None and is_same and (is_repeated or entry.precedence):
                repeated.append(stored)
                continue
            stamped.append(_stamped(entry, stored, now_ms))
        if stamped:
            # not from 1: nobody's old generation may fit what came after everything was purged
            generation = generation + 1 if generation else max(now_ms, 1)
        place = (request.resource, data.kind, generation)
        changed.extend(ReplicaItem(*place, entry) for entry in stamped)
        unchanged.extend(ReplicaItem(*place, entry) for entry in repeated)
        generations.append((data.kind, generation))
    latest = max(item.entry.storage_time_ms for item in (*changed, *unchanged))
    return Accepted(tuple(changed), tuple(unchanged), tuple(generations), latest)


def _stamped(entry: Entry, stored: Entry | None, now_ms: int) -> Entry:
    lifetime_ms = entry.expires_at_ms - entry.storage_time_ms
    storage_time_ms = max(now_ms, stored.storage_time_ms + 1 if stored else 0)
    expires_at_ms = storage_time_ms + lifetime_ms
    superseded_ms = max(stored.keep_until_ms, stored.expires_at_ms) if stored else 0
    return msgspec.structs.replace(
        entry,
        storage_time_ms=storage_time_ms,
        expires_at_ms=expires_at_ms,
        keep_until_ms=max(expires_at_ms, superseded_ms),
    )


def _is_stored(request: StoreRequest, kind: int, entry: Entry, values: Values) -> bool:
    stored = values.entry(request.resource, kind, entry.key)
    return stored is not None and _is_same(entry, stored)


def _is_same(entry: Entry, stored: Entry) -> bool:
    return not stored.digest and (
        (entry.value, entry.exists, entry.precedence, entry.acceptor)
        == (stored.value, stored.exists, stored.precedence, stored.acceptor)
    )


def _invalid(reason: str) -> OverlayError:
    return OverlayError(ErrorCode.INVALID_MESSAGE, reason)
