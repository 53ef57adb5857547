"""RFC 5626: flows that the phone opened and that stay its way in."""

from tests.node.usage.phone import Phone
from tests.node.usage.rig import Wire
from tests.node.usage.test_register_flow import stored, wired

OUTBOUND = (b"Supported: outbound, path",)


def outbound_phone(wire: Wire, reg_id: int = 1, *, tcp: bool = True) -> Phone:
    phone = Phone(wire, "alice", ("198.51.100.7", 40000 + reg_id), tcp=tcp)
    phone.instance = b"urn:uuid:A"
    return phone


def contact_of(phone: Phone, reg_id: int) -> bytes:
    return phone.contact_line() + b";reg-id=%d" % reg_id


def test_an_outbound_registration_is_confirmed() -> None:
    """RFC 5626 §6: the registrar puts the option tag outbound into Require of its 200."""
    wire = wired()
    phone = outbound_phone(wire)
    answer = phone.register(*OUTBOUND, contact=contact_of(phone, 1))
    assert answer.status == 200
    assert answer.values(b"require") == [b"outbound"]
    assert answer.first(b"flow-timer") == b"120"


def test_without_the_option_tag_nothing_is_confirmed() -> None:
    """RFC 5626 §6: a registration without outbound in Supported is an ordinary one."""
    wire = wired()
    phone = outbound_phone(wire)
    answer = phone.register(contact=contact_of(phone, 1))
    assert b"require" not in answer
    assert b"flow-timer" not in answer


def test_two_flows_of_one_instance_are_two_bindings() -> None:
    """RFC 5626 §6: a binding is named by AOR, instance-id and reg-id."""
    wire = wired()
    for reg_id in (1, 2):
        phone = outbound_phone(wire, reg_id)
        phone.register(*OUTBOUND, call_id=b"r%d" % reg_id, contact=contact_of(phone, reg_id))
    assert sorted(each.reg_id for each in stored(wire)) == [1, 2]


def test_the_same_flow_again_replaces_its_binding_whatever_its_contact() -> None:
    """RFC 5626 §6: instance-id and reg-id decide, not the contact and not the Call-ID."""
    wire = wired()
    first = outbound_phone(wire)
    first.register(*OUTBOUND, contact=contact_of(first, 1))
    again = Phone(wire, "alice", ("198.51.100.9", 50000), tcp=True, instance="urn:uuid:A")
    again.register(*OUTBOUND, call_id=b"after-reboot", contact=contact_of(again, 1))
    [registration] = stored(wire)
    assert registration.remote == ("198.51.100.9", 50000)


def test_a_longer_registration_is_granted_over_a_connection() -> None:
    """RFC 5626 §4.2: the flow itself tells when it fails, so registrations may live long."""
    wire = wired()
    phone = outbound_phone(wire)
    phone.register(*OUTBOUND, contact=contact_of(phone, 1))
    assert stored(wire)[0].granted > 3000


def test_a_flow_that_failed_is_430_between_edges_and_480_to_the_caller() -> None:
    """RFC 5626 §5.3: the edge answers 430 when the flow is gone; it never reaches a phone."""
    wire = wired(2)
    callee = Phone(
        wire, "bob", ("10.0.0.9", 33020), edge=1, tcp=True, contact="sip:bob@192.168.0.9:5060"
    )
    callee.register()
    edge = wire.edges[1]
    for number in list(edge.ends):
        edge.lose(number)
    caller = Phone(wire, "alice", ("10.0.0.3", 5060))
    caller.call(b"sip:bob@chordial.test")
    assert [m.status for to, m in edge.sent if to == "E1" and not m.is_request] == [100, 430]
    assert caller.statuses(b"INVITE")[-1] == 480


def test_a_connection_of_an_earlier_boot_is_430() -> None:
    """RFC 5626 §5.3 and sip.md 2: after a restart a stored connection names nothing."""
    wire = wired(2)
    callee = Phone(
        wire, "bob", ("10.0.0.9", 33020), edge=1, tcp=True, contact="sip:bob@192.168.0.9:5060"
    )
    callee.register()
    wire.edges[1].begin()
    wire.edges[1].peer.ring.boot = 2
    caller = Phone(wire, "alice", ("10.0.0.3", 5060))
    caller.call(b"sip:bob@chordial.test")
    assert caller.statuses(b"INVITE")[-1] == 480
