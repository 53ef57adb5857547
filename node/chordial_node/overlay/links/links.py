"""All links of this peer: one stream for each pair of peers, dialed by either and used both ways.

protocol.md §3, in place of RFC 6940 §6.6. A Hello is first on each link, from both ends. Of two
crossing dials the one of the lower Node-ID gives way: what waits moves to the other link, and the
old one is still read for a moment. A budget of links; queues with bounds; a write that hangs ends
the link. Evidence about links (`Table.avoid`) is made here. What an envelope means does not
belong here.
"""

from typing import Protocol

from chordial_node.boundary.effects import CloseLink, OpenLink
from chordial_node.boundary.events import (
    Address,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
)
from chordial_node.boundary.notices import LinkDown, LinkUp, PeerRefused
from chordial_node.config import OverlayConfig
from chordial_node.ids import WILDCARD, NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Attribute, Span
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.links.book import LinkBook
from chordial_node.overlay.links.greeting import control_envelope, objection_to
from chordial_node.overlay.links.link import FIRST_LINK_CODE, Link, LinkState, RoundTrip, Watched
from chordial_node.overlay.links.writer import HELLO_SECONDS, RETIRE_SECONDS, LinkWriter
from chordial_node.overlay.messages import (
    ERROR,
    DigestDiff,
    Envelope,
    Goodbye,
    Hello,
    LinkMessage,
    decode_body,
    decode_frame,
)
from chordial_node.overlay.table import Table

CROSSING_SECONDS = 5.0
"""Two dials can only have crossed if one link was up for less than this when the other came."""
AVOID_SECONDS = 10.0
"""A peer that could not be dialed is routed around for so long, unless it dials us."""
IDLE_SECONDS = 30.0
"""At the budget a link gives way to another destination when it was unused for so long."""
REDIAL_SECONDS = 1.0
"""A peer that hung up before its Hello is not dialed again for so long."""
ROOM_TO_DIAL = 8
"""Twice the budget is the end; an eighth of that is kept for dials of our own."""
MOST_SEED_DIALS = 64
MOST_ADDRESSES = 256


class LinkUser(Protocol):
    """What links need of the peer that has them."""

    def hello(self) -> Hello:
        """Return what a new link starts with."""
        ...

    def is_needed(self, node: NodeId) -> bool:
        """Tell whether a link is kept whatever the budget: ring neighbors, replica sets."""
        ...

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        """Take what a neighbor sent."""
        ...

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """Learn that a neighbor is linked, and what it said first."""
        ...

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        """Learn that a link ended or could not be opened; refused: nobody listens there."""
        ...


class Links:
    """Dials, accepts, queues, measures and ends links."""

    user: LinkUser

    def __init__(self, kernel: Kernel, config: OverlayConfig, own: NodeId, table: Table) -> None:
        self._kernel = kernel
        self._config = config
        self._own = own
        self._table = table
        self._book = LinkBook()
        self._broken: dict[NodeId, float] = {}
        self._addresses: dict[NodeId, Address] = {}
        self._last_number = 0
        self._full_until = 0.0
        self._writer = LinkWriter(kernel, self._on_late)

    # sending

    def send(self, node: NodeId, envelope: Envelope) -> bool:
        """Queue an envelope for a neighbor, dialing if there is no link; False: no room."""
        link = self._book.by_node.get(node) or self._dial_node(node)
        if link is None or not link.push(envelope, self._config.link_queue):
            return False
        now = self._kernel.now
        link.used_at = now
        if link.is_writing or link.state is not LinkState.UP:
            if not link.has_backlog:
                link.has_backlog, link.backlog_since = True, now
        else:
            self._book.touched[link.number] = link
        return True

    def send_control(self, node: NodeId, message: LinkMessage) -> bool:
        """Queue a link message in front of everything else; False when no link is up."""
        link = self._book.up(node)
        if link is None or not link.push_control(control_envelope(self._own, message)):
            return False
        if not link.is_writing:
            self._book.touched[link.number] = link
        return True

    def reserve(self, node: NodeId) -> bool:
        """Keep room on a neighbor's link for the answer to a request it sent."""
        link = self._book.by_node.get(node)
        return link is None or link.reserve(self._kernel.now, self._config.link_queue)

    def watch(self, node: NodeId, span: Span, attributes: dict[str, Attribute]) -> None:
        """End a span when the envelope that carries its id is written, or cannot be."""
        link = self._book.by_node.get(node)
        if link is not None and span.trace is not None:
            link.watched[span.trace.span_id] = Watched(span, self._kernel.now, attributes)

    def flush(self) -> None:
        """Write one frame on each link that has something to say and may."""
        touched = self._book.touched
        if not touched:
            return
        self._book.touched = {}
        for link in touched.values():
            if link.state is LinkState.UP and not link.is_writing and link.waiting:
                self._writer.write(link, link.next_frame())

    # opening and ending

    def ensure(self, node: NodeId) -> None:
        """Dial a peer unless there is a link, or a dial is pending already."""
        if node != self._own and node not in self._book.by_node:
            self._dial_node(node)

    def dial(self, address: Address) -> None:
        """Dial a seed, whoever it is; its Hello tells."""
        is_known = any(link.leads_to(address) for link in self._book.by_number.values())
        if not is_known and self._book.seeds() < MOST_SEED_DIALS:
            self._open(WILDCARD, address)

    def may_link(self, node: NodeId) -> bool:
        """Tell whether the budget allows a link to a peer, an idle one giving way."""
        if node in self._book.by_node or len(self._book.by_node) < self._config.max_links:
            return True
        if self.user.is_needed(node):
            return True
        now = self._kernel.now
        if now < self._full_until:
            return False
        if self._book.least_used(now - IDLE_SECONDS, self.user.is_needed) is None:
            self._full_until = now + 1.0
            return False
        return True

    def close(self, node: NodeId, reason: str) -> None:
        """End the link to a peer, if there is one."""
        link = self._book.by_node.get(node)
        if link is not None:
            self._end(link, reason)

    # what others want to know

    def is_up(self, node: NodeId) -> bool:
        """Tell whether a peer is linked and has said Hello."""
        return self._book.up(node) is not None

    def up(self) -> list[NodeId]:
        """Return all linked peers, sorted."""
        return self._book.all_up()

    def last_heard(self, node: NodeId) -> float | None:
        """Return when the last frame came from a linked peer; None without a link."""
        link = self._book.up(node)
        return link.last_heard if link is not None else None

    def round_trip(self, node: NodeId) -> RoundTrip:
        """Return the smoothed round trip of a link, a cautious guess when there is none."""
        link = self._book.by_node.get(node)
        return link.round_trip if link is not None else RoundTrip()

    def measured(self, node: NodeId, seconds: float) -> None:
        """Take one measurement of a link's round trip in."""
        link = self._book.by_node.get(node)
        if link is not None:
            link.round_trip.measured(seconds)

    def queued_seconds(self, node: NodeId) -> float:
        """Return how long what waits on a link has been waiting."""
        link = self._book.by_node.get(node)
        if link is None or not link.has_backlog:
            return 0.0
        return self._kernel.now - link.backlog_since

    # events

    def on_opened(self, event: LinkOpened) -> None:
        """Greet the other side of a link that was dialed or accepted."""
        link = self._book.by_number.get(event.link)
        node = event.node
        if link is None:
            if event.link % 2 == 0 or not self._admits(node):
                self._kernel.emit(CloseLink(link=event.link))
                return
            link = self._book.by_number[event.link] = Link(event.link, node, event.remote, False)
        is_seed = link.node == WILDCARD
        link.node = node
        if node == self._own or (is_seed and self.is_up(node)):
            self._forget(link)  # a seed that is ourselves, or was linked before
            self._kernel.emit(CloseLink(link=link.number))
            return
        self._book.by_node.setdefault(node, link)
        link.state = LinkState.OPEN
        link.last_heard = link.used_at = self._kernel.now
        self._writer.arm(link, HELLO_SECONDS)
        self._writer.write(link, [control_envelope(self._own, self.user.hello())])

    def on_failed(self, event: LinkFailed) -> None:
        """Give back what waited for a dial that failed."""
        link = self._book.by_number.get(event.link)
        if link is None:
            return
        if event.failure is LinkFailure.IDENTITY:
            self._refused(link.node if link.node != WILDCARD else None, event.reason)
        if link.node != WILDCARD and self._book.is_alone(link):
            self._table.add_avoid(link.node, self._kernel.now + AVOID_SECONDS)
        self._lost(link, event.reason, event.failure is LinkFailure.REFUSED)

    def on_lost(self, event: LinkLost) -> None:
        """Give back what waited for a link that has ended."""
        link = self._book.by_number.get(event.link)
        if link is not None:
            self._lost(link, event.reason)

    def on_received(self, event: FrameReceived) -> None:
        """Hand on the envelopes of a frame; the first of a link must be its Hello."""
        link = self._book.by_number.get(event.link)
        if link is None:
            return
        now = self._kernel.now
        link.last_heard = now
        self._kernel.counters.frames_received += 1
        try:
            envelopes = decode_frame(event.data)
        except OverlayError as error:
            self._refuse(link, error.info)
            return
        for envelope in envelopes:
            if link.hello is None:
                self._on_hello(link, envelope)
            elif envelope.method == Goodbye.CODE:
                self._on_goodbye(link)
            elif envelope.method != Hello.CODE:
                if not FIRST_LINK_CODE <= envelope.method < ERROR:
                    link.used_at = now
                self.user.on_envelope(link.node, envelope)
            if link.number not in self._book.by_number:
                return

    def on_written(self, event: FrameWritten) -> None:
        """Let the next frame go."""
        link = self._book.by_number.get(event.link)
        if link is None:
            return
        self._writer.on_written(link)
        link.has_backlog = False
        if link.waiting:
            link.has_backlog, link.backlog_since = True, self._kernel.now
            self._book.touched[link.number] = link

    # one link

    def _dial_node(self, node: NodeId) -> Link | None:
        record = self._table.get(node)
        address = record.overlay_address if record else self._addresses.get(node)
        broken = self._broken.get(node, -REDIAL_SECONDS)
        if address is None or node == self._own or broken > self._kernel.now - REDIAL_SECONDS:
            return None
        link = self._open(node, address)
        if link is not None:
            self._book.by_node[node] = link
        return link

    def _open(self, node: NodeId, address: Address) -> Link | None:
        if len(self._book.by_number) >= 2 * self._config.max_links:
            return None
        self._last_number += 2
        link = self._book.by_number[self._last_number] = Link(
            self._last_number, node, address, True
        )
        link.used_at = self._kernel.now
        self._kernel.emit(OpenLink(link=link.number, node=node, address=address))
        return link

    def _admits(self, node: NodeId) -> bool:
        most = 2 * self._config.max_links
        if len(self._book.by_number) < most - most // ROOM_TO_DIAL:
            return True
        self._refused(node, "there are too many links")
        return False

    def _on_hello(self, link: Link, envelope: Envelope) -> None:
        try:
            hello = decode_body(envelope.method, envelope.body)
        except OverlayError as error:
            self._refuse(link, error.info)
            return
        if not isinstance(hello, Hello):
            self._refuse(link, "the first message on a link must be a Hello")
            return
        objection = objection_to(hello, link.node, self._config.name, self._table)
        if objection:
            self._tell_later_life(link, hello)
            self._refuse(link, objection)
            return
        link.hello = hello
        link.state = LinkState.UP
        link.up_since = link.used_at = self._kernel.now
        self._writer.on_up(link)
        current = self._book.by_node.get(link.node)
        if current is not None and current is not link:
            self._tell_end(current, hello)
            self._settle(current, link, hello)
        else:
            self._book.by_node[link.node] = link
            self._tell_up(link, hello)

    def _tell_later_life(self, link: Link, hello: Hello) -> None:
        """Let an earlier life know of the later one, so that it ends itself (protocol.md §1)."""
        known = self._table.get(link.node)
        if known is None or known.incarnation <= hello.member.incarnation or link.is_writing:
            return
        news = DigestDiff(buckets=(), records=(known,))
        self._writer.write(link, [control_envelope(self._own, news)])

    def _tell_end(self, current: Link, hello: Hello) -> None:
        """Let the life at the end of a link know of a later one that comes, before it hears worse.

        It would refute that it is dead, and could raise its life to just that of the other.
        """
        known = self._table.get(current.node)
        if current.state is LinkState.UP and known and hello.member.incarnation > known.incarnation:
            self.send_control(current.node, DigestDiff(buckets=(), records=(hello.member,)))

    def _settle(self, current: Link, rival: Link, hello: Hello) -> None:
        """Let one of two links to the same peer carry everything."""
        node = current.node
        if current.state is not LinkState.UP:
            self._book.replace(current, rival)
            if current.state is LinkState.DIALING and (rival.is_dialed or self._own < node):
                self._forget(current)
                self._kernel.emit(CloseLink(link=current.number))
            self._tell_up(rival, hello)
            return
        is_crossing = (
            current.is_dialed is not rival.is_dialed
            and self._kernel.now - current.up_since <= CROSSING_SECONDS
        )
        if is_crossing and current.is_dialed is (self._own > node):
            self._retire(rival)
            return
        self._book.replace(current, rival)
        self._retire(current)
        if not is_crossing:  # the other side has lost what we still held for open
            self.user.on_link_lost(node, False, "replaced by a new link", [])
            self._tell_up(rival, hello)

    def _retire(self, link: Link) -> None:
        link.state = LinkState.RETIRING
        self._writer.disarm(link)
        self._writer.arm(link, RETIRE_SECONDS)

    def _tell_up(self, link: Link, hello: Hello) -> None:
        self._table.clear_avoid(link.node)
        self._broken.pop(link.node, None)
        self._addresses[link.node] = hello.member.overlay_address
        if len(self._addresses) > MOST_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        self._book.touched[link.number] = link
        self._kernel.emit(LinkUp(node=link.node, dialed=link.is_dialed))
        while len(self._book.by_node) > self._config.max_links:
            before = self._kernel.now - RETIRE_SECONDS
            least_used = self._book.least_used(before, self.user.is_needed)
            if least_used is None:
                break
            self._part(least_used)
        self.user.on_link_up(link.node, hello)

    # ends

    def _part(self, link: Link) -> None:
        """End an idle link in good order: the other side is told, and dials when it must."""
        self._writer.write(link, [control_envelope(self._own, Goodbye())])
        self._step_aside(link, "the budget of links is used up")

    def _on_goodbye(self, link: Link) -> None:
        was_up = self._book.up(link.node) is link
        if not was_up:
            return
        unsent = link.take_all()
        self._writer.end_unwritten(link, "the other side has parted")
        self._step_aside(link, "the other side has no room for it")
        if unsent or self.user.is_needed(link.node):
            self.ensure(link.node)
        for envelope in unsent:
            self.send(link.node, envelope)

    def _step_aside(self, link: Link, reason: str) -> None:
        self._book.step_aside(link)
        self._retire(link)
        self._kernel.emit(LinkDown(node=link.node, reason=reason))

    def _on_late(self, link: Link) -> None:
        if link.state is LinkState.RETIRING:
            self._forget(link)
            self._kernel.emit(CloseLink(link=link.number))
        elif link.state is LinkState.UP:
            self._table.add_avoid(link.node, self._kernel.now + AVOID_SECONDS)
            self._end(link, "a frame was not written in time")
        else:
            self._end(link, "no Hello came in time")

    def _refuse(self, link: Link, reason: str) -> None:
        self._refused(link.node, reason)
        if self._book.is_alone(link):
            self._table.add_avoid(link.node, self._kernel.now + AVOID_SECONDS)
        self._end(link, f"refused: {reason}")

    def _refused(self, node: NodeId | None, reason: str) -> None:
        self._kernel.counters.links_refused += 1
        self._kernel.emit(PeerRefused(node=node, reason=reason))

    def _end(self, link: Link, reason: str) -> None:
        self._kernel.emit(CloseLink(link=link.number))
        self._lost(link, reason)

    def _forget(self, link: Link) -> None:
        self._writer.disarm(link)
        self._writer.end_written(link)
        self._book.forget(link)

    def _note_broken(self, node: NodeId) -> None:
        """Wait before the next dial: whoever hangs up without a Hello would do it again."""
        self._broken.pop(node, None)
        self._broken[node] = self._kernel.now
        if len(self._broken) > MOST_ADDRESSES:
            del self._broken[next(iter(self._broken))]

    def _lost(self, link: Link, reason: str, is_refused: bool = False) -> None:
        node = link.node
        was_current = self._book.by_node.get(node) is link
        if link.is_dialed and link.state is LinkState.OPEN:
            self._note_broken(node)
        rival = self._book.rival_of(link)
        self._forget(link)
        if not was_current:
            return
        if rival is not None:
            self._book.replace(link, rival)
            return
        self._writer.end_unwritten(link, reason)
        self._kernel.emit(LinkDown(node=node, reason=reason))
        self.user.on_link_lost(node, is_refused, reason, link.take_all())
