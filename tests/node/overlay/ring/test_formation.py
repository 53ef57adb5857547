"""A founder agrees to one proposal at a time, on disk, and takes its place for no other."""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from chordial_node.ids import NodeId
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    Answer,
    FormAnswer,
    FormRequest,
    MemberRecord,
    ProposeAnswer,
    ProposeRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.ring.contacts import Contacts
from chordial_node.overlay.ring.formation import HOLD_SECONDS, Formation
from chordial_node.overlay.ring.queries import Queries
from chordial_node.overlay.ring.snapshot import AGREED_KEY, Snapshot, read_agreement
from tests.node.overlay.rig import Station, config_of, member, node

FIRST, SECOND, OWN, OTHER = node(1), node(2), node(3), node(9)


class Disk:
    """A disk that commits when it is told to."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._waiting: list[tuple[list[tuple[bytes, bytes | None]], Reply[None]]] = []
        self.records: dict[bytes, bytes] = {}

    def remember(self, key: bytes, value: bytes | None) -> None:
        raise AssertionError("an agreement is waited for")

    def write(self, records: list[tuple[bytes, bytes | None]]) -> Reply[None]:
        reply: Reply[None] = self._station.kernel.reply()
        self._waiting.append((records, reply))
        return reply

    def commit(self) -> None:
        for records, reply in self._waiting:
            self.records.update((key, value) for key, value in records if value is not None)
            reply.resolve(None)
        self._waiting.clear()
        self._station.kernel.procedures.run()


class Peer:
    """A peer in no ring that nobody is linked to."""

    def __init__(self, own: NodeId = OWN, records: dict[bytes, bytes] | None = None) -> None:
        founders = tuple(each.hex() for each in (FIRST, SECOND, OWN))
        config = replace(config_of(own), founders=founders)
        station = Station(own, [], config)
        self.kernel = station.kernel
        self.disk = Disk(station)
        self.record = member(own)
        self.members: tuple[MemberRecord, ...] = ()
        queries = Queries(
            self.kernel, station.links, station.requests, station.table, lambda: self.record
        )
        contacts = Contacts(self.kernel, config, own, station.links, station.requests, queries)
        snapshot = Snapshot(self.kernel, self.disk, station.table)
        self.formation = Formation(self.kernel, config, contacts, snapshot, self)
        self.formation.recall(read_agreement(records or {}))

    @property
    def is_in_ring(self) -> bool:
        return bool(self.members)

    def take_place(self, members: tuple[MemberRecord, ...]) -> None:
        self.members = members

    def start(self, handler: Callable[[], Awaitable[Answer]]) -> list[Answer | OverlayError]:
        results: list[Answer | OverlayError] = []

        async def serve() -> None:
            try:
                results.append(await handler())
            except OverlayError as error:
                results.append(error)

        self.kernel.start(serve())
        return results

    def propose(self, proposer: NodeId, number: int) -> list[Answer | OverlayError]:
        request = ProposeRequest(proposer, number)
        return self.start(lambda: self.formation.on_propose(request, asked_by(proposer)))

    def agrees(self, proposer: NodeId, number: int) -> bool:
        results = self.propose(proposer, number)
        self.disk.commit()
        return isinstance(results[0], ProposeAnswer) and results[0].agreed

    def forms(self, proposer: NodeId, number: int) -> bool:
        request = FormRequest(proposer, (member(proposer), self.record), number)
        results = self.start(lambda: self.formation.on_form(request, asked_by(proposer)))
        return isinstance(results[0], FormAnswer)


def asked_by(source: NodeId) -> RequestContext:
    return RequestContext(source, None, 1, False)


def test_an_agreement_is_given_when_it_is_on_disk() -> None:
    peer = Peer()
    results = peer.propose(FIRST, 7)
    assert results == []
    peer.disk.commit()
    assert isinstance(results[0], ProposeAnswer)
    assert results[0].agreed
    assert AGREED_KEY in peer.disk.records


def test_a_second_proposal_is_refused_while_the_first_holds() -> None:
    peer = Peer()
    assert peer.agrees(FIRST, 7)
    assert not peer.agrees(SECOND, 8)
    peer.kernel.begin(HOLD_SECONDS + 1.0)
    assert peer.agrees(SECOND, 8)


def test_a_founder_takes_its_place_for_what_it_agreed_to_last() -> None:
    peer = Peer()
    assert not peer.forms(FIRST, 7)
    assert peer.agrees(FIRST, 7)
    peer.kernel.begin(HOLD_SECONDS + 1.0)
    assert peer.agrees(SECOND, 8)
    assert not peer.forms(FIRST, 7)
    assert peer.forms(SECOND, 8)


def test_a_founder_in_a_ring_agrees_to_nothing_and_forms_nothing() -> None:
    peer = Peer()
    assert peer.agrees(FIRST, 7)
    assert peer.forms(FIRST, 7)
    results = peer.propose(SECOND, 8)
    assert isinstance(results[0], ProposeAnswer)
    assert (results[0].agreed, results[0].in_ring) == (False, True)
    assert not peer.forms(FIRST, 7)


def test_an_agreement_outlives_the_process() -> None:
    peer = Peer()
    assert peer.agrees(FIRST, 7)
    assert not Peer(records=peer.disk.records).forms(SECOND, 8)
    assert Peer(records=peer.disk.records).forms(FIRST, 7)


def test_a_proposal_overtaken_while_the_disk_was_slow_is_not_agreed_to() -> None:
    peer = Peer()
    results = peer.propose(FIRST, 7)
    peer.kernel.begin(HOLD_SECONDS + 1.0)
    later = peer.propose(SECOND, 8)
    peer.disk.commit()
    assert isinstance(results[0], ProposeAnswer)
    assert not results[0].agreed
    assert isinstance(later[0], ProposeAnswer)
    assert later[0].agreed


def test_only_a_founder_proposes_and_for_itself() -> None:
    peer = Peer()
    stranger = peer.propose(OTHER, 7)[0]
    request = ProposeRequest(FIRST, 7)
    disguised = peer.start(lambda: peer.formation.on_propose(request, asked_by(SECOND)))[0]
    for refused in (stranger, disguised):
        assert isinstance(refused, OverlayError)
        assert refused.code is ErrorCode.FORBIDDEN


def test_who_is_no_founder_says_that_it_is_here_and_takes_the_place_it_gets() -> None:
    peer = Peer(OTHER)
    assert peer.agrees(FIRST, 7)
    assert peer.disk.records == {}
    assert peer.forms(FIRST, 9)


def test_a_list_without_this_peer_gives_it_no_place() -> None:
    peer = Peer(OTHER)
    request = FormRequest(FIRST, (member(FIRST),), 7)
    refused = peer.start(lambda: peer.formation.on_form(request, asked_by(FIRST)))[0]
    assert isinstance(refused, OverlayError)
    assert not peer.is_in_ring
