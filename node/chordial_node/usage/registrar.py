"""The registrar: REGISTER read, proven, decided, stored, answered (RFC 3261 §10.3, RFC 5626 §6).

REGISTER is never forwarded. Order and key of bindings are those of `sip.md` 11, lifetimes of 13;
how they are stored stands in `location.py`, who is believed in `authentication.py`.
"""

from collections.abc import Callable

from chordial_node.boundary.notices import Registered, Unregistered
from chordial_node.config import SipConfig, Transport
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.headers import NameAddr, Via, parse_expires
from chordial_node.sip.message import Message
from chordial_node.sip.response import HeaderLines, respond
from chordial_node.sip.transactions import ServerTransaction
from chordial_node.sip.uri import OtherUri
from chordial_node.usage.authentication import Authentication
from chordial_node.usage.bindings import (
    FLOW,
    SPARE_SECONDS,
    Bindings,
    Change,
    Registration,
    device_key,
)
from chordial_node.usage.contacts import (
    Wish,
    all_removed,
    asked_seconds,
    check_required,
    contact_line,
    is_newer,
    is_outbound,
    is_wished,
    kept_params,
    number_of,
    q_of,
    replaced,
)
from chordial_node.usage.credentials import CredentialStore
from chordial_node.usage.delivery import Delivery
from chordial_node.usage.domains import Domains, resource_of
from chordial_node.usage.location import Location, within
from chordial_node.usage.sides import reach_of

FLOW_TIMER_SECONDS = 120
LONGEST_CONTACT = 1024
MOST_BINDINGS = 10_000
"""Over one connection: a gateway's."""
_FETCH_SECONDS = 4.0
_JITTER = 0.1


class Registrar:
    """Answers REGISTER."""

    def __init__(
        self,
        kernel: Kernel,
        config: SipConfig,
        own: NodeId,
        boot: Callable[[], int],
        flows: Flows,
        domains: Domains,
        credentials: CredentialStore,
        authentication: Authentication,
        location: Location,
        delivery: Delivery,
    ) -> None:
        """Hold the services that a REGISTER goes through."""
        self._kernel = kernel
        self._config = config
        self._own = own
        self._boot = boot
        self._flows = flows
        self._domains = domains
        self._credentials = credentials
        self._authentication = authentication
        self._location = location
        self._delivery = delivery
        self._live = 0
        self.is_draining: Callable[[], bool] = lambda: False

    async def serve(self, transaction: ServerTransaction) -> None:
        """Answer a REGISTER; RemoteProtocolError and OverlayError say why it is refused."""
        if self._live >= self._config.waiting_registers:
            wait = b"%d" % (30 + int(self._kernel.random.random() * 30))
            raise RemoteProtocolError(503, "Too Many Registrations", ((b"Retry-After", wait),))
        self._live += 1
        try:
            await self._serve(transaction)
        finally:
            self._live -= 1

    async def _serve(self, transaction: ServerTransaction) -> None:
        request, flow, trace = transaction.request, transaction.flow, transaction.trace
        if not self._domains.is_ours(request.uri):
            raise RemoteProtocolError(403, "REGISTER Is Not Forwarded")
        registered = request.to_address.parsed_uri()
        aor = self._domains.aor(registered)
        if not self._domains.may_be_registered_at(registered, request.uri):
            raise RemoteProtocolError(404, "To Is Not in the Domain of the Request")
        check_required(request)
        claim = self._authentication.claim(request, flow)
        resource = resource_of(claim.aor)
        fetched = self._location.find_with_credentials(resource, trace)
        found = await within(self._kernel, _FETCH_SECONDS, fetched)
        user = await self._authentication.prove(claim, request, flow, trace)
        if user != aor:
            raise RemoteProtocolError(403, "To Must Be the Authenticated User")
        wishes, is_star = self._wishes(request, flow)
        call_id, cseq = request.call_id, request.cseq.number
        known = await self._credentials.of(resource, trace)
        most = known.most_contacts(self._config.max_contacts) if known else 0

        def decide(bindings: Bindings) -> list[Change]:
            if is_star:
                return all_removed(bindings, call_id, cseq)
            changes = self._changes(bindings, wishes, request, flow)
            return self._with_room(resource, bindings, changes, most)

        before = found
        if wishes or is_star:
            found = await self._location.change(resource, found, decide, trace)
        _note_bindings(flow, resource, wishes)
        self._tell(resource, wishes, before, found)
        if transaction.is_final:
            return
        self._keep_alive(wishes, request.via, flow)
        transaction.respond(
            respond(
                request,
                200,
                to_tag=transaction.to_tag,
                headers=self._headers(request, flow, wishes, found),
            ),
            200,
        )

    # reading ------------------------------------------------------------------------------------

    def _wishes(self, request: Message, flow: Flow) -> tuple[list[Wish], bool]:
        values = request.values(b"contact")
        if b"*" in values:
            if len(values) > 1 or parse_expires(request.first(b"expires") or b"x") != 0:
                raise RemoteProtocolError(400, "Contact * Needs Expires 0 and No Other Contact")
            return [], True
        contacts = request.addresses(b"contact")
        if len(contacts) > self._config.max_contacts:
            raise RemoteProtocolError(403, "Too Many Contacts")
        wishes = [self._wish(request, flow, contact) for contact in contacts]
        return list({wish.device: wish for wish in wishes}.values()), False

    def _wish(self, request: Message, flow: Flow, contact: NameAddr) -> Wish:
        uri = contact.parsed_uri()
        if isinstance(uri, OtherUri):
            raise RemoteProtocolError(400, "Contact Is Not a SIP URI")
        if len(contact.uri) > LONGEST_CONTACT:
            raise RemoteProtocolError(400, "Contact Is Too Long")
        if self._domains.is_ours(uri):
            raise RemoteProtocolError(403, "Contact Leads Back to This Server")
        params = contact.params
        instance = params.get(b"+sip.instance") or b""
        reg_id = number_of(params.get(b"reg-id"), 2**31 - 1)
        return Wish(
            device=device_key(uri, instance, reg_id),
            uri=uri,
            contact=contact,
            instance=instance,
            reg_id=reg_id,
            q=q_of(params.get(b"q")),
            expires=self._granted(asked_seconds(request, params), request, flow, contact),
        )

    def _granted(self, asked: int, request: Message, flow: Flow, contact: NameAddr) -> int:
        if asked == 0:
            return 0
        most = self._config.max_expires_seconds
        if flow.is_reliable and is_outbound(request, contact):
            most = self._config.max_outbound_expires_seconds
        least = min(self._config.min_expires_seconds, most)
        if asked < least:
            headers = ((b"Min-Expires", b"%d" % least),)
            raise RemoteProtocolError(423, "Interval Too Brief", headers)
        if self.is_draining():
            most = min(most, self._config.short_expires_seconds)
        if asked < most:
            return asked
        return max(least, int(most * (1.0 - _JITTER * self._kernel.random.random())))

    # deciding -----------------------------------------------------------------------------------

    def _changes(
        self, found: Bindings, wishes: list[Wish], request: Message, flow: Flow
    ) -> list[Change]:
        call_id, cseq = request.call_id, request.cseq.number
        changes: dict[bytes, Change] = {}
        for wish in wishes:
            if not is_newer(found, wish.device, call_id, cseq):
                continue
            if wish.expires == 0:
                if found.get(wish.device) is not None:
                    changes[wish.device] = Change(wish.device, None, call_id, cseq)
                continue
            if not wish.instance:
                for other in replaced(found, call_id, cseq):
                    if other.device not in changes and not is_wished(wishes, other.device):
                        changes[other.device] = Change(other.device, None, call_id, cseq)
            registration = self._registration(wish, request, flow)
            changes[wish.device] = Change(wish.device, registration, call_id, cseq)
        return list(changes.values())

    def _with_room(
        self, resource: ResourceId, found: Bindings, changes: list[Change], most: int
    ) -> list[Change]:
        """A contact too many replaces the oldest whose flow is dead, else it is refused."""
        changed = {change.device: change for change in changes}
        kept = [each for each in found.live if each.device not in changed]
        added = sum(change.registration is not None for change in changes)
        if not added:
            return changes
        for binding in list(kept):
            if len(kept) + added <= most:
                break
            if self._delivery.is_lost(resource, binding):
                kept.remove(binding)
                changes.append(Change(binding.device, None, changes[0].call_id, changes[0].cseq))
        if len(kept) + added > most:
            raise RemoteProtocolError(403, "Too Many Contacts")
        return changes

    def _registration(self, wish: Wish, request: Message, flow: Flow) -> Registration:
        return Registration(
            edge=self._own,
            boot=self._boot(),
            listener=flow.listener,
            transport=flow.transport.value,
            remote=flow.remote,
            reach=reach_of(wish.uri, request.via, flow),
            contact=wish.contact.uri,
            params=kept_params(wish.contact.params),
            path=tuple(request.values(b"path")),
            q=wish.q,
            instance=wish.instance,
            reg_id=wish.reg_id,
            call_id=request.call_id,
            cseq=request.cseq.number,
            granted=wish.expires,
            moving=self._delivery.is_ending,
        )

    # telling ------------------------------------------------------------------------------------

    def _tell(
        self, resource: ResourceId, wishes: list[Wish], before: Bindings, after: Bindings
    ) -> None:
        for wish in wishes:
            binding = after.get(wish.device)
            if binding is not None and before.get(wish.device) != binding:
                self._kernel.emit(
                    Registered(
                        resource=resource,
                        device=wish.device,
                        edge=self._own,
                        expires=binding.registration.granted,
                    )
                )
        for old in before.live:
            if after.get(old.device) is None:
                self._kernel.emit(Unregistered(resource=resource, device=old.device))

    def _keep_alive(self, wishes: list[Wish], via: Via, flow: Flow) -> None:
        """Keep the flow of new bindings open until they end; others may be on the same flow."""
        if flow.transport is not Transport.UDP:
            return
        listener = self._flows.listeners[flow.listener]
        for wish in wishes:
            is_needed = (
                listener.advertised != listener.bind or reach_of(wish.uri, via, flow) == FLOW
            )
            if wish.expires and is_needed:
                self._flows.keep_alive(flow, wish.contact.uri, wish.expires + SPARE_SECONDS)

    def _headers(
        self, request: Message, flow: Flow, wishes: list[Wish], found: Bindings
    ) -> HeaderLines:
        mine = [each for each in found.live if is_wished(wishes, each.device)]
        others = [each for each in found.live if not is_wished(wishes, each.device)]
        now = self._kernel.wall_ms
        headers = [(b"Contact", contact_line(each, now)) for each in mine + others]
        headers += [(b"Path", value) for value in request.values(b"path")]
        if any(is_outbound(request, wish.contact) for wish in wishes if wish.expires):
            headers.append((b"Require", b"outbound"))
            headers.append((b"Flow-Timer", b"%d" % FLOW_TIMER_SECONDS))
        return headers


def _note_bindings(flow: Flow, resource: ResourceId, wishes: list[Wish]) -> None:
    """Note what is registered over a connection; of too many the oldest are forgotten."""
    for wish in wishes if flow.is_reliable else ():
        flow.bindings.pop(resource + wish.device, None)
        if wish.expires:
            flow.bindings[resource + wish.device] = None
    while len(flow.bindings) > MOST_BINDINGS:
        del flow.bindings[next(iter(flow.bindings))]
