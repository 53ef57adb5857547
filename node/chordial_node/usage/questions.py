"""Questions of the control service that the usages answer: users, traces, lookups, stored values.

Each question gets one answer; what cannot be had is Refused with what to do. How questions come in
is not known here.
"""

from chordial_node.boundary.control import (
    Answer,
    AskTrace,
    Contact,
    Done,
    ForcedTrace,
    ForceTrace,
    Get,
    ListUsers,
    Lookup,
    LookupAnswer,
    Put,
    Question,
    Refused,
    Remove,
    RemoveUser,
    SetUser,
    TraceAnswer,
    UsersAnswer,
    UserStatus,
)
from chordial_node.ids import ResourceId, node_id, resource_id
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import (
    Entry,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    KindData,
)
from chordial_node.overlay.peer import Peer
from chordial_node.security.credentials import open_credentials, resource_of_user
from chordial_node.security.derived_keys import KeyRing
from chordial_node.security.sealing import SealError, sealed_under
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.uri import parse_sip_uri
from chordial_node.usage.bindings import Bindings
from chordial_node.usage.credentials import CredentialStore, credentials_entry
from chordial_node.usage.domains import Domains, resource_of
from chordial_node.usage.forced_traces import ForcedTraces
from chordial_node.usage.location import Location
from chordial_node.usage.open_service import OpenService, resource_of_key

_EVERYTHING = tuple(FetchSpecifier(kind) for kind in (KindId.REGISTRATION, KindId.CREDENTIALS))
_TRIES = 4


class Questions:
    """Answers what operators, the command and clients ask."""

    def __init__(
        self,
        kernel: Kernel,
        peer: Peer,
        keys: KeyRing,
        domains: Domains,
        credentials: CredentialStore,
        location: Location,
        forced_traces: ForcedTraces,
        most_value_bytes: int,
    ) -> None:
        """Hold what is asked about."""
        self._forced_traces = forced_traces
        self._kernel = kernel
        self._peer = peer
        self._keys = keys
        self._domains = domains
        self._credentials = credentials
        self._location = location
        self._open_service = OpenService(kernel, peer, peer.node_id, most_value_bytes)

    async def answer(self, question: Question) -> Answer:
        """Return the answer to a question."""
        try:
            return await self._answer(question)
        except OverlayError as error:
            return Refused(error.code.name.lower(), error.info or str(error), error.retry_after)
        except ValueError as error:
            return Refused("invalid_message", str(error))
        except RemoteProtocolError as error:
            return Refused("invalid_message", error.reason)

    async def _answer(self, question: Question) -> Answer:
        match question:
            case Put():
                return await self._open_service.put(question)
            case Get():
                return await self._open_service.get(question)
            case Remove():
                return await self._open_service.remove(question)
            case SetUser():
                return await self._set_user(question)
            case RemoveUser():
                return await self._remove_user(question)
            case ListUsers():
                return self._list_users()
            case AskTrace():
                return await self._trace(question.target)
            case Lookup():
                return await self._lookup(question)
            case ForceTrace():
                return ForcedTrace(self._forced_traces.force(question.call_id))
        return Refused("invalid_message", f"{type(question).__name__} is not answered here")

    # users ----------------------------------------------------------------------------------------

    async def _set_user(self, question: SetUser) -> Answer:
        resource = resource_of_user(question.user, question.domain)
        if not self._domains.is_served(question.domain.lower().encode()):
            served = b", ".join(self._domains.served).decode()
            return Refused("forbidden", f"this overlay serves {served}, not {question.domain}")
        try:
            opened = open_credentials(self._keys, resource, question.sealed)
        except SealError as error:
            return Refused("forbidden", f"the credentials cannot be opened: {error}")
        if (opened.user, opened.domain) != (question.user, question.domain):
            return Refused("forbidden", f"the credentials are those of {opened!r}")
        entry = credentials_entry(question.sealed, self._kernel.wall_ms, self._peer.node_id)
        await self._peer.store(resource, (KindData(KindId.CREDENTIALS, 0, (entry,)),))
        self._credentials.forget(resource)
        if opened.is_disabled:
            return await self._end_registrations(resource)
        return Done()

    async def _end_registrations(self, resource: ResourceId) -> Answer:
        """Remove the bindings of a disabled user: enabled again, its phones register again."""
        for _ in range(_TRIES):
            found = await self._peer.fetch(resource, (FetchSpecifier(KindId.REGISTRATION),))
            removed = tuple(self._removed(data) for data in found.kinds if data.entries)
            if not removed:
                return Done()
            try:
                await self._peer.store(resource, removed)
            except OverlayError as error:
                if error.code is not ErrorCode.GENERATION_COUNTER_TOO_LOW:
                    raise
                continue
            return Done()
        return Refused("busy", "the user's registrations change all the time: try again", 1.0)

    async def _remove_user(self, question: RemoveUser) -> Answer:
        resource = resource_of_user(question.user, question.domain)
        for _ in range(_TRIES):
            found = await self._peer.fetch(resource, _EVERYTHING)
            removed = tuple(self._removed(data) for data in found.kinds if data.entries)
            if not any(data.kind == KindId.CREDENTIALS for data in removed):
                return Refused("not_found", f"there is no user {question.user}@{question.domain}")
            try:
                await self._peer.store(resource, removed)
            except OverlayError as error:
                if error.code is not ErrorCode.GENERATION_COUNTER_TOO_LOW:
                    raise
                continue
            self._credentials.forget(resource)
            return Done()
        return Refused("busy", "the user's registrations change all the time: try again", 1.0)

    def _removed(self, data: KindData) -> KindData:
        """The markers of all entries that exist; a binding's marker orders as the binding did."""
        now = self._kernel.wall_ms
        entries = tuple(
            Entry(
                each.key,
                b"",
                False,
                now,
                max(each.expires_at_ms, now + 1000),
                max(each.expires_at_ms, now + 1000),
                self._peer.node_id,
                each.precedence,
            )
            for each in data.entries
            if each.exists
        )
        return KindData(data.kind, data.generation, entries)

    def _list_users(self) -> Answer:
        contacts: dict[ResourceId, int] = {}
        for resource, entry in self._peer.storage.owned(KindId.REGISTRATION):
            if entry.exists and entry.expires_at_ms > self._kernel.wall_ms:
                contacts[resource] = contacts.get(resource, 0) + 1
        users = []
        for resource, entry in self._peer.storage.owned(KindId.CREDENTIALS):
            if not entry.exists:
                continue
            try:
                opened = open_credentials(self._keys, resource, entry.value)
            except SealError:
                self._kernel.counters.seals_unreadable += 1
                continue
            bindings = contacts.get(resource, 0)
            number = sealed_under(entry.value)
            users.append(
                UserStatus(
                    opened.user, opened.domain, bindings > 0, opened.source, bindings, number
                )
            )
        return UsersAnswer(tuple(users))

    # lookups --------------------------------------------------------------------------------------

    async def _trace(self, target: str) -> Answer:
        span = self._kernel.root_span("chordial.trace", forced=self._kernel.new_trace_id())
        try:
            answer = await self._traced(target, span.trace)
        except (OverlayError, RemoteProtocolError, ValueError) as error:
            span.end(self._kernel.now, error=str(error), target=target)
            raise
        span.end(self._kernel.now, target=target)
        return answer

    async def _traced(self, target: str, trace: Trace | None) -> Answer:
        scheme, _, rest = target.partition(":")
        if scheme == "node":
            node = node_id(rest)
            hops = await self._peer.diagnostics.track(node, False, trace)
            found = bool(hops) and hops[-1].node_id == node
            return TraceAnswer(resource_id(rest), tuple(hops), found)
        contacts: tuple[Contact, ...] = ()
        if scheme in ("sip", "sips"):
            aor = self._domains.aor(parse_sip_uri(target.encode()))
            if aor is None:
                return Refused("not_found", f"{target} is no user of this overlay")
            resource = resource_of(aor)
            contacts = self._contacts(await self._location.find(resource, trace))
            found = bool(contacts)
        elif scheme in ("key", "resource"):
            resource = resource_of_key(rest.encode()) if scheme == "key" else resource_id(rest)
            specifier = FetchSpecifier(KindId.OPEN_VALUE)
            found = _has_any(await self._peer.fetch(resource, (specifier,), trace))
        else:
            return Refused(
                "invalid_message",
                f"{target!r} cannot be traced: say sip:USER@DOMAIN, key:TEXT,"
                " resource:HEX or node:HEX",
            )
        hops = await self._peer.diagnostics.track(resource, True, trace)
        return TraceAnswer(resource, tuple(hops), found, contacts)

    def _contacts(self, found: Bindings) -> tuple[Contact, ...]:
        now = self._kernel.wall_ms
        return tuple(
            Contact(
                contact=each.registration.contact.decode("utf-8", "replace"),
                edge=each.registration.edge,
                edge_name=self._peer.peer_name(each.registration.edge),
                expires_in=float(each.expires_in(now)),
                reach=each.registration.reach,
            )
            for each in found.live
        )

    async def _lookup(self, question: Lookup) -> Answer:
        specifiers = (FetchSpecifier(KindId.OPEN_VALUE), *_EVERYTHING)
        request = FetchRequest(question.resource_id, specifiers)
        answered = await self._peer.lookup(question.resource_id, request)
        if not isinstance(answered.answer, FetchAnswer):
            return Refused("invalid_message", "the answer to a Fetch was none")
        return LookupAnswer(answered.source, answered.hops, _has_any(answered.answer))


def _has_any(answer: FetchAnswer) -> bool:
    return any(entry.exists for data in answer.kinds for entry in data.entries)
