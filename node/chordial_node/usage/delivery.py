"""How a phone is reached, in this order: its live flow here, its present binding at another peer,
its contact itself from any peer, or not at all (sip.md 2).

A binding or a side goes in, ways come out. What is sent on a way is written in `rewriting.py`, what
follows from its answers decided in `fork.py`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.config import ListenerConfig, Transport
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import OverlayError
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.tokens import NO_DEVICE, DeviceToken, SideToken
from chordial_node.sip.uri import SipUri, parse_uri
from chordial_node.usage.bindings import DIRECT, Binding, Bindings
from chordial_node.usage.credentials import Overlay
from chordial_node.usage.holding import Holding
from chordial_node.usage.location import Location
from chordial_node.usage.sides import Sides, Way, contact_address, transport_of

MOST_BRANCHES = 10
HOP_SECONDS = 1.0
"""How long another peer's 100 may take, connecting included (sip.md 8)."""
HOP_ROUND_TRIPS = 5
"""The same in round trips, if that is longer."""


class Delivery:
    """Finds the ways to devices and sides."""

    def __init__(
        self,
        own: NodeId,
        boot: Callable[[], int],
        listeners: Sequence[ListenerConfig],
        overlay: Overlay,
        flows: Flows,
        location: Location,
        sides: Sides,
        holding: Holding,
    ) -> None:
        """Hold what a way is made of."""
        self._own = own
        self._boot = boot
        self._listeners = listeners
        self._overlay = overlay
        self._flows = flows
        self._location = location
        self._sides = sides
        self._holding = holding
        self.is_ending = False
        """This edge is about to end: a phone's newer binding goes before its old flow here."""
        self.is_cut = False
        """It is in its last steps: what flows it had are to be counted on no more."""

    # what is known --------------------------------------------------------------------------------

    def levels(
        self,
        resource: ResourceId,
        found: Bindings,
        *,
        only_tls: bool,
        not_to: Flow | None,
        with_moving: bool = False,
    ) -> list[list[list[Way]]]:
        """Return the ways to an AOR: levels by q, in them devices, to each its ways.

        `not_to` is the flow that a request to one's own AOR came up: it never goes down again.
        Bindings whose edge ends are left out, unless that is all there is to try.
        """
        groups: dict[tuple[int, bytes], list[Way]] = {}
        for binding in reversed(found.live):
            registration = binding.registration
            is_kept = registration.edge == self._own and not self.is_cut
            if registration.moving and not (with_moving or is_kept):
                continue
            if only_tls and registration.transport != Transport.TLS.value:
                continue
            way = self.way_to(resource, binding)
            if way is None or way.flow is not_to:
                continue
            device = registration.instance or binding.device
            groups.setdefault((registration.q, device), []).append(way)
        levels: dict[int, list[list[Way]]] = {}
        most_wanted = sorted(groups, key=lambda each: -each[0])[:MOST_BRANCHES]
        for q, device in most_wanted:
            levels.setdefault(q, []).append(groups[q, device])
        return list(levels.values())

    def way_to(self, resource: ResourceId, binding: Binding) -> Way | None:
        """Return the best way to a binding, or None when there is none."""
        edge = binding.registration.edge
        if edge == self._own:
            return self._here(resource, binding) or self._direct(resource, binding)
        return self._over(edge, resource, binding) or self._direct(resource, binding)

    def is_lost(self, resource: ResourceId, binding: Binding) -> bool:
        """Tell whether a binding's flow is dead, as far as this peer knows."""
        registration = binding.registration
        if registration.edge != self._own:
            return self._overlay.is_dead(registration.edge) and registration.reach != DIRECT
        return self.way_to(resource, binding) is None

    def is_held_here(self, resource: ResourceId, binding: Binding) -> bool:
        """Tell whether the flow of a binding that this edge accepted is alive."""
        return self._here(resource, binding) is not None

    def to_peer(self, node: NodeId) -> Way | None:
        """Return the way to another peer, for a request whose Route goes on from there."""
        address = self._overlay.sip_address(node)
        if address is None:
            return None
        return Way(self._flows.to_peer(node, address), life_seconds=self._life_seconds(node))

    # what the ring is asked for -------------------------------------------------------------------

    async def to_side(self, side: SideToken, trace: Trace | None) -> Way | None:
        """Return the way to the phone side of a call, or None."""
        is_own = self._sides.node_of(side) == self._own
        flow = self._flow_of(side) if is_own else None
        if flow is not None and self.is_ending:
            return await self._newer(side, flow, trace) or Way(flow, side=side)
        if flow is not None and not self._has_moved(side, flow):
            return Way(flow, side=side)
        if side.device != NO_DEVICE:
            if (way := self._held(side.resource, side.device)) is not None:
                return way
            found = await self._present(side.resource, side.device, trace)
            if found is not None:
                return _unchanged(self.way_to(side.resource, found))
        # It never registered: a peer that stands in has nothing but its address.
        if transport_of(side) is not Transport.UDP or is_own:
            return None
        return self._to_address(side)

    async def to_device(
        self, token: DeviceToken, asked_by: NodeId | None, trace: Trace | None
    ) -> Way | None:
        """Return the way to a device that another peer asks for, never back to that peer."""
        if (way := self._held(token.resource, token.device)) is not None:
            return way
        found = (await self._location.find(token.resource, trace)).get(token.device)
        if found is None:
            return None
        if found.registration.edge == asked_by:
            return _unchanged(self._direct(token.resource, found))
        return _unchanged(self.way_to(token.resource, found))

    async def _present(
        self, resource: ResourceId, device: bytes, trace: Trace | None
    ) -> Binding | None:
        """The binding of a device; that of one whose edge has gone already is waited for."""
        found = await self._location.find(resource, trace)
        if self._is_between(found, device):
            found = await self._holding.wait(
                resource, found, lambda now: not self._is_between(now, device), trace
            )
        return found.get(device)

    def _is_between(self, found: Bindings, device: bytes) -> bool:
        """Tell whether a device has lost its edge, and has not come to its next one yet."""
        binding = found.get(device)
        if binding is None or not binding.registration.moving:
            return False
        return not self._overlay.is_alive(binding.registration.edge)

    async def _newer(self, side: SideToken, flow: Flow, trace: Trace | None) -> Way | None:
        """The way to a phone that has registered at another peer since; that fails quietly.

        Nothing may come through a datagram flow of an edge that is unready: what is for such a
        phone waits until it has come to its next edge.
        """
        if side.device == NO_DEVICE:
            return None

        def is_elsewhere(found: Bindings) -> bool:
            binding = found.get(side.device)
            return binding is None or binding.registration.edge != self._own

        try:
            found = await self._location.find(side.resource, trace)
            if not flow.is_reliable and not is_elsewhere(found):
                found = await self._holding.wait(side.resource, found, is_elsewhere, trace)
        except OverlayError:
            return None
        binding = found.get(side.device)
        if binding is None or binding.registration.edge == self._own:
            return None
        return _unchanged(self.way_to(side.resource, binding))

    def _has_moved(self, side: SideToken, flow: Flow) -> bool:
        """Tell whether a phone's datagrams come from elsewhere by now: its NAT has rebound."""
        held = self._location.accepted(side.resource, side.device)
        if held is None or flow.is_reliable or held.registration.remote == flow.remote:
            return False
        now = held.registration
        if now.transport != Transport.UDP.value or not self._speaks(now.listener, now.transport):
            return False
        return self._flows.datagram(now.listener, now.remote).used_at > flow.used_at

    def _held(self, resource: ResourceId, device: bytes) -> Way | None:
        """The way to a binding that this edge has accepted, without asking the ring."""
        held = self._location.accepted(resource, device)
        return None if held is None else _unchanged(self._here(resource, held))

    # the ways themselves --------------------------------------------------------------------------

    def _here(self, resource: ResourceId, binding: Binding) -> Way | None:
        """(a): the flow of a binding that this edge accepted, if it lives."""
        registration = binding.registration
        listener = registration.listener
        if not self._speaks(listener, registration.transport):
            return None
        flow: Flow | None
        if registration.transport == Transport.UDP.value:
            flow = self._flows.datagram(listener, _target(binding))
        elif registration.boot == self._boot():
            flow = self._flows.find_connection(listener, registration.remote)
            if flow is not None and resource + binding.device not in flow.bindings:
                flow = None
        else:
            flow = None
        if flow is None or flow.is_dead:
            return None
        return self._to_phone(flow, resource, binding)

    def _over(self, node: NodeId, resource: ResourceId, binding: Binding) -> Way | None:
        """(b): the peer that holds the flow, if it lives."""
        address = self._overlay.sip_address(node) if self._overlay.is_alive(node) else None
        if address is None:
            return None
        registration = binding.registration
        is_direct = registration.reach == DIRECT
        return Way(
            self._flows.to_peer(node, address),
            _request_uri(registration.contact),
            DeviceToken(resource, binding.device),
            life_seconds=self._life_seconds(node),
            instead=partial(self._direct, resource, binding) if is_direct else None,
        )

    def _life_seconds(self, node: NodeId) -> float:
        return max(HOP_SECONDS, HOP_ROUND_TRIPS * self._overlay.round_trip(node))

    def _direct(self, resource: ResourceId, binding: Binding) -> Way | None:
        """(c): the contact's own address, which was the source of the REGISTER."""
        registration = binding.registration
        if registration.reach != DIRECT:
            return None
        host, port = _target(binding)
        listener = self._listener(registration.transport, host, registration.listener)
        if listener is None:
            return None
        flow = self._open(listener, (host, port))
        return None if flow.is_dead else self._to_phone(flow, resource, binding)

    def _to_phone(self, flow: Flow, resource: ResourceId, binding: Binding) -> Way:
        side = self._sides.side(flow, flow.remote, resource, binding.device)
        registration = binding.registration
        return Way(flow, _request_uri(registration.contact), None, registration.path, side)

    def _flow_of(self, side: SideToken) -> Flow | None:
        transport = transport_of(side)
        if not self._speaks(side.listener, transport.value):
            return None
        remote = (side.host, side.port)
        if transport is not Transport.UDP:
            return self._flows.find_connection(side.listener, remote)
        flow = self._flows.datagram(side.listener, remote)
        return None if flow.is_dead else flow

    def _to_address(self, side: SideToken) -> Way | None:
        """Stand in for a dead peer whose phone never registered: its address is all there is."""
        listener = self._listener(Transport.UDP.value, side.host, side.listener)
        if listener is None:
            return None
        return Way(self._flows.datagram(listener, (side.host, side.port)), side=side)

    def _open(self, listener: int, address: Address) -> Flow:
        if self._listeners[listener].transport is Transport.UDP:
            return self._flows.datagram(listener, address)
        found = self._flows.find_connection(listener, address)
        return found or self._flows.connect(listener, address)

    def _speaks(self, listener: int, transport: str) -> bool:
        return (
            listener < len(self._listeners)
            and self._listeners[listener].transport.value == transport
        )

    def _listener(self, transport: str, host: str, preferred: int) -> int | None:
        """Return our listener of a transport and an address family."""
        fitting = [
            number
            for number, listener in enumerate(self._listeners)
            if listener.transport.value == transport
            and (":" in listener.bind.host) == (":" in host)
        ]
        return preferred if preferred in fitting else fitting[0] if fitting else None


def _target(binding: Binding) -> Address:
    """Where a phone takes requests: its contact when that can be sent to, else its source."""
    registration = binding.registration
    if registration.reach != DIRECT:
        return registration.remote
    try:
        contact = parse_uri(registration.contact)
    except RemoteProtocolError:
        return registration.remote
    return contact_address(contact) if isinstance(contact, SipUri) else registration.remote


def _request_uri(contact: bytes) -> bytes:
    """A contact as a Request-URI, which has no headers (RFC 3261 §19.1.1)."""
    if b"?" not in contact:
        return contact
    uri = parse_uri(contact)
    return msgspec.structs.replace(uri, headers=()).encode() if isinstance(uri, SipUri) else contact


def _unchanged(way: Way | None) -> Way | None:
    """The same way for a request whose Request-URI stands already: in a dialog, or by a peer."""
    if way is None:
        return None
    instead = way.instead
    past = None if instead is None else lambda: _unchanged(instead())
    return msgspec.structs.replace(way, uri=None, instead=past)
