"""What is looked at before a byte is parsed: is this worth parsing, and may we challenge again?

`sip.md` 10, 12 and 22. First line of defence against noise, scanners and the use of our challenges
as an amplifier. It never bans: an address may be the NAT of many honest phones.
"""

from enum import Enum

from chordial_node.sip.framing import MAX_BODY, MAX_HEAD
from chordial_node.sip.stun import is_stun

CHALLENGES_PER_SECOND = 50
MAX_SOURCES = 10_000

# What the tools that look for open proxies call themselves.
_SCANNERS = (
    b"friendly-scanner",
    b"friendly-request",
    b"sipvicious",
    b"sundayddr",
    b"sip-scan",
    b"sipcli",
    b"vaxsipuseragent",
    b"pplsip",
    b"iwar",
    b"cspwn",
    b"zxcvfdf11",
)
_USER_AGENTS = (b"\r\nUser-Agent:", b"\r\nuser-agent:", b"\r\nUser-agent:")


class Verdict(Enum):
    """What is done with bytes that arrived."""

    ACCEPT = "accept"
    KEEPALIVE = "keepalive"  # empty or CRLF: ignored, though it keeps the NAT open
    STUN = "stun"  # to be answered by stun.answer_binding
    NOT_SIP = "not sip"  # dropped
    SCANNER = "scanner"  # dropped
    TOO_LARGE = "too large"  # dropped


def judge(data: bytes) -> Verdict:
    """Tell what a datagram is, by its first bytes and its User-Agent."""
    if len(data) < 20 and not data.strip(b"\r\n\0 "):
        return Verdict.KEEPALIVE
    first = data[0]
    if first < 4 and is_stun(data):
        return Verdict.STUN
    if len(data) > MAX_HEAD + MAX_BODY:
        return Verdict.TOO_LARGE
    line_end = data.find(b"\r\n", 2)  # behind stray CRLF in front
    if line_end < 0 or data.find(b"SIP/", 0, line_end) < 0:
        return Verdict.NOT_SIP
    if is_scanner(data):
        return Verdict.SCANNER
    return Verdict.ACCEPT


def is_scanner(data: bytes) -> bool:
    """Whether the User-Agent header names a known scanner."""
    for name in _USER_AGENTS:
        start = data.find(name)
        if start >= 0:
            agent = data[start + len(name) : data.find(b"\r\n", start + 2)].lower()
            return any(scanner in agent for scanner in _SCANNERS)
    return False


class ChallengeBudget:
    """How many challenges a source address may still be sent without having answered any.

    A bucket of `limit` that fills at `limit` a second; an answered challenge is given back.
    """

    __slots__ = ("_limit", "_max_sources", "_sources")

    def __init__(self, limit: int = CHALLENGES_PER_SECOND, max_sources: int = MAX_SOURCES) -> None:
        """Keep a bucket for at most `max_sources` addresses; the longest silent is forgotten."""
        self._limit = limit
        self._max_sources = max_sources
        self._sources: dict[str, tuple[float, float]] = {}  # host → (left, when)

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._sources)

    def spend(self, host: str, now: float) -> bool:
        """Whether one more challenge may go to an address; if so, it is counted."""
        left = self._left(host, now)
        allowed = left >= 1
        self._keep(host, left - 1 if allowed else left, now)
        return allowed

    def answered(self, host: str, now: float) -> None:
        """Give a challenge back: its nonce came home in a genuine answer."""
        if host in self._sources:
            self._keep(host, min(self._left(host, now) + 1, self._limit), now)

    def _left(self, host: str, now: float) -> float:
        left, when = self._sources.get(host, (float(self._limit), now))
        return min(left + (now - when) * self._limit, float(self._limit))

    def _keep(self, host: str, left: float, now: float) -> None:
        self._sources.pop(host, None)
        if len(self._sources) >= self._max_sources:
            del self._sources[next(iter(self._sources))]
        self._sources[host] = (left, now)
