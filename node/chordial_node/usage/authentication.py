"""Who must prove what: challenges, nonces, guesses (RFC 3261 §22, RFC 8760, sip.md 4, 5, 10, 22).

The checks stand in the order of their price: nonce first, without a Fetch; then the user's hashes;
then the digest. Known and unknown users get the same answers after the same work. What a proven
user may do is decided by registrar and proxy.
"""

from collections.abc import Callable

import msgspec

from chordial_node.config import SipConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.security.credentials import Algorithm, make_credentials
from chordial_node.security.derived_keys import KeyRing
from chordial_node.sip import digest
from chordial_node.sip.admission import ChallengeBudget
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from chordial_node.sip.nonces import RANDOM_LENGTH, Nonces, NonceState
from chordial_node.usage.credentials import CredentialStore
from chordial_node.usage.domains import Domains, resource_of

GUESSES_A_MINUTE = 10
"""Wrong answers for one user from one address."""
GUESSES_A_MINUTE_PER_USER = 100
"""Wrong answers for one user from addresses that never gave a right one."""
_MOST_ADDRESSES = 20_000


class Claim(msgspec.Struct, frozen=True):
    """Digest credentials with a nonce that is ours; nothing else of them is proven yet."""

    aor: bytes
    is_full_name: bool
    """The name was `user@domain`, which has hashes of its own."""
    credentials: digest.Credentials


class Authentication:
    """Challenges requests, and proves who sent them."""

    def __init__(
        self,
        kernel: Kernel,
        config: SipConfig,
        own: NodeId,
        keys: KeyRing,
        boot: Callable[[], int],
        domains: Domains,
        credentials: CredentialStore,
    ) -> None:
        """Hold what nonces are made with; `boot` is the incarnation this process started with."""
        self._kernel = kernel
        self._own = own
        self._keys = keys
        self._boot = boot
        self._credentials = credentials
        self._domains = domains
        self._algorithms = tuple(Algorithm(name) for name in config.digest)
        self._lifetime = 2.0 * config.max_expires_seconds
        self._nonces_of: tuple[int, Nonces] | None = None
        self._unanswered = ChallengeBudget()
        self._guesses = _Rounds()
        self._guesses_per_user = _Rounds()
        self._proven: dict[tuple[bytes, str], None] = {}
        self._dummy = make_credentials("nobody", config.domain, "never checked against")

    def challenge(
        self, request: Message, flow: Flow, *, stale: bool = False
    ) -> RemoteProtocolError:
        """Return the refusal that asks for a proof; silence when too many stay unanswered."""
        if not self._unanswered.spend(flow.remote[0], self._kernel.now):
            return RemoteProtocolError(None, "too many unanswered challenges")
        self._kernel.counters.sip_challenges += 1
        random = self._kernel.random.getrandbits(8 * RANDOM_LENGTH).to_bytes(RANDOM_LENGTH, "big")
        nonce = self._nonces().make(self._kernel.wall, random)
        realm = self._realm_of(request)
        is_register = request.method == b"REGISTER"
        name = b"WWW-Authenticate" if is_register else b"Proxy-Authenticate"
        headers = tuple(
            (name, digest.challenge(realm, nonce, algorithm, stale=stale))
            for algorithm in self._algorithms
        )
        if is_register:
            return RemoteProtocolError(401, "Unauthorized", headers)
        return RemoteProtocolError(407, "Proxy Authentication Required", headers)

    def claim(self, request: Message, flow: Flow) -> Claim:
        """Return what a request claims; raises the challenge when it has no good nonce of ours."""
        name = b"authorization" if request.method == b"REGISTER" else b"proxy-authorization"
        realm = self._realm_of(request)
        values = [digest.of_realm(each, realm) for each in request.lines(name)]
        ours = [each for each in values if each is not None]
        if not ours:
            raise self.challenge(request, flow)
        credentials = digest.read_credentials(ours[-1])
        if credentials.algorithm not in self._algorithms:
            raise self.challenge(request, flow)
        state = self._nonces().judge(credentials.nonce, self._kernel.wall)
        if state is NonceState.FORGED:
            raise self.challenge(request, flow)
        self._unanswered.answered(flow.remote[0], self._kernel.now)
        if state is NonceState.STALE:
            raise self.challenge(request, flow, stale=True)
        user, at, domain = credentials.username.lower().rpartition(b"@")
        if not at:
            user = domain
        elif domain != realm:
            user = b""
        return Claim(user + b"@" + realm, bool(at), credentials)

    async def prove(
        self, claim: Claim, request: Message, flow: Flow, trace: Trace | None = None
    ) -> bytes:
        """Return the AOR of the user whose password was known; raises the challenge otherwise.

        A disabled user who proves to be that gets 403: who proves nothing learns nothing.
        OverlayError when the ring cannot tell the user's hashes.
        """
        found = await self._credentials.of(resource_of(claim.aor), trace)
        credentials = claim.credentials
        secret = (found or self._dummy).ha1(credentials.algorithm, claim.is_full_name)
        is_right = digest.verify(credentials, secret, request.method)
        host = flow.remote[0]
        if found is None or not is_right or self._is_guessing(claim.aor, host):
            if not (is_right and found):
                self._note_guess(claim.aor, host)
            raise self.challenge(request, flow)
        self._note_proof(claim.aor, host)
        state = self._nonces().use(credentials.nonce, credentials.nc, self._kernel.wall)
        if state is not NonceState.VALID:
            raise self.challenge(request, flow, stale=True)
        if found.is_disabled:
            raise RemoteProtocolError(403, "User Is Disabled")
        return claim.aor

    def consumes(self, value: bytes) -> bool:
        """Tell whether a header of credentials is for us: it is removed before forwarding."""
        return any(digest.of_realm(value, realm) for realm in self._domains.served)

    def _realm_of(self, request: Message) -> bytes:
        """The domain of the address that is claimed: of To in a REGISTER, else of From."""
        is_register = request.method == b"REGISTER"
        claimed = request.to_address if is_register else request.from_address
        return self._domains.realm(claimed.parsed_uri())

    def _nonces(self) -> Nonces:
        boot = self._boot()
        if self._nonces_of is None or self._nonces_of[0] != boot:
            self._nonces_of = (boot, Nonces(self._keys, self._own, boot, self._lifetime))
        return self._nonces_of[1]

    def _is_guessing(self, aor: bytes, host: str) -> bool:
        now = self._kernel.now
        if self._guesses.count((aor, host), now) >= GUESSES_A_MINUTE:
            return True
        if (aor, host) in self._proven:
            return False
        return self._guesses_per_user.count((aor, ""), now) >= GUESSES_A_MINUTE_PER_USER

    def _note_guess(self, aor: bytes, host: str) -> None:
        self._guesses.add((aor, host), self._kernel.now)
        self._guesses_per_user.add((aor, ""), self._kernel.now)

    def _note_proof(self, aor: bytes, host: str) -> None:
        """An address that once proved a user is not locked out by others' guesses."""
        self._proven.pop((aor, host), None)
        self._proven[aor, host] = None
        if len(self._proven) > _MOST_ADDRESSES:
            self._proven.pop(next(iter(self._proven)))


class _Rounds:
    """Counts by key over the present and the last minute; nothing is kept longer."""

    __slots__ = ("_last", "_minute", "_now")

    def __init__(self) -> None:
        self._minute = 0
        self._now: dict[tuple[bytes, str], int] = {}
        self._last: dict[tuple[bytes, str], int] = {}

    def count(self, key: tuple[bytes, str], now: float) -> int:
        self._turn(now)
        return max(self._now.get(key, 0), self._last.get(key, 0))

    def add(self, key: tuple[bytes, str], now: float) -> None:
        self._turn(now)
        if key in self._now or len(self._now) < _MOST_ADDRESSES:
            self._now[key] = self._now.get(key, 0) + 1

    def _turn(self, now: float) -> None:
        minute = int(now // 60)
        if minute != self._minute:
            self._last = self._now if minute == self._minute + 1 else {}
            self._now = {}
            self._minute = minute
