"""The contacts of a REGISTER: what they ask for, and what of it is late (RFC 3261 §10.2, §10.3).

Pure reading and comparing; nothing is stored and nobody is believed here.
"""

import msgspec

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import (
    DEFAULT_EXPIRES,
    TOKEN,
    NameAddr,
    Params,
    parse_expires,
    quote,
)
from chordial_node.sip.message import Message
from chordial_node.sip.uri import SipUri
from chordial_node.usage.bindings import Binding, Bindings, Change, cseq_of, is_same_call

SUPPORTED = (b"path", b"outbound")
"""Extensions that a REGISTER may require of us."""


class Wish(msgspec.Struct, frozen=True):
    """What a REGISTER asks for one contact."""

    device: bytes
    uri: SipUri
    contact: NameAddr
    instance: bytes
    reg_id: int
    q: int
    expires: int
    """Granted seconds; 0 removes."""


def check_required(request: Message) -> None:
    """Refuse extensions that we lack: RemoteProtocolError(420) names them (§8.2.2.3)."""
    lacking = [
        name for name in request.values(b"require") if name and name.lower() not in SUPPORTED
    ]
    if lacking:
        raise RemoteProtocolError(420, "Bad Extension", ((b"Unsupported", b", ".join(lacking)),))


def is_newer(found: Bindings, device: bytes, call_id: bytes, cseq: int) -> bool:
    """Tell whether a change of a device is to be made; RemoteProtocolError(400) for a late one."""
    before = found.orders.get(device, b"")
    if not before or not is_same_call(before, call_id):
        return True
    if cseq < cseq_of(before):
        raise RemoteProtocolError(400, "CSeq Is Lower Than That of a Later REGISTER")
    return cseq > cseq_of(before)


def all_removed(found: Bindings, call_id: bytes, cseq: int) -> list[Change]:
    """Return the removal of everything that is no newer than the REGISTER."""
    return [
        Change(binding.device, None, call_id, cseq)
        for binding in found.live
        if is_newer(found, binding.device, call_id, cseq)
    ]


def replaced(found: Bindings, call_id: bytes, cseq: int) -> list[Binding]:
    """Contacts of an earlier REGISTER of this Call-ID that had no instance-id either."""
    return [
        binding
        for binding in found.live
        if not binding.registration.instance
        and binding.registration.call_id == call_id
        and binding.registration.cseq < cseq
    ]


def is_wished(wishes: list[Wish], device: bytes) -> bool:
    """Tell whether a device is among those that a REGISTER names."""
    return any(wish.device == device for wish in wishes)


def is_outbound(request: Message, contact: NameAddr) -> bool:
    """Tell whether a contact is an outbound flow, and we its first hop (RFC 5626 §6)."""
    return (
        bool(contact.params.get(b"+sip.instance"))
        and b"reg-id" in contact.params
        and len(request.values(b"via")) == 1
        and any(each.lower() == b"outbound" for each in request.values(b"supported"))
    )


def asked_seconds(request: Message, params: Params) -> int:
    """Return for how long a contact asks, 3600 where nothing is said."""
    value = params.get(b"expires") or request.first(b"expires")
    return DEFAULT_EXPIRES if value is None else parse_expires(value)


def contact_line(binding: Binding, now_ms: int) -> bytes:
    """Return the Contact value of a binding in the 200 (§10.3 step 8)."""
    registration = binding.registration
    text = b"<%b>;expires=%d" % (registration.contact, binding.expires_in(now_ms))
    return text + registration.params


def kept_params(params: Params) -> bytes:
    """A contact's parameters as they are given back, without its lifetime."""
    text = b""
    for name, value in params.items():
        if name == b"expires":
            continue
        if value is None:
            text += b";" + name
        elif name != b"+sip.instance" and TOKEN.fullmatch(value):
            text += b";" + name + b"=" + value
        else:
            text += b";" + name + b"=" + quote(value)
    return text


def number_of(value: bytes | None, most: int) -> int:
    """Return a decimal number up to a limit, 0 for anything else."""
    return int(value) if value and value.isdigit() and len(value) < 11 and int(value) <= most else 0


def q_of(value: bytes | None) -> int:
    """Read a q-value, 1 where it is missing or malformed (RFC 3261 §20.10)."""
    whole, _, rest = (value or b"1").partition(b".")
    if whole not in (b"0", b"") or (rest and not rest.isdigit()) or len(rest) > 3:
        return 1000
    return int((rest + b"000")[:3])
