"""The transaction user: a request's method chooses the service, an exception the status, once.

RFC 3261 §8.2 and §16. It builds the services of this peer's SIP side and joins them; what a service
does stands in its own module. Refusals of the unauthenticated are sent once and forgotten.
"""

from collections.abc import Sequence

from chordial_node.boundary.control import Drain as DrainQuestion
from chordial_node.boundary.control import Question
from chordial_node.boundary.effects import Answered
from chordial_node.boundary.events import FaultFound, StopAsked
from chordial_node.boundary.notices import RequestRefused
from chordial_node.config import ListenerConfig, NodeConfig
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Span, parse_traceparent
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.peer import Peer
from chordial_node.security.derived_keys import KeyRing
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import ServerTransaction, Transactions
from chordial_node.usage.admittance import Admittance
from chordial_node.usage.authentication import Authentication
from chordial_node.usage.contacts import check_required
from chordial_node.usage.credentials import CredentialStore
from chordial_node.usage.delivery import Delivery
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.domains import Domains, Whose
from chordial_node.usage.drain import Drain
from chordial_node.usage.forced_traces import ForcedTraces
from chordial_node.usage.holding import Holding
from chordial_node.usage.location import Location
from chordial_node.usage.moving import Moving
from chordial_node.usage.proxy import Proxy
from chordial_node.usage.questions import Questions
from chordial_node.usage.registrar import Registrar
from chordial_node.usage.rewriting import Rewriting
from chordial_node.usage.routes import Routes
from chordial_node.usage.self_check import SelfCheck
from chordial_node.usage.sides import Sides
from chordial_node.usage.strays import Strays

ALLOW = b"INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, UPDATE, INFO, PRACK, REFER, NOTIFY"
_CHALLENGES = (401, 407)


class Server:
    """The SIP side of one peer, and its answers to the control service."""

    def __init__(
        self,
        kernel: Kernel,
        config: NodeConfig,
        peer: Peer,
        keys: KeyRing,
        flows: Flows,
        transactions: Transactions,
    ) -> None:
        """Build the services, lowest first."""
        self._kernel = kernel
        self._peer = peer
        self._transactions = transactions
        own, sip = peer.node_id, config.sip

        def boot() -> int:
            return peer.ring.boot

        self._domains = domains = Domains(sip)
        credentials = CredentialStore(kernel, peer, keys)
        self._location = location = Location(kernel, peer, own, credentials)
        self._dialogs = dialogs = Dialogs(kernel)
        self._sides = sides = Sides(own, sip.listeners, keys, peer, domains)
        holding = Holding(kernel, location)
        delivery = Delivery(own, boot, sip.listeners, peer, flows, location, sides, holding)
        authentication = Authentication(kernel, sip, own, keys, boot, domains, credentials)
        rewriting = Rewriting(flows, sides, authentication)
        routes = Routes(domains, dialogs, sides, location, delivery)
        self._registrar = Registrar(
            kernel, sip, own, boot, flows, domains, credentials, authentication, location, delivery
        )
        self._proxy = Proxy(
            kernel,
            sip,
            peer,
            transactions,
            Admittance(kernel, sip, domains, authentication),
            credentials,
            location,
            delivery,
            routes,
            rewriting,
            dialogs,
            holding,
        )
        self._strays = Strays(own, sip.listeners, peer, flows, transactions, sides)
        self._forced_traces = ForcedTraces(kernel)
        self._questions = Questions(
            kernel,
            peer,
            keys,
            domains,
            credentials,
            location,
            self._forced_traces,
            config.overlay.max_value_bytes,
        )
        self._edge_fault = ""
        self._self_check = SelfCheck(kernel, peer, own, self._local_fault)
        self._moving = Moving(kernel, own, location, delivery, sip.short_expires_seconds)
        self._drain = Drain(
            kernel, self._dialogs.__len__, lambda: self._proxy.set_ups, peer, self._moving, flows,
            config.overlay.drain_timeout_seconds,
        )  # fmt: skip
        self._drain.last_step = self._self_check.end
        self._registrar.is_draining = lambda: self._drain.is_draining
        peer.on_member_dead.append(self._proxy.on_member_dead)
        transactions.user = self

    # what core.py asks and tells ------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Where in its life this peer is: starting, joining, forming, ready, draining, stopped."""
        if self._drain.has_stopped:
            return "stopped"
        if self._drain.is_draining:
            return "draining"
        if self._self_check.is_ready:
            return "ready"
        state = self._peer.ring.state
        return state if state in ("starting", "forming") else "joining"

    @property
    def is_ready(self) -> bool:
        """Tell whether this peer may be sent phones."""
        return self._self_check.is_ready

    @property
    def ready_reason(self) -> str:
        """Why it may, or may not."""
        return self._self_check.reason

    @property
    def registrations(self) -> int:
        """How many bindings this edge has accepted and answers for."""
        return self._location.count

    @property
    def calls(self) -> int:
        """How many calls go through this edge."""
        return len(self._dialogs)

    @property
    def phones_waiting(self) -> int:
        """How many phones that only this edge reaches are registered for more than a drain's."""
        return self._moving.waiting

    def start(self) -> None:
        """Begin to look whether this peer may be sent phones."""
        self._self_check.start(self._is_in_ring)

    def advertise(self, listeners: Sequence[ListenerConfig]) -> None:
        """Tell phones other addresses of our listeners from now on."""
        self._domains.advertise(listeners)
        self._sides.advertise(listeners)

    def on_fault_found(self, event: FaultFound) -> None:
        """Note what the edge found when it tried its own listeners."""
        self._edge_fault = event.reason

    def on_stop_asked(self, event: StopAsked) -> None:
        """End the process, with a leave or without."""
        self._drain.stop(leave=event.leave, restart=event.restart)

    def on_asked(self, call: int, question: Question) -> None:
        """Answer a question of the control service."""
        if isinstance(question, DrainQuestion):
            self._drain.ask(call, restart=question.restart)
        else:
            self._kernel.start(self._answer(call, question))

    async def _answer(self, call: int, question: Question) -> None:
        answer = await self._questions.answer(question)
        self._kernel.emit(Answered(call=call, answer=answer))

    def _is_in_ring(self) -> bool:
        return self._peer.ring.state == "joined" and self._peer.storage.in_step

    def _local_fault(self) -> str:
        return "the disk refuses writes" if self._peer.journal.is_failing else self._edge_fault

    # what the transaction layer tells -------------------------------------------------------------

    def on_request(self, transaction: ServerTransaction) -> None:
        """Take a new request: a peer gets its 100 before anything is looked at."""
        if transaction.flow.is_peer:
            transaction.trying()
        span = self._span(transaction)
        transaction.trace = span.trace
        self._kernel.start(self._serve(transaction, span))

    def on_ack(self, flow: Flow, ack: Message) -> None:
        """Take the ACK of a 2xx."""
        self._kernel.start(self._acknowledge(flow, ack))

    def on_cancel(self, transaction: ServerTransaction) -> None:
        """Take the CANCEL of a pending INVITE."""
        self._proxy.cancel(transaction)

    def on_stray_response(self, flow: Flow, response: Message) -> None:
        """Take a response that nobody here waits for."""
        self._strays.take(flow, response)

    def _span(self, transaction: ServerTransaction) -> Span:
        """The server span: a new trace at the first edge, below the other edge's at the second."""
        name = "SIP " + transaction.method.decode("latin-1")
        if not transaction.flow.is_peer:
            forced = self._forced_traces.of(transaction.request)
            return self._kernel.root_span(name, "server", forced)
        parent = parse_traceparent(transaction.request.first(b"traceparent") or b"")
        return self._kernel.span(name, parent, "server")

    async def _serve(self, transaction: ServerTransaction, span: Span) -> None:
        try:
            await self._dispatch(transaction, span)
        except RemoteProtocolError as error:
            self._refuse(transaction, span, error)
        except OverlayError as error:
            self._refuse(
                transaction,
                span,
                RemoteProtocolError(500, f"Overlay: {error.code.name.lower()}", _later(error)),
            )
        except Exception:  # a fault of our own: the sender is told, the procedure ends
            self._refuse(transaction, span, RemoteProtocolError(500, "Server Internal Error"))
            raise

    async def _dispatch(self, transaction: ServerTransaction, span: Span) -> None:
        request = transaction.request
        if self._transactions.is_full:
            status = 503 if request.method == b"REGISTER" else 500
            raise RemoteProtocolError(status, "Too Many Requests", ((b"Retry-After", b"5"),))
        is_options = request.method == b"OPTIONS" and not transaction.flow.is_peer
        is_last = request.max_forwards == 0
        if is_options and (is_last or self._domains.whose(request.uri) is Whose.OURSELVES):
            check_required(request)
            headers = ((b"Allow", ALLOW), (b"Accept", b"*/*"), (b"Supported", b"path, outbound"))
            answer = respond(request, 200, to_tag=transaction.to_tag, headers=headers)
            transaction.refuse(answer, 200)
            span.end(self._kernel.now, sip_response_status__code=200)
        elif request.method == b"REGISTER" and not transaction.flow.is_peer:
            await self._registrar.serve(transaction)
            span.end(self._kernel.now, sip_response_status__code=transaction.status)
        elif is_last:
            raise RemoteProtocolError(483, "Too Many Hops")
        else:
            await self._proxy.serve(transaction, span)

    async def _acknowledge(self, flow: Flow, ack: Message) -> None:
        try:
            await self._proxy.acknowledge(flow, ack)
        except (RemoteProtocolError, OverlayError):
            self._kernel.counters.sip_refused += 1  # an ACK is never answered

    def _refuse(
        self, transaction: ServerTransaction, span: Span, error: RemoteProtocolError
    ) -> None:
        request, status = transaction.request, error.status
        if transaction.is_final:
            return
        if status is None:
            transaction.give_up()
            span.end(self._kernel.now, error=error.reason)
            return
        answer = respond(
            request, status, error.reason, to_tag=transaction.to_tag, headers=error.headers
        )
        is_sent_once = status in _CHALLENGES or request.method != b"REGISTER"
        if is_sent_once and transaction.status == 0:
            transaction.refuse(answer, status)
        else:
            transaction.respond(answer, status)
        span.end(self._kernel.now, sip_response_status__code=status)
        if status not in _CHALLENGES:
            self._note_refusal(transaction, status, error.reason)

    def _note_refusal(self, transaction: ServerTransaction, status: int, reason: str) -> None:
        counters = self._kernel.counters
        counters.sip_refused += 1
        if transaction.method == b"REGISTER":
            counters.registrations_refused += 1
        self._kernel.emit(
            RequestRefused(
                method=transaction.method.decode("latin-1"),
                status=status,
                reason=reason,
                source=repr(transaction.flow),
            )
        )


def _later(error: OverlayError) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"Retry-After", b"%d" % max(1, int(error.retry_after + 0.999))),)
