"""The response context of a forwarded request: branches, the best answer, CANCEL (RFC 3261 §16.7).

A machine: it exists before the location is known, and anything may come at any time. Groups of one
level are tried at the same time, the ways of one group (one device) one after the other, levels by
q (RFC 3261 §16.6, RFC 5626 §7). How a way is found and what is written to it is not decided here.
"""

from collections.abc import Callable

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Span, Trace
from chordial_node.sip.forward import Forward
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import ServerTransaction, Transactions
from chordial_node.usage.branch import NO_WAY, REQUEST_TIMEOUT, Branch
from chordial_node.usage.rewriting import IDENTITIES
from chordial_node.usage.sides import Way

Group = list[Way]
"""The ways to one device, the best first."""
Build = Callable[[Way, Trace | None], Outgoing]
"""Makes the request that leaves on a way, below a span."""

ATTACH_SECONDS = 8.0
"""How long branches ring on when the peer upstream has died and nobody took its place."""
MOST_COPIES = 8
"""How often the same request may come through other peers: more than that is a loop."""
_CHALLENGES = {401: b"www-authenticate", 407: b"proxy-authenticate"}
_NOT_FORWARDED = (*IDENTITIES, b"traceparent", b"tracestate")
"""A phone's word only, in responses: no peer of ours writes them there (sip.md 16)."""
_PREFERRED = (401, 407, 415, 420, 484)


class Fork:
    """One forwarded request: from the transaction it came in by to those it went out by."""

    def __init__(
        self,
        kernel: Kernel,
        transactions: Transactions,
        upper: ServerTransaction,
        on_done: Callable[["Fork"], None],
        ring_timeout: float,
        nothing_left: int,
    ) -> None:
        """Begin without branches; `nothing_left` is the answer when no way leads on."""
        self.kernel = kernel
        self.transactions = transactions
        self.ring_timeout = ring_timeout
        self.upper = upper
        """Where the request came from first; its copies through other peers join it."""
        self.method = upper.request.method
        self.is_over = False
        """A final answer has been sent to all; a later 2xx is forwarded all the same."""
        self.on_answer: Callable[[Message], None] = lambda response: None
        self.on_silence: Callable[[NodeId], None] = lambda node: None
        self.on_peer_lost: Callable[[], None] | None = None
        """Finds a way past a peer that has nothing of the request; ends in `go_past`, once."""
        self.started = kernel.now
        self.uppers = [upper]
        """All who still want an answer."""
        self.copies = [upper]
        """All who ever did."""
        self._on_done = on_done
        self._nothing_left = nothing_left
        self._levels: list[list[Group]] = []
        self._build: Build | None = None
        self._branches: list[Branch] = []
        self._best: Message | int = NO_WAY
        self._challenges: list[Message] = []
        self._last_provisional: Message | None = None
        self._is_cancelled = False
        self._has_answer = False
        self._is_declined = False

    @property
    def is_cancelled(self) -> bool:
        """Tell whether nobody wants an answer any more."""
        return self._is_cancelled or self.is_over

    # down ---------------------------------------------------------------------------------------

    def begin(self, levels: list[list[Group]], build: Build) -> None:
        """Send the request on the ways of the first level, or answer when there is none."""
        if self.is_cancelled:
            return
        self._levels = levels
        self._build = build
        self._go_on()

    def attach(self, upper: ServerTransaction) -> None:
        """Join a copy of the request that came through another peer (sip.md 9)."""
        self.uppers.append(upper)
        self.copies.append(upper)
        if self._last_provisional is not None:
            self._tell(upper, self._last_provisional)

    def answer(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer all that asked with a response of our own; branches are cancelled."""
        if self.is_over:
            return
        for upper in self.uppers:
            if not upper.is_final:
                upper.respond(_own(upper, status, headers), status)
        self._end()

    def cancel(self, upper: ServerTransaction) -> None:
        """Take a CANCEL: nothing sent, no 1xx yet, ringing, or crossing a 2xx (§9.1, §16.10)."""
        if upper.is_final or upper not in self.uppers:
            return
        self._dismiss([upper])

    def withdraw(self) -> None:
        """Give the phones up to a later INVITE of the same call (sip.md 9)."""
        if not self.is_over:
            self._cancel_all()

    def on_member_dead(self, node: NodeId) -> None:
        """End the branches through a dead peer but those that ring: they may still be answered.

        Its 100 says nothing of the phone: such a branch would wait for timer C.
        """
        for branch in list(self._branches):
            stays = branch.is_ringing and self.method == b"INVITE"
            if branch.node == node and not branch.is_over and not stays:
                branch.give_up("the peer died")
        if any(each.flow.node == node and not each.is_final for each in self.uppers):
            self.kernel.after(ATTACH_SECONDS, lambda: self._forget_peer(node))

    def _forget_peer(self, node: NodeId) -> None:
        self._dismiss([each for each in self.uppers if each.flow.node == node])

    def _dismiss(self, gone: list[ServerTransaction]) -> None:
        """Answer those who want no answer; when nobody else wants one, all is cancelled."""
        waiting = [each for each in gone if not each.is_final]
        if self.is_over or not waiting:
            return
        others = [each for each in self.uppers if each not in gone and not each.is_final]
        if not others:
            self._cancel_all()
            return
        self.uppers = others
        for upper in waiting:
            upper.respond(_own(upper, 487), 487)

    def _cancel_all(self) -> None:
        self._is_cancelled = True
        self._levels = []
        for branch in self._branches:
            branch.cancel()
        self._go_on()

    def go_past(self, way: Way | None, build: Build) -> None:
        """Send the request past a peer that did not answer, or go on without it."""
        if way is not None and not self.is_cancelled:
            self._build = build
            self._open([way])
        else:
            self._go_on()

    # up: called by branches ---------------------------------------------------------------------

    def on_provisional(self, response: Message) -> None:
        """Forward a 1xx other than 100."""
        if self.is_over:
            return
        self._last_provisional = response
        for upper in self.uppers:
            self._tell(upper, response)

    def on_success(self, response: Message) -> None:
        """Forward a 2xx, each one of an INVITE (RFC 6026), and cancel what else rings."""
        if not self._has_answer:
            self._has_answer = True
            self.on_answer(response)
        elif self.method != b"INVITE":
            return
        for upper in self.uppers:
            self._tell(upper, response)
        for branch in self._branches:
            branch.cancel()
        self._end()

    def on_refusal(self, branch: Branch, response: Message) -> None:
        """Note a final answer other than 2xx; a 6xx ends the search, a 430 tries the next way."""
        status = response.status
        if branch.node is not None and status in (430, 503):
            self.on_no_answer(branch, NO_WAY)  # never reaches a phone: the next way, else 480
            return
        if status in (408, 430) and self._try_next(branch.group):
            return
        if status >= 600:
            self._is_declined = True
            self._levels = []
            for other in self._branches:
                other.cancel()
        if status in _CHALLENGES:
            self._challenges.append(response)
        better: Message | int = response
        if status in (430, 503):
            better = 500 if status == 503 else self._nothing_left
        if _rank(better) < _rank(self._best):
            self._best = better
        self._go_on()

    def on_no_answer(self, branch: Branch, status: int) -> None:
        """Note that a way led nowhere, and try the device's next one."""
        if self._try_next(branch.group):
            return
        if branch.node is not None and not branch.has_provisional and self.on_peer_lost is not None:
            find_another, self.on_peer_lost = self.on_peer_lost, None
            find_another()
            return
        if status != NO_WAY and _rank(status)[0] < _rank(self._best)[0]:
            self._best = status
        self._go_on()

    # the search ---------------------------------------------------------------------------------

    def _try_next(self, group: Group) -> bool:
        if self.is_cancelled or self._has_answer or self._is_declined or not group:
            return False
        self._open(group)
        return True

    def _open(self, group: Group) -> None:
        assert self._build is not None
        way = group.pop(0)
        span = self._span(way)
        branch = Branch(self, way, group, span)
        self._branches.append(branch)
        branch.open(self._build(way, span.trace))

    def _span(self, way: Way) -> Span:
        name = "SIP " + self.method.decode("latin-1")
        return self.kernel.span(name, self.upper.trace, "client")

    def _go_on(self) -> None:
        """Open the next level when this one has ended, or answer when there is none."""
        if self.is_over or self._has_answer:
            return
        while not any(not branch.is_over for branch in self._branches):
            if not self._levels:
                self._answer_best()
                return
            for group in self._levels.pop(0):
                if group:
                    self._open(group)

    def _answer_best(self) -> None:
        best = self._best
        if self._is_cancelled and not self._is_declined:
            self.answer(487)
        elif best == REQUEST_TIMEOUT and self.method != b"INVITE":
            for upper in self.uppers:
                upper.give_up()  # a 408 that late helps nobody (RFC 4320 §4.2)
            self._end()
        elif isinstance(best, int):
            self.answer(best if best != NO_WAY else self._nothing_left)
        else:
            for upper in self.uppers:
                self._tell(upper, best)
            self._end()

    def _tell(self, upper: ServerTransaction, response: Message) -> None:
        """Pass a response up by the Vias of the request it answers (§16.7 step 3)."""
        status = response.status
        if upper.is_final and not (self.method == b"INVITE" and 200 <= status < 300):
            return
        forward = Forward(response)
        if upper is self.upper:
            forward.pop_via()
        else:
            forward.remove(b"via")
            for value in reversed(_vias(upper.request)):
                forward.push_via(value)
        for name in _NOT_FORWARDED:
            if name in response:
                forward.remove(name)
        if status in _CHALLENGES:
            self._join_challenges(forward, response)
        if upper.is_final and upper.status >= 300:  # a 2xx that comes late goes past it (step 5)
            way = self.transactions.reply_flow(upper.flow, upper.request)
            self.transactions.send_stateless(forward.to_bytes(), way)
            return
        upper.respond(forward.to_bytes(), status)

    def _join_challenges(self, forward: Forward, best: Message) -> None:
        for other in self._challenges:
            for name, header in ((401, b"WWW-Authenticate"), (407, b"Proxy-Authenticate")):
                if other is not best:
                    for value in other.lines(_CHALLENGES[name]):
                        forward.add(header, value)

    def _end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._levels = []
            for branch in self._branches:
                branch.cancel()
            self._on_done(self)


def _own(
    upper: ServerTransaction, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    return respond(upper.request, status, to_tag=upper.to_tag, headers=headers)


def _rank(response: Message | int) -> tuple[int, int]:
    """The order of §16.7 step 6: 6xx, then the lowest class, in 4xx what helps the caller."""
    status = response if isinstance(response, int) else response.status
    if status >= 600 and status != NO_WAY:
        return (0, status)
    return (status // 100, 0 if status in _PREFERRED else status)


def _vias(request: Message) -> list[bytes]:
    values = request.values(b"via")
    if request.marked_via is not None:
        values[0] = request.marked_via[2]
    return values
