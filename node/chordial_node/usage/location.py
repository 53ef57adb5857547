"""The location service: SIP-REGISTRATION in the overlay (RFC 7904 §3, RFC 3261 §10.3, sip.md 11).

A dictionary per AOR, keyed by device. A change is read, decided and stored with the generation that
was read, and decided again when that has moved on; two versions of one device stand in one total
order (`overlay/kinds.py`). Which REGISTER may change what is decided in `registrar.py`, how a
binding is reached in `delivery.py`, never here.
"""

from collections.abc import Coroutine
from typing import TypeVar

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId, first_accepted_ms, precedence_of
from chordial_node.overlay.messages import Entry, FetchAnswer, FetchSpecifier, KindData
from chordial_node.usage.bindings import (
    SPARE_SECONDS,
    Binding,
    Bindings,
    Change,
    Decide,
    is_same_call,
    read_binding,
)
from chordial_node.usage.credentials import WANTED, CredentialStore, Overlay

T = TypeVar("T")

ANSWER_SECONDS = 4.0
"""A REGISTER is answered within this time, whatever the overlay does."""
_TRIES = 6
_SWEEP_SECONDS = 30.0
_RETRIED = (ErrorCode.GENERATION_COUNTER_TOO_LOW, ErrorCode.DATA_TOO_OLD)
_BINDINGS = FetchSpecifier(KindId.REGISTRATION, with_markers=True)


class Location:
    """The bindings of all AORs, and of them those that this edge has accepted."""

    def __init__(
        self,
        kernel: Kernel,
        overlay: Overlay,
        own: NodeId,
        credentials: CredentialStore,
    ) -> None:
        """Begin with no binding of our own; those in the ring are read when they are asked for."""
        self._kernel = kernel
        self._overlay = overlay
        self._own = own
        self._credentials = credentials
        self._accepted: dict[ResourceId, dict[bytes, Binding]] = {}
        kernel.after(_SWEEP_SECONDS, self._sweep)

    @property
    def count(self) -> int:
        """How many bindings this edge has accepted and still answers for."""
        return sum(map(len, self._accepted.values()))

    def accepted(self, resource: ResourceId, device: bytes) -> Binding | None:
        """Return a binding that this edge has accepted, without asking the ring."""
        binding = self._accepted.get(resource, {}).get(device)
        if binding is None or binding.expires_at_ms <= self._kernel.wall_ms:
            return None
        return binding

    def by_flow(self) -> list[tuple[ResourceId, Binding]]:
        """Return the bindings that this edge has accepted and is alone to reach, with their AORs.

        Those of phones that should have come again already are not among them.
        """
        now = self._kernel.wall_ms
        return [
            (resource, binding)
            for resource, devices in self._accepted.items()
            for binding in devices.values()
            if binding.registration.is_by_flow and binding.expires_in(now) > 0
        ]

    def device_at(self, resource: ResourceId, listener: int, remote: Address) -> bytes | None:
        """Return which of an AOR's devices registered here from this address."""
        for device, binding in self._accepted.get(resource, {}).items():
            if (binding.registration.listener, binding.registration.remote) == (listener, remote):
                return device
        return None

    async def find(self, resource: ResourceId, trace: Trace | None = None) -> Bindings:
        """Return the bindings of an AOR as the ring has them; OverlayError when it is silent."""
        return self._read(resource, await self._overlay.fetch(resource, (_BINDINGS,), trace))

    async def find_with_credentials(
        self, resource: ResourceId, trace: Trace | None = None
    ) -> Bindings:
        """Return the bindings of an AOR; unknown credentials are learnt in the same Fetch."""
        if self._credentials.is_known(resource):
            return await self.find(resource, trace)
        answer = await self._overlay.fetch(resource, (_BINDINGS, WANTED), trace)
        self._credentials.learn(resource, answer)
        return self._read(resource, answer)

    async def change(
        self, resource: ResourceId, found: Bindings, decide: Decide, trace: Trace | None = None
    ) -> Bindings:
        """Change bindings as `decide` says, and again when they have changed meanwhile.

        Returns what stands then. OverlayError when the ring has not acknowledged it in time.
        """
        return await within(
            self._kernel, ANSWER_SECONDS, self._change(resource, found, decide, trace)
        )

    async def _change(
        self, resource: ResourceId, found: Bindings, decide: Decide, trace: Trace | None
    ) -> Bindings:
        for _ in range(_TRIES):
            changes = decide(found)
            if not changes:
                return found
            entries = tuple(self._entry(found, change) for change in changes)
            data = KindData(KindId.REGISTRATION, found.generation, entries)
            try:
                answer = await self._overlay.store(resource, (data,), trace)
            except OverlayError as error:
                if error.code not in _RETRIED:
                    raise
                found = await self.find(resource, trace)
                continue
            return self._changed(resource, found, changes, entries, answer.storage_time_ms)
        raise OverlayError(ErrorCode.BUSY, "the bindings change faster than they can be stored")

    def _entry(self, found: Bindings, change: Change) -> Entry:
        now = self._kernel.wall_ms
        before = found.orders.get(change.device, b"")
        if before and is_same_call(before, change.call_id):
            accepted = first_accepted_ms(before)
        else:
            accepted = max(now, first_accepted_ms(before) + 1 if before else 0)
        precedence = precedence_of(accepted, change.call_id, change.cseq)
        if change.registration is None:
            present = found.get(change.device)
            ends = max(now + 1000, present.expires_at_ms) if present else now + 1000
            return Entry(change.device, b"", False, now, ends, ends, self._own, precedence)
        value = msgspec.msgpack.encode(change.registration)
        ends = change.ends_ms or now + 1000 * (change.registration.granted + SPARE_SECONDS)
        return Entry(change.device, value, True, now, ends, ends, self._own, precedence)

    def _changed(
        self,
        resource: ResourceId,
        found: Bindings,
        changes: list[Change],
        entries: tuple[Entry, ...],
        stored_ms: int,
    ) -> Bindings:
        live = {binding.device: binding for binding in found.live}
        orders = dict(found.orders)
        for change, entry in zip(changes, entries, strict=True):
            orders[change.device] = entry.precedence
            live.pop(change.device, None)
            if change.registration is None:
                self._forget(resource, change.device)
                continue
            stamped = stored_ms or entry.storage_time_ms
            ends = stamped + entry.expires_at_ms - entry.storage_time_ms
            binding = Binding(change.device, change.registration, stamped, ends, entry.precedence)
            live[change.device] = binding
            if change.registration.edge == self._own:
                self._accepted.setdefault(resource, {})[change.device] = binding
        return Bindings(found.generation + 1, tuple(live.values()), orders)

    def _read(self, resource: ResourceId, answer: FetchAnswer) -> Bindings:
        generation, live, orders = 0, [], {}
        for data in answer.kinds:
            if data.kind != KindId.REGISTRATION:
                continue
            generation = data.generation
            for entry in data.entries:
                orders[entry.key] = entry.precedence
                binding = read_binding(entry, self._kernel.wall_ms)
                if binding is not None:
                    live.append(binding)
                    self._note_move(resource, binding)
        live.sort(key=_newest_last)
        return Bindings(generation, tuple(live), orders)

    def _note_move(self, resource: ResourceId, binding: Binding) -> None:
        """Learn that a device is elsewhere now, or that the ring remembers what we accepted."""
        accepted = self._accepted.get(resource, {}).get(binding.device)
        if binding.registration.edge == self._own:
            self._accepted.setdefault(resource, {})[binding.device] = binding
        elif accepted is not None and accepted.precedence < binding.precedence:
            self._forget(resource, binding.device)

    def _forget(self, resource: ResourceId, device: bytes) -> None:
        devices = self._accepted.get(resource, {})
        devices.pop(device, None)
        if not devices:
            self._accepted.pop(resource, None)

    def _sweep(self) -> None:
        now = self._kernel.wall_ms
        for resource, devices in list(self._accepted.items()):
            for device in [each for each, found in devices.items() if found.expires_at_ms <= now]:
                self._forget(resource, device)
        self._kernel.after(_SWEEP_SECONDS, self._sweep)


async def within(kernel: Kernel, seconds: float, work: Coroutine[Reply[object], None, T]) -> T:
    """Return what a sequence returns; OverlayError(REQUEST_TIMEOUT) when it takes too long."""
    reply: Reply[T] = kernel.reply(seconds)
    kernel.start(_answering(reply, work))
    try:
        return await reply
    except TimedOutError as error:
        raise OverlayError(ErrorCode.REQUEST_TIMEOUT, f"no answer in {seconds:g} s") from error


async def _answering(reply: Reply[T], work: Coroutine[Reply[object], None, T]) -> None:
    try:
        reply.resolve(await work)
    except Exception as error:  # handed to who waits, who knows what it means
        reply.fail(error)


def _newest_last(binding: Binding) -> tuple[int, bytes]:
    return binding.stored_ms, binding.device
