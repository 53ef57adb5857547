"""Whose request is it: a user of ours, ourselves, or elsewhere (RFC 3261 §16.5, RFC 7904 §4.1).

Host and port of one of our listeners mean the default domain: on a laptop phones and peers share
one address, so the port decides. Where a request goes after that is never decided here.
"""

from collections.abc import Sequence
from enum import Enum
from ipaddress import ip_address

from chordial_node.config import Endpoint, ListenerConfig, SipConfig, Transport
from chordial_node.ids import ResourceId, resource_id_of
from chordial_node.sip.uri import OtherUri, SipUri, Uri, aor

PEER_DOMAIN = b".peer.invalid"
"""Host of a peer in Via and Route: its Node-ID in hexadecimal before this (RFC 2606)."""


MOST_ADDRESSES = 10_000
"""Beyond, former addresses are forgotten."""


class Whose(Enum):
    """To whom a Request-URI leads."""

    USER = "user"
    """A user of one of our domains."""
    OURSELVES = "ourselves"
    """This peer: one of our domains or addresses, and no user."""
    ELSEWHERE = "elsewhere"
    UNSUPPORTED = "unsupported"
    """Another scheme than SIP: 416."""


class Domains:
    """The domains and the addresses that are ours."""

    __slots__ = ("_addresses", "_hosts", "_served", "domain")

    def __init__(self, config: SipConfig) -> None:
        """Note the domains and the addresses of the listeners for phones."""
        self.domain = config.domain.encode()
        """The default one, which our bare addresses mean."""
        names = (self.domain, *(each.encode() for each in config.domains))
        self._served: dict[bytes, None] = dict.fromkeys(names)
        self._addresses: dict[tuple[bytes, int], None] = {}
        self._hosts: dict[bytes, None] = {}
        self.advertise(config.listeners)

    def advertise(self, listeners: Sequence[ListenerConfig]) -> None:
        """Know ourselves by what is advertised now, and by what was: phones remember it."""
        if len(self._addresses) > MOST_ADDRESSES:
            self._addresses.clear()
            self._hosts.clear()
        for listener in listeners:
            if listener.transport is Transport.PEER:
                continue
            known = listener.advertised
            others = (Endpoint(host, known.port) for host in listener.also_known)
            for end in (listener.bind, known, *others):
                host = _as_in_uris(end.host)
                self._addresses[host, end.port] = None
                self._hosts[host] = None

    @property
    def served(self) -> tuple[bytes, ...]:
        """Every domain that is ours, the default one first."""
        return tuple(self._served)

    def is_served(self, domain: bytes) -> bool:
        """Tell whether a name, in lower case, is one of our domains."""
        return domain in self._served

    def realm(self, uri: Uri) -> bytes:
        """Return the domain of an address, which is the realm of its user; else the default one."""
        if isinstance(uri, SipUri) and uri.host in self._served:
            return uri.host
        return self.domain

    def may_be_registered_at(self, address: Uri, asked: Uri) -> bool:
        """Tell whether a Request-URI names the domain of an address (RFC 3261 §10.3), or none."""
        if isinstance(asked, SipUri) and asked.host in self._served:
            return asked.host == self.realm(address)
        return self.is_ours(asked)

    def is_own_address(self, host: bytes, port: int | None, scheme: bytes = b"sip") -> bool:
        """Tell whether a host and port are those of one of our listeners."""
        if port is None:
            port = 5061 if scheme == b"sips" else 5060
        return (host, port) in self._addresses

    def is_bare_address(self, uri: Uri) -> bool:
        """Tell whether a URI names one of our addresses and no domain: scanners do that."""
        if isinstance(uri, OtherUri) or uri.host in self._served:
            return False
        return uri.host in self._hosts

    def is_ours(self, uri: Uri) -> bool:
        """Tell whether a URI lies in one of our domains, or names one of our listeners."""
        if isinstance(uri, OtherUri):
            return False
        return uri.host in self._served or self.is_own_address(uri.host, uri.port, uri.scheme)

    def whose(self, uri: Uri) -> Whose:
        """Tell to whom a Request-URI leads."""
        if isinstance(uri, OtherUri):
            return Whose.UNSUPPORTED
        if not self.is_ours(uri):
            return Whose.ELSEWHERE
        return Whose.USER if uri.user else Whose.OURSELVES

    def aor(self, uri: Uri) -> bytes | None:
        """Return the canonical address-of-record of a URI of ours, or None."""
        if isinstance(uri, OtherUri) or not uri.user or not self.is_ours(uri):
            return None
        return aor(uri, self.realm(uri))


def _as_in_uris(host: str) -> bytes:
    """A host as a parsed URI has it: names in lower case, IPv6 addresses in their shortest form."""
    try:
        return str(ip_address(host)).encode()
    except ValueError:
        return host.lower().encode()


def resource_of(canonical_aor: bytes) -> ResourceId:
    """Return the Resource-ID under which credentials and registrations of an AOR lie."""
    return resource_id_of(b"sip:" + canonical_aor)
