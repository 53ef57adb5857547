"""The open service: put, get and remove for any program (design.md, "Open service").

A value lies under the hash of its key. What is too large for one entry is cut into chunks named by
key and hash, stored first; the head that names them is stored last, so that a reader never finds a
head without its chunks. Whoever knows the removal secret may overwrite or remove.
"""

import hashlib

import msgspec

from chordial_node.boundary.control import Answer, Done, Get, Put, Refused, Remove, ValueAnswer
from chordial_node.ids import NodeId, ResourceId, resource_id_of
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KINDS, KindId
from chordial_node.overlay.messages import NOTHING_THERE, Entry, FetchSpecifier, KindData
from chordial_node.usage.credentials import Overlay

MOST_KEY_BYTES = 1024
INLINE_BYTES = 16 * 1024
_TRIES = 4
_HASH_LENGTH = 16
_WANTED = (FetchSpecifier(KindId.OPEN_VALUE),)


class OpenValue(msgspec.Struct, frozen=True, array_like=True):
    """The head of a value, whole or cut; a chunk is stored as its bytes alone."""

    lock: bytes
    """Hash of key and removal secret; empty: nobody may change it."""
    size: int
    digest: bytes
    inline: bytes
    chunks: tuple[bytes, ...] = ()
    """Hashes of the chunks, in order."""


class _Stored(msgspec.Struct, frozen=True):
    """A head as the ring has it."""

    generation: int
    head: OpenValue | None
    entry: Entry | None
    copies: int


_NOTHING = _Stored(NOTHING_THERE, None, None, 0)


class OpenService:
    """Answers Put, Get and Remove."""

    def __init__(self, kernel: Kernel, overlay: Overlay, own: NodeId, most_bytes: int) -> None:
        """Hold what values are stored with."""
        self._kernel = kernel
        self._overlay = overlay
        self._own = own
        self._most_bytes = most_bytes

    async def put(self, question: Put) -> Answer:
        """Store a value; Refused says what stands against it."""
        problem = _problem(question, self._most_bytes)
        if problem:
            return Refused("invalid_message", problem)
        resource, head = resource_of_key(question.key), _head(question)
        # most keys are new: a small value is stored at once, unless something turns out to be there
        stored = _NOTHING if not head.chunks else await self._head_of(resource)
        for _ in range(_TRIES):
            if stored.head is not None and not _may_replace(stored.head, head):
                return _locked(stored.head)
            lifetime_ms = int(question.lifetime_seconds * 1000)
            if not stored.head or stored.head.digest != head.digest or head.chunks:
                await self._store_chunks(question, head, lifetime_ms)
            entry = self._entry(msgspec.msgpack.encode(head), True, lifetime_ms)
            try:
                data = KindData(KindId.OPEN_VALUE, stored.generation, (entry,))
                answer = await self._overlay.store(resource, (data,))
            except OverlayError as error:
                if error.code is not ErrorCode.GENERATION_COUNTER_TOO_LOW:
                    raise
                stored = await self._head_of(resource)
                continue
            ends = ((answer.storage_time_ms or entry.storage_time_ms) + lifetime_ms) / 1000
            return ValueAnswer(resource, True, question.value, len(answer.replicas), ends)
        return Refused("busy", "others change this key at the same time: try again", 1.0)

    async def get(self, question: Get) -> Answer:
        """Fetch a value, its chunks checked against their hashes."""
        resource = resource_of_key(question.key)
        stored = await self._head_of(resource)
        if stored.head is None or stored.entry is None:
            return ValueAnswer(resource, False)
        value = stored.head.inline
        for name in stored.head.chunks:
            chunk = await self._chunk(question.key, name)
            if chunk is None:
                return Refused("unavailable", "a chunk of the value is missing: try again", 1.0)
            value += chunk
        if _hash(value) != stored.head.digest:
            return Refused("unavailable", "the value is being replaced: try again", 1.0)
        return ValueAnswer(resource, True, value, stored.copies, stored.entry.expires_at_ms / 1000)

    async def remove(self, question: Remove) -> Answer:
        """Remove a value by its secret; its chunks end with their lifetime."""
        resource = resource_of_key(question.key)
        for _ in range(_TRIES):
            stored = await self._head_of(resource)
            if stored.head is None or stored.entry is None:
                return Refused("not_found", "no value is stored under this key")
            if not stored.head.lock or _lock(question.key, question.secret) != stored.head.lock:
                return _locked(stored.head)
            lifetime_ms = max(1000, stored.entry.expires_at_ms - self._kernel.wall_ms)
            entry = self._entry(b"", False, lifetime_ms)
            try:
                data = KindData(KindId.OPEN_VALUE, stored.generation, (entry,))
                await self._overlay.store(resource, (data,))
            except OverlayError as error:
                if error.code is not ErrorCode.GENERATION_COUNTER_TOO_LOW:
                    raise
                continue
            return Done()
        return Refused("busy", "others change this key at the same time: try again", 1.0)

    async def _head_of(self, resource: ResourceId) -> _Stored:
        answer = await self._overlay.fetch(resource, _WANTED)
        for data in answer.kinds:
            for entry in data.entries:
                if entry.exists and entry.expires_at_ms > self._kernel.wall_ms:
                    head = _decoded(entry.value)
                    return _Stored(data.generation, head, entry, answer.copies)
            return msgspec.structs.replace(_NOTHING, generation=data.generation or NOTHING_THERE)
        return _NOTHING

    async def _store_chunks(self, question: Put, head: OpenValue, lifetime_ms: int) -> None:
        for index, name in enumerate(head.chunks):
            chunk = question.value[index * INLINE_BYTES : (index + 1) * INLINE_BYTES]
            data = KindData(KindId.OPEN_VALUE, 0, (self._entry(chunk, True, lifetime_ms),))
            await self._overlay.store(_chunk_resource(question.key, name), (data,))

    async def _chunk(self, key: bytes, name: bytes) -> bytes | None:
        answer = await self._overlay.fetch(_chunk_resource(key, name), _WANTED)
        for data in answer.kinds:
            for entry in data.entries:
                if entry.exists and _hash(entry.value) == name:
                    return entry.value
        return None

    def _entry(self, value: bytes, exists: bool, lifetime_ms: int) -> Entry:
        now = self._kernel.wall_ms
        ends = now + lifetime_ms
        return Entry(b"", value, exists, now, ends, ends, self._own)


def resource_of_key(key: bytes) -> ResourceId:
    """Return the Resource-ID under which the value of a key lies."""
    return resource_id_of(b"open:" + key)


def _problem(question: Put, most_bytes: int) -> str:
    most = KINDS[KindId.OPEN_VALUE].max_lifetime_seconds
    if not question.key or len(question.key) > MOST_KEY_BYTES:
        return f"a key has 1 to {MOST_KEY_BYTES} bytes, not {len(question.key)}"
    if len(question.value) > most_bytes:
        return f"a value has at most {most_bytes} bytes in this overlay, not {len(question.value)}"
    if not 1 <= question.lifetime_seconds <= most:
        return f"a lifetime is 1 to {most:g} seconds, not {question.lifetime_seconds:g}"
    return ""


def _head(question: Put) -> OpenValue:
    value = question.value
    lock = _lock(question.key, question.secret) if question.secret else b""
    if len(value) <= INLINE_BYTES:
        return OpenValue(lock, len(value), _hash(value), value)
    cuts = range(0, len(value), INLINE_BYTES)
    chunks = tuple(_hash(value[start : start + INLINE_BYTES]) for start in cuts)
    return OpenValue(lock, len(value), _hash(value), b"", chunks)


def _may_replace(present: OpenValue, wanted: OpenValue) -> bool:
    if present.lock:
        return present.lock == wanted.lock
    return present.digest == wanted.digest  # put again: only its lifetime changes


def _locked(present: OpenValue) -> Refused:
    if present.lock:
        return Refused("forbidden", "the value under this key has another removal secret")
    return Refused(
        "forbidden",
        "the value under this key was put without a removal secret: it stays until it expires",
    )


def _decoded(value: bytes) -> OpenValue | None:
    try:
        return msgspec.msgpack.decode(value, type=OpenValue)
    except msgspec.MsgspecError:
        return None


def _chunk_resource(key: bytes, name: bytes) -> ResourceId:
    """Under key and hash: a chunk is shared by no other key, whose lifetime may end earlier."""
    return resource_id_of(b"chunk:" + hashlib.blake2b(key, digest_size=16).digest() + name)


def _hash(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_HASH_LENGTH).digest()


def _lock(key: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(secret, key=hashlib.blake2b(key).digest(), digest_size=16).digest()
