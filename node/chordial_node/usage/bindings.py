"""What a binding is: the value of one device at an AOR, its key, its place in the order.

RFC 7904 §3 and `sip.md` 11. Plain values; they are fetched and stored in `location.py`.
"""

import hashlib
from collections.abc import Callable

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.config import Transport
from chordial_node.ids import NodeId
from chordial_node.overlay.kinds import precedence_of
from chordial_node.overlay.messages import Entry
from chordial_node.sip.uri import Uri, canonical_contact

DEVICE_KEY_LENGTH = 8
SPARE_SECONDS = 60
"""A binding is kept this much longer than was granted: its phone may be late (sip.md 13)."""
DIRECT = "direct"
"""The contact's own address can be sent to, from any peer."""
FLOW = "flow"
"""Only the edge that holds the flow reaches the phone."""
_ORDER_KEY = slice(8, 24)  # the hash of the Call-ID in a precedence


class Registration(msgspec.Struct, frozen=True, array_like=True):
    """The value of one device's binding; fields are only ever added at the end."""

    edge: NodeId
    """The peer that accepted it."""
    boot: int
    """The edge's incarnation then: a connection of another boot is no more."""
    listener: int
    transport: str
    remote: Address
    """Where the REGISTER came from."""
    reach: str
    contact: bytes
    """The Contact URI as it was sent."""
    params: bytes
    """The Contact's other parameters, `;name=value…`, without expires."""
    path: tuple[bytes, ...]
    q: int
    """Thousandths (RFC 3261 §20.10)."""
    instance: bytes
    reg_id: int
    call_id: bytes
    cseq: int
    granted: int
    """Seconds."""
    moving: bool = False
    """Its edge is about to end: the phone will register elsewhere within a short time."""

    @property
    def is_by_flow(self) -> bool:
        """Tell whether only the edge that accepted it can be counted on to reach the phone."""
        return self.reach == FLOW or self.transport != Transport.UDP.value


class Binding(msgspec.Struct, frozen=True):
    """A binding that stands, with its key and its place in the order."""

    device: bytes
    registration: Registration
    stored_ms: int
    expires_at_ms: int
    precedence: bytes

    def expires_in(self, now_ms: int) -> int:
        """Return the seconds for which the phone was told that it is registered."""
        return max(0, (self.expires_at_ms - now_ms) // 1000 - SPARE_SECONDS)


class Bindings(msgspec.Struct, frozen=True):
    """What stood at an AOR when it was read."""

    generation: int
    live: tuple[Binding, ...]
    orders: dict[bytes, bytes]
    """The precedence of each device, removed ones included where they are known."""

    def get(self, device: bytes) -> Binding | None:
        """Return the binding of a device."""
        return next((each for each in self.live if each.device == device), None)


class Change(msgspec.Struct, frozen=True):
    """One device's new binding, or its removal."""

    device: bytes
    registration: Registration | None
    call_id: bytes
    cseq: int
    ends_ms: int = 0
    """When it ends; 0: as long after its storing as was granted."""


Decide = Callable[[Bindings], list[Change]]
"""What is to change, given what stands; raises RemoteProtocolError to refuse."""


def device_key(contact: Uri, instance: bytes, reg_id: int) -> bytes:
    """Return the key of a device: its instance-id and reg-id, else its canonical contact."""
    name = b"%b\0%d" % (instance, reg_id) if instance else canonical_contact(contact)
    return hashlib.blake2b(name, digest_size=DEVICE_KEY_LENGTH).digest()


def is_same_call(precedence: bytes, call_id: bytes) -> bool:
    """Tell whether a precedence was made for this Call-ID."""
    return precedence[_ORDER_KEY] == precedence_of(0, call_id, 0)[_ORDER_KEY]


def cseq_of(precedence: bytes) -> int:
    """Return the CSeq that a precedence was made for."""
    return int.from_bytes(precedence[24:28], "big")


def read_binding(entry: Entry, now_ms: int) -> Binding | None:
    """Return the binding of an entry that stands; None for a marker and what cannot be read."""
    if not entry.exists or entry.expires_at_ms <= now_ms:
        return None
    try:
        value = msgspec.msgpack.decode(entry.value, type=Registration)
    except msgspec.MsgspecError:
        return None  # of a later version that we cannot read: as if it were not there
    return Binding(entry.key, value, entry.storage_time_ms, entry.expires_at_ms, entry.precedence)
