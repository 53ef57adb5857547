"""Who may send an initial request, and to whom (RFC 3261 §16.3, §16.4, sip.md 3, 7, 16).

Whoever claims a From of ours proves it; strangers may call and ask for options. Nothing is routed
elsewhere: our users only. Requests of calls never come here, their tokens are proof enough.
"""

import msgspec

from chordial_node.config import SipConfig
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.sip.admission import ChallengeBudget
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from chordial_node.usage.authentication import Authentication
from chordial_node.usage.domains import Domains, Whose

_STRANGERS_MAY = (b"INVITE", b"OPTIONS")
_ANSWERED_HERE = (b"SUBSCRIBE", b"PUBLISH")
"""Events of a user's own AOR: there is no package here yet, and the phone must not get it back."""


def check_extensions(request: Message) -> None:
    """Refuse what a proxy is required to do and we cannot: RemoteProtocolError(420) names it."""
    required = [each for each in request.values(b"proxy-require") if each]
    if required:
        headers = ((b"Unsupported", b", ".join(required)),)
        raise RemoteProtocolError(420, "Bad Extension", headers)


class Caller(msgspec.Struct, frozen=True):
    """An initial request that may go on."""

    aor: bytes
    """Who sent it, proven; empty: a stranger."""
    callee: bytes
    """The AOR that it is for."""
    pops: int
    """Route values to remove: all, they give no rights."""


class Admittance:
    """Admits initial requests of phones."""

    def __init__(
        self, kernel: Kernel, config: SipConfig, domains: Domains, authentication: Authentication
    ) -> None:
        """Hold whose domain this is and who proves users."""
        self._kernel = kernel
        self._scans = ChallengeBudget(limit=1)
        self._strangers = ChallengeBudget()
        """A stranger's request costs a Fetch: so many a second from one address, then silence."""
        self._config = config
        self._domains = domains
        self._authentication = authentication

    async def admit(self, request: Message, flow: Flow, trace: Trace | None) -> Caller:
        """Return who calls whom; RemoteProtocolError refuses, or asks for a proof."""
        whose = self._domains.whose(request.uri)
        if whose is Whose.UNSUPPORTED:
            raise RemoteProtocolError(416, "Unsupported URI Scheme")
        if request.method == b"NOTIFY":
            raise RemoteProtocolError(481, "Subscription Does Not Exist")
        claimed = request.from_address.parsed_uri()
        if self._domains.is_ours(claimed):
            claim = self._authentication.claim(request, flow)
            aor = await self._authentication.prove(claim, request, flow, trace)
            if self._domains.aor(claimed) != aor:
                raise RemoteProtocolError(403, "From Must Be the Authenticated User")
        else:
            self._check_stranger(request, flow)
            aor = b""
        if whose is Whose.ELSEWHERE and request.to_tag:
            raise RemoteProtocolError(481, "Call Does Not Exist")
        if whose is Whose.ELSEWHERE:
            raise RemoteProtocolError(403, "Calls to Other Domains Are Off")
        callee = self._domains.aor(request.uri)
        if callee is None:
            raise RemoteProtocolError(404, "Not Found")
        if callee == aor and request.method in _ANSWERED_HERE:
            raise RemoteProtocolError(489, "Bad Event")
        return Caller(aor, callee, len(request.values(b"route")))

    def _check_stranger(self, request: Message, flow: Flow) -> None:
        if request.to_tag:
            raise RemoteProtocolError(481, "Call Does Not Exist")
        if not self._config.foreign_inbound or request.method not in _STRANGERS_MAY:
            raise RemoteProtocolError(403, "Not for Callers of Other Domains")
        if self._domains.is_bare_address(request.uri):  # scanners, who try name after name
            if not self._scans.spend(flow.remote[0], self._kernel.now):
                raise RemoteProtocolError(None, "one more stranger's call to our bare address")
            raise RemoteProtocolError(404, "Not Found")
        if not self._strangers.spend(flow.remote[0], self._kernel.now):
            raise RemoteProtocolError(None, "too many strangers' requests from one address")
