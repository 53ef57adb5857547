"""Requests that belong to a call: by the tokens in Route, or by the table of calls (sip.md 2).

One rule for every request with Route; a phone that keeps no route set is given that of its call.
Requests that follow neither are initial ones, and none of this module's business. RFC 3261 §16.4.
"""

import msgspec

from chordial_node.kernel.tracing import Trace
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow
from chordial_node.sip.headers import parse_name_addr
from chordial_node.sip.message import Message
from chordial_node.sip.tokens import NO_DEVICE, SideToken
from chordial_node.sip.uri import SipUri, Uri
from chordial_node.usage.bindings import DIRECT, device_key
from chordial_node.usage.delivery import Delivery
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.domains import Domains, resource_of
from chordial_node.usage.location import Location
from chordial_node.usage.rewriting import Passage
from chordial_node.usage.sides import (
    NO_RESOURCE,
    Routed,
    Sides,
    Way,
    contact_address,
    reach_of,
)


class Onward(msgspec.Struct, frozen=True):
    """Where a request of a call goes on."""

    routed: Routed
    passage: Passage


class Routes:
    """Reads where requests of calls go on."""

    def __init__(
        self,
        domains: Domains,
        dialogs: Dialogs,
        sides: Sides,
        location: Location,
        delivery: Delivery,
    ) -> None:
        """Hold what tokens and calls are known by."""
        self._domains = domains
        self._dialogs = dialogs
        self._sides = sides
        self._location = location
        self._delivery = delivery

    def of(self, request: Message, flow: Flow) -> Onward | None:
        """Return where a request of a call goes on; None for one that belongs to no call.

        A peer's request is accepted only when its topmost Route leads here, or to a dead peer. A
        phone's that has no To tag is in no call: whoever learnt a token while it rang would
        otherwise reach that phone unproven, under any name.
        """
        values = request.values(b"route")
        routed = self._sides.read(values, request.call_id, from_peer=flow.is_peer)
        if flow.is_peer:
            if not routed.has_token or not routed.pops:
                raise RemoteProtocolError(403, "Route Does Not Lead to This Peer")
            return Onward(routed, Passage(request, flow, pops=routed.pops))
        if not request.to_tag:
            return None
        if self._sides.open(request.target, request.call_id) is not None:
            return self._by_strict_routing(request, flow, values)
        if routed.has_token:
            return Onward(routed, Passage(request, flow, pops=routed.pops))
        return self._by_dialog(request, flow, routed.pops)

    async def way(self, onward: Onward, flow: Flow, trace: Trace | None) -> Way | None:
        """Return the way on: to the next peer, to the device, or to the side popped last."""
        routed = onward.routed
        if routed.next_node is not None:
            return self._delivery.to_peer(routed.next_node)
        if routed.device is not None:
            return await self._delivery.to_device(routed.device, flow.node, trace)
        return await self._delivery.to_side(routed.last, trace) if routed.last else None

    async def way_past(self, onward: Onward, trace: Trace | None) -> tuple[Way, Passage] | None:
        """Return the way to the phone of a peer that does not answer, which may be held alive yet.

        Its token is consumed here as that of a dead peer is.
        """
        side = onward.routed.next_side
        way = await self._delivery.to_side(side, trace) if side is not None else None
        if way is None:
            return None
        passage = onward.passage
        if passage.routes:
            return way, msgspec.structs.replace(passage, routes=passage.routes[1:])
        return way, msgspec.structs.replace(passage, pops=passage.pops + 1)

    def caller_side(self, request: Message, flow: Flow, aor: bytes) -> SideToken:
        """Return the side of a phone that may begin a dialog: its flow, or its direct contact."""
        contact, instance = _contact(request)
        resource = resource_of(aor) if aor else NO_RESOURCE
        address = flow.remote
        is_datagram = not flow.is_reliable
        if isinstance(contact, SipUri) and is_datagram and _is_direct(contact, request, flow):
            address = contact_address(contact)
        device = self._location.device_at(resource, flow.listener, flow.remote) if aor else b""
        if device is None:
            device = device_key(contact, instance, 0) if contact is not None else b""
        return self._sides.side(flow, address, resource, device)

    def refuse_loops(self, request: Message, levels: list[list[list[Way]]]) -> None:
        """Refuse a request that has already been to where it is to go: RemoteProtocolError(482).

        Our own tokens in Record-Route tell (RFC 3261 §16.3 step 4, RFC 5393 §4).
        """
        for value in request.values(b"record-route"):
            token = self._sides.open(value, request.call_id)
            if not isinstance(token, SideToken) or token.device == NO_DEVICE:
                continue
            been = (token.resource, token.device)
            if any(been == _place(way) for level in levels for group in level for way in group):
                raise RemoteProtocolError(482, "Loop Detected")

    def _by_strict_routing(
        self, request: Message, flow: Flow, values: list[bytes]
    ) -> Onward | None:
        """The call of a phone that puts its first Route into the Request-URI (§16.4).

        Its remote target stands last in Route.
        """
        if not values:
            return None
        routes = [b"<%b>" % request.target, *values[:-1]]
        routed = self._sides.read(routes, request.call_id, from_peer=False)
        target = parse_name_addr(values[-1])
        target.parsed_uri()
        left = tuple(routes[routed.pops :])
        return Onward(routed, Passage(request, flow, len(values), left, target.uri))

    def _by_dialog(self, request: Message, flow: Flow, pops: int) -> Onward | None:
        """The call of a phone that keeps no route set: only from where its side of it is."""
        dialog = self._dialogs.find(request)
        if dialog is None:
            return None
        routes = dialog.routes_of(request)
        routed = self._sides.read(routes, request.call_id, from_peer=False)
        if routed.first is None or routed.first.host != flow.remote[0]:
            return None
        target = dialog.target_of(request) if self._domains.is_ours(request.uri) else b""
        left = tuple(routes[routed.pops :])
        return Onward(routed, Passage(request, flow, pops, left, target or None))


def _contact(request: Message) -> tuple[Uri | None, bytes]:
    try:
        contacts = request.addresses(b"contact")
        if not contacts:
            return None, b""
        return contacts[0].parsed_uri(), contacts[0].params.get(b"+sip.instance") or b""
    except RemoteProtocolError:
        return None, b""


def _is_direct(contact: SipUri, request: Message, flow: Flow) -> bool:
    return reach_of(contact, request.via, flow) == DIRECT


def _place(way: Way) -> tuple[bytes, bytes] | None:
    if way.device is not None:
        return way.device.resource, way.device.device
    return (way.side.resource, way.side.device) if way.side is not None else None
