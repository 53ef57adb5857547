"""Whose request is it?"""

import msgspec
import pytest

from chordial_node.config import Endpoint, ListenerConfig, SipConfig, Transport
from chordial_node.ids import resource_id_of
from chordial_node.sip.uri import parse_uri
from chordial_node.usage.domains import Domains, Whose, resource_of

DOMAINS = Domains(
    SipConfig(
        "chordial.test",
        (
            ListenerConfig(
                Transport.UDP, Endpoint("127.0.0.1", 5070), Endpoint("203.0.113.10", 5060)
            ),
            ListenerConfig(Transport.UDP, Endpoint("2001:DB8:0::10", 5060)),
            ListenerConfig(Transport.PEER, Endpoint("127.0.0.1", 5081)),
        ),
    )
)


@pytest.mark.parametrize(
    ("uri", "whose"),
    [
        (b"sip:bob@chordial.test", Whose.USER),
        (b"sip:bob@CHORDIAL.test:5060;transport=udp", Whose.USER),
        (b"sip:bob@127.0.0.1:5070", Whose.USER),
        (b"sip:bob@203.0.113.10", Whose.USER),
        (b"sip:bob@[2001:db8::0:10]", Whose.USER),
        (b"sip:bob@127.0.0.1:5080", Whose.ELSEWHERE),
        (b"sip:bob@127.0.0.1:5081", Whose.ELSEWHERE),
        (b"sip:chordial.test", Whose.OURSELVES),
        (b"sip:bob@example.org", Whose.ELSEWHERE),
        (b"tel:+15551234", Whose.UNSUPPORTED),
    ],
)
def test_host_and_port_of_a_listener_mean_the_default_domain(uri: bytes, whose: Whose) -> None:
    assert DOMAINS.whose(parse_uri(uri)) is whose


@pytest.mark.parametrize(
    "uri",
    [
        b"sip:alice@chordial.test",
        b"sip:Alice@Chordial.Test;transport=udp",
        b"sip:%61lice@127.0.0.1:5070",
    ],
)
def test_all_spellings_of_an_aor_are_one_resource(uri: bytes) -> None:
    aor = DOMAINS.aor(parse_uri(uri))
    assert aor == b"alice@chordial.test"
    assert resource_of(aor) == resource_id_of(b"sip:alice@chordial.test")


def test_our_bare_address_is_told_from_our_domain() -> None:
    assert DOMAINS.is_bare_address(parse_uri(b"sip:100@127.0.0.1:5070"))
    assert not DOMAINS.is_bare_address(parse_uri(b"sip:bob@chordial.test"))


def test_every_served_domain_is_ours_and_its_users_realm() -> None:
    domains = Domains(SipConfig("chordial.test", (), ("voice.example.org",)))
    bob = parse_uri(b"sip:Bob@Voice.Example.org")
    assert domains.served == (b"chordial.test", b"voice.example.org")
    assert domains.whose(bob) is Whose.USER
    assert domains.aor(bob) == b"bob@voice.example.org"
    assert domains.realm(bob) == b"voice.example.org"
    assert domains.realm(parse_uri(b"sip:bob@192.0.2.1")) == b"chordial.test"


def test_what_is_advertised_later_and_what_is_known_besides_are_ours_too() -> None:
    listener = ListenerConfig(Transport.UDP, Endpoint("127.0.0.1", 5060))
    domains = Domains(SipConfig("chordial.test", (listener,)))
    told = msgspec.structs.replace(
        listener, advertise=Endpoint("203.0.113.10", 5060), also_known=("sip.example.org",)
    )
    assert domains.whose(parse_uri(b"sip:bob@203.0.113.10")) is Whose.ELSEWHERE
    domains.advertise((told,))
    for host in (b"203.0.113.10", b"sip.example.org", b"127.0.0.1"):
        assert domains.whose(parse_uri(b"sip:bob@" + host)) is Whose.USER
