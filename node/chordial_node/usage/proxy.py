"""The stateful proxy: who may send what, where it goes, and what is answered (RFC 3261 §16).

A request follows tokens of its own Call-ID, a call in progress, or, as an initial one, the
location of a user of ours; it is no relay for anything else (sip.md 3, 7, 16). How a phone is
reached stands in `delivery.py`, what becomes of branches in `fork.py`.
"""

from chordial_node.boundary.notices import CallAnswered, CallRouted
from chordial_node.config import SipConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Span, Trace
from chordial_node.overlay.errors import OverlayError
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.transactions import ServerTransaction, Transactions
from chordial_node.usage.admittance import Admittance, Caller, check_extensions
from chordial_node.usage.bindings import Bindings
from chordial_node.usage.credentials import CredentialStore, Overlay
from chordial_node.usage.delivery import Delivery
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.domains import resource_of
from chordial_node.usage.fork import Build, Fork
from chordial_node.usage.holding import Holding, is_moving
from chordial_node.usage.location import Location
from chordial_node.usage.pending import Pending
from chordial_node.usage.rewriting import MAX_BREADTH, Passage, Rewriting
from chordial_node.usage.routes import Onward, Routes
from chordial_node.usage.sides import Way


class Proxy:
    """Forwards requests, and keeps the forks that are not over."""

    def __init__(
        self,
        kernel: Kernel,
        config: SipConfig,
        overlay: Overlay,
        transactions: Transactions,
        admittance: Admittance,
        credentials: CredentialStore,
        location: Location,
        delivery: Delivery,
        routes: Routes,
        rewriting: Rewriting,
        dialogs: Dialogs,
        holding: Holding,
    ) -> None:
        """Hold the services that a request goes through."""
        self._kernel = kernel
        self._config = config
        self._overlay = overlay
        self._transactions = transactions
        self._admittance = admittance
        self._credentials = credentials
        self._location = location
        self._delivery = delivery
        self._routes = routes
        self._rewriting = rewriting
        self._dialogs = dialogs
        self._holding = holding
        self._forks: dict[ServerTransaction, Fork] = {}
        self._spans: dict[ServerTransaction, Span] = {}
        self._pending = Pending()

    @property
    def set_ups(self) -> int:
        """How many INVITEs have no final answer yet."""
        return sum(
            fork.method == b"INVITE" and not fork.is_over and upper is fork.upper
            for upper, fork in self._forks.items()
        )

    async def serve(self, transaction: ServerTransaction, span: Span) -> None:
        """Forward a request; RemoteProtocolError and OverlayError say why it is refused.

        The fork exists before anything is looked up: a CANCEL may come at any time.
        """
        request, flow = transaction.request, transaction.flow
        if not flow.is_peer:
            check_extensions(request)
        onward = self._routes.of(request, flow)
        fork = self._fork(transaction, onward)
        if span.trace is not None:
            self._spans[transaction] = span
        try:
            if onward is not None:
                await self._follow(fork, onward, transaction)
            else:
                await self._initial(fork, transaction)
        except Exception:
            self._forget(fork)
            raise

    async def acknowledge(self, flow: Flow, ack: Message) -> None:
        """Pass the ACK of a 2xx on; one that follows no call is dropped."""
        onward = self._routes.of(ack, flow)
        if onward is None or ack.max_forwards == 0:
            return
        way = await self._routes.way(onward, flow, None)
        if way is None:
            return
        branch = self._transactions.new_branch()
        self._transactions.send_stateless(
            self._rewriting.forwarded(onward.passage, way, branch, None).raw, way.flow
        )

    def cancel(self, transaction: ServerTransaction) -> None:
        """Take the CANCEL of a request that may be anywhere between here and its answer."""
        fork = self._forks.get(transaction)
        if fork is not None:
            fork.cancel(transaction)

    def on_member_dead(self, node: NodeId) -> None:
        """End what went through a peer that died."""
        for fork in list(dict.fromkeys(self._forks.values())):
            fork.on_member_dead(node)

    # along a call ---------------------------------------------------------------------------------

    async def _follow(self, fork: Fork, onward: Onward, transaction: ServerTransaction) -> None:
        request, flow = transaction.request, transaction.flow
        if request.method == b"INVITE":
            transaction.trying()
        device = onward.routed.device
        if device is not None and self._has_joined(fork, transaction, [device.device]):
            return
        way = await self._routes.way(onward, flow, transaction.trace)
        if request.method == b"BYE":
            self._dialogs.note_bye(request)
        if onward.routed.next_side is not None:
            trace = transaction.trace
            fork.on_peer_lost = lambda: self._kernel.start(self._go_past(fork, onward, trace))
        self._begin(fork, onward.passage, [[[way]]] if way is not None else [], transaction)

    async def _go_past(self, fork: Fork, onward: Onward, trace: Trace | None) -> None:
        """Reach the phone of an edge that has died unheard as if it were known to be dead."""
        try:
            found = await self._routes.way_past(onward, trace)
        except (RemoteProtocolError, OverlayError):
            found = None
        way, passage = found or (None, onward.passage)
        fork.go_past(way, self._builder(passage))

    # to a user of ours ----------------------------------------------------------------------------

    async def _initial(self, fork: Fork, transaction: ServerTransaction) -> None:
        request, flow, trace = transaction.request, transaction.flow, transaction.trace
        caller = await self._admittance.admit(request, flow, trace)
        if fork.is_cancelled:
            return
        if request.method == b"INVITE" and caller.aor:
            transaction.trying()
        resource = resource_of(caller.callee)
        levels = await self._levels(fork, transaction, caller)
        if fork.is_cancelled:
            return
        self._routes.refuse_loops(request, levels)
        if not levels and caller.aor and await self._credentials.of(resource, trace) is None:
            raise RemoteProtocolError(404, "Not Found")
        if not levels and not caller.aor:  # without a 100 it is sent once: no amplifier (sip.md 10)
            raise RemoteProtocolError(480, "Temporarily Unavailable")
        if request.method == b"INVITE":
            transaction.trying()
        widest = max((len(level) for level in levels), default=1)
        breadth = _breadth_of(request)
        if breadth < widest:
            raise RemoteProtocolError(440, "Max-Breadth Exceeded")
        passage = Passage(
            request,
            flow,
            pops=caller.pops,
            side=self._routes.caller_side(request, flow, caller.aor),
            aor=caller.aor,
            is_stranger=not caller.aor,
            breadth=breadth // widest,
        )
        if self._has_joined(fork, transaction, _here(levels)):
            return
        if request.method == b"INVITE":
            self._kernel.emit(CallRouted(branches=sum(map(len, levels))))
        self._begin(fork, passage, levels, transaction)

    async def _levels(
        self, fork: Fork, transaction: ServerTransaction, caller: Caller
    ) -> list[list[list[Way]]]:
        """The ways to a user of ours; a phone whose edge ends is waited for (sip.md 6).

        There is none to a disabled user: 480 (RFC 3261 §21.4.18), as for one who is away.
        """
        resource = resource_of(caller.callee)
        request = transaction.request
        found = await self._location.find_with_credentials(resource, transaction.trace)
        callee = await self._credentials.of(resource, transaction.trace)
        if callee is not None and callee.is_disabled:
            return []

        def levels(found: Bindings, *, with_moving: bool = False) -> list[list[list[Way]]]:
            return self._delivery.levels(
                resource,
                found,
                only_tls=request.target[:5].lower() == b"sips:",
                not_to=transaction.flow if caller.aor == caller.callee else None,
                with_moving=with_moving,
            )

        is_invite = request.method == b"INVITE"
        ways = levels(found)
        may_wait = bool(caller.aor) or is_invite
        if ways or not may_wait or not is_moving(found) or fork.is_cancelled:
            return ways
        if is_invite:
            transaction.trying()

        def is_over(found: Bindings) -> bool:
            return fork.is_cancelled or bool(levels(found)) or not is_moving(found)

        found = await self._holding.wait(resource, found, is_over, transaction.trace)
        return levels(found) or levels(found, with_moving=True)

    # forks ----------------------------------------------------------------------------------------

    def _begin(
        self,
        fork: Fork,
        passage: Passage,
        levels: list[list[list[Way]]],
        transaction: ServerTransaction,
    ) -> None:
        if transaction.method in (b"INVITE", b"UPDATE"):
            fork.on_answer = lambda response: self._on_answer(fork, response)
        fork.begin(levels, self._builder(passage))

    def _builder(self, passage: Passage) -> Build:
        def build(way: Way, trace: Trace | None) -> Outgoing:
            branch = self._transactions.new_branch()
            return self._rewriting.forwarded(passage, way, branch, trace)

        return build

    def _fork(self, transaction: ServerTransaction, onward: Onward | None) -> Fork:
        request, flow = transaction.request, transaction.flow
        if flow.is_peer:
            nothing_left = 430
        elif onward is not None or request.to_tag:
            nothing_left = 408
        else:
            nothing_left = 480
        fork = Fork(
            self._kernel,
            self._transactions,
            transaction,
            self._forget,
            self._config.ring_timeout_seconds,
            nothing_left,
        )
        fork.on_silence = lambda node: self._overlay.doubt(node, "no answer over SIP")
        self._forks[transaction] = fork
        return fork

    def _has_joined(self, fork: Fork, transaction: ServerTransaction, devices: list[bytes]) -> bool:
        """Tell whether a phone of ours rings for this INVITE already: then its answers are ours."""
        for device in devices:
            pending = self._pending.claim(transaction.request, device, fork)
            if pending is not None:
                self._pending.release(fork)
                self._forks[transaction] = pending
                pending.attach(transaction)
                return True
        return False

    def _forget(self, fork: Fork) -> None:
        for upper in fork.copies:
            self._forks.pop(upper, None)
            if (span := self._spans.pop(upper, None)) is not None and upper.is_final:
                span.end(self._kernel.now, sip_response_status__code=upper.status)
        self._pending.release(fork)

    def _on_answer(self, fork: Fork, response: Message) -> None:
        upper = fork.upper
        began = self._dialogs.note_answer(upper.request, response)
        if began and not upper.flow.is_peer:
            self._kernel.emit(CallAnswered(seconds=self._kernel.now - fork.started))


def _here(levels: list[list[list[Way]]]) -> list[bytes]:
    """The devices that this edge reaches itself."""
    ways = [way for level in levels for group in level for way in group]
    return [way.side.device for way in ways if way.side is not None]


def _breadth_of(request: Message) -> int:
    value = request.first(b"max-breadth") or b""
    return min(int(value), MAX_BREADTH) if value.isdigit() and len(value) < 6 else MAX_BREADTH
