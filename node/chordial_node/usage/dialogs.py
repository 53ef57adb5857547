"""Calls in progress: a bounded table from the 2xx of an INVITE to its BYE (sip.md 17).

It serves counting, draining and phones that keep no route set (RFC 3261 §12.1 asks for one, some
have none). Correctness never needs it: where an entry is missing, the tokens in Route still lead.
"""

from chordial_node.boundary.notices import CallEnded
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message

MOST_DIALOGS = 20_000
LONGEST_SECONDS = 4 * 3600.0
_SWEEP_SECONDS = 60.0

Key = tuple[bytes, bytes, bytes]
"""Call-ID and both tags, the smaller first: either side's request finds it."""


class Dialog:
    """One call that was answered."""

    __slots__ = (
        "callee_contact",
        "caller_contact",
        "caller_tag",
        "ends_at",
        "lifetime",
        "routes",
        "started",
    )

    def __init__(self, invite: Message, answer: Message, now: float) -> None:
        """Note a call from its INVITE as it came here and the 2xx as it passed."""
        self.started = now
        self.caller_tag = invite.from_tag
        self.routes = answer.values(b"record-route")
        """The Record-Route of the answer, the callee's side first."""
        self.caller_contact = _contact(invite)
        self.callee_contact = _contact(answer)
        self.lifetime = LONGEST_SECONDS
        self.refresh(answer, now)
        self.ends_at = now + self.lifetime

    def refresh(self, answer: Message, now: float) -> None:
        """Take Session-Expires (RFC 4028) of a 2xx, and begin its time anew."""
        seconds = (answer.first(b"session-expires") or b"").partition(b";")[0].strip()
        if seconds.isdigit() and len(seconds) < 9:
            self.lifetime = min(float(seconds) + 32.0, LONGEST_SECONDS)
        self.ends_at = now + self.lifetime

    def routes_of(self, request: Message) -> list[bytes]:
        """Return the route set that the sender of a request should have used."""
        return self.routes if request.from_tag != self.caller_tag else self.routes[::-1]

    def target_of(self, request: Message) -> bytes:
        """Return the remote target that the sender of a request should have used."""
        if request.from_tag == self.caller_tag:
            return self.callee_contact
        return self.caller_contact


class Dialogs:
    """All calls in progress through this edge."""

    __slots__ = ("_dialogs", "_kernel")

    def __init__(self, kernel: Kernel) -> None:
        """Begin with none."""
        self._kernel = kernel
        self._dialogs: dict[Key, Dialog] = {}
        kernel.after(_SWEEP_SECONDS, self._sweep)

    def __len__(self) -> int:
        return len(self._dialogs)

    def note_answer(self, invite: Message, answer: Message) -> bool:
        """Note the 2xx of an INVITE; True when it began a call."""
        key = _key(answer)
        dialog = self._dialogs.get(key)
        if dialog is not None:
            dialog.refresh(answer, self._kernel.now)
            return False
        if invite.to_tag or not answer.to_tag:
            return False
        while len(self._dialogs) >= MOST_DIALOGS:
            self._end(next(iter(self._dialogs)))
        self._dialogs[key] = Dialog(invite, answer, self._kernel.now)
        return True

    def find(self, request: Message) -> Dialog | None:
        """Return the call that a request belongs to."""
        return self._dialogs.get(_key(request)) if request.to_tag else None

    def note_bye(self, bye: Message) -> None:
        """Forget the call that a BYE ends."""
        self._end(_key(bye))

    def _end(self, key: Key) -> None:
        dialog = self._dialogs.pop(key, None)
        if dialog is not None:
            self._kernel.emit(CallEnded(seconds=self._kernel.now - dialog.started))

    def _sweep(self) -> None:
        now = self._kernel.now
        for key in [key for key, dialog in self._dialogs.items() if dialog.ends_at <= now]:
            self._end(key)
        self._kernel.after(_SWEEP_SECONDS, self._sweep)


def _key(message: Message) -> Key:
    first, second = sorted((message.from_tag, message.to_tag))
    return message.call_id, first, second


def _contact(message: Message) -> bytes:
    try:
        contacts = message.addresses(b"contact")
    except RemoteProtocolError:
        return b""
    return contacts[0].uri if contacts else b""
