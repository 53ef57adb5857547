"""Asks peers over their control service: of a local fleet, in a cluster, at an address."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from chordial_node.boundary.control import Answer, AskStatus, Question, Refused, StatusAnswer
from chordial_node.boundary.events import Address
from chordial_node.cli.fleet import Fleet, FleetError, PeerPlace
from chordial_node.cli.options import host_port
from chordial_node.client import ANSWER_SECONDS, PeerClient, PeerUnreachableError
from chordial_node.ids import NodeId

A = TypeVar("A", bound=Answer)

STATUS_SECONDS = 3.0
"""A peer answers how it is at once; one that takes longer is as good as silent."""


class PeerSilentError(Exception):
    """A peer gave no answer, or refused; the message says what to do."""


class Papers(msgspec.Struct, frozen=True):
    """What is shown to peers, and whom to believe; all PEM."""

    trusted: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Papers()"  # a key never gets into a log


class Known(msgspec.Struct, frozen=True):
    """A peer that can be asked."""

    name: str
    node: NodeId | None
    """None: whoever answers there will do."""


class Peers(Protocol):
    """The peers of one overlay as the command reaches them."""

    @property
    def where(self) -> str:
        """Where they are and how they get there, for a message."""

    @property
    def domain(self) -> str:
        """The SIP domain that a bare user name means."""

    def papers(self) -> Papers:
        """Return what to show them."""

    def known(self) -> Sequence[Known]:
        """Return who can be asked."""

    async def address(self, peer: Known) -> Address:
        """Return where one of them can be reached from here."""


class LocalPeers:
    """The peers of a local fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @property
    def where(self) -> str:
        """The state folder, and what starts it."""
        return f"of {self.fleet.state} answers: start it with `chordial up`"

    @property
    def domain(self) -> str:
        """The fleet's domain."""
        return self.fleet.file.domain

    def papers(self) -> Papers:
        """Read the admin's certificate of the state folder."""
        fleet = self.fleet
        try:
            return Papers(
                fleet.trusted.read_bytes(),
                fleet.admin_certificate.read_bytes(),
                fleet.admin_key.read_bytes(),
            )
        except OSError as error:
            raise FleetError(
                f"{error.filename} cannot be read ({error.strerror}): the state folder is damaged;"
                " move it away, or name another --state"
            ) from error

    def known(self) -> list[Known]:
        """Return the peers of the fleet's file."""
        return [Known(peer.name, peer.id) for peer in self.fleet.file.peers]

    async def address(self, peer: Known) -> Address:
        """Return a peer's overlay address."""
        place = self.fleet.peer(peer.name)
        return (self.fleet.file.host, place.ports.overlay)


async def ask(
    fleet: Fleet,
    peer: PeerPlace,
    question: Question,
    want: type[A],
    within: float = ANSWER_SECONDS,
) -> A:
    """Return one local peer's answer; PeerSilentError when there is none."""
    return await ask_known(LocalPeers(fleet), Known(peer.name, peer.id), question, want, within)


async def ask_known(
    peers: Peers,
    peer: Known,
    question: Question,
    want: type[A],
    within: float = ANSWER_SECONDS,
) -> A:
    """Return one peer's answer; PeerSilentError when there is none."""
    target = await peers.address(peer)
    return await ask_at(peers.papers(), target, peer, question, want, within)


async def ask_at(
    papers: Papers,
    target: Address,
    peer: Known,
    question: Question,
    want: type[A],
    within: float = ANSWER_SECONDS,
) -> A:
    """Return the answer of whoever is at an address; with a Node-ID no other peer will do."""
    client = PeerClient(
        target,
        trusted=papers.trusted,
        certificate=papers.certificate,
        key=papers.key,
        node=peer.node,
    )
    try:
        answer = await client.ask(question, within)
    except PeerUnreachableError as error:
        raise PeerSilentError(
            f"{peer.name} does not answer ({error}); see `chordial status`"
        ) from error
    finally:
        await client.close()
    if isinstance(answer, Refused):
        again = f"; try again in {answer.retry_after:.0f} s" if answer.retry_after else ""
        raise PeerSilentError(f"{peer.name} refused: {answer.reason} ({answer.code}){again}")
    if not isinstance(answer, want):
        raise PeerSilentError(f"{peer.name} answered with something else: another version?")
    return answer


async def statuses(fleet: Fleet) -> list[StatusAnswer | None]:
    """Return the status of every local peer, None for those that do not answer."""
    return await statuses_of(LocalPeers(fleet))


async def statuses_of(peers: Peers) -> list[StatusAnswer | None]:
    """Return the status of every known peer, None for those that do not answer."""

    async def one(peer: Known) -> StatusAnswer | None:
        try:
            return await ask_known(peers, peer, AskStatus(), StatusAnswer, STATUS_SECONDS)
        except PeerSilentError:
            return None

    return list(await asyncio.gather(*(one(peer) for peer in peers.known())))


async def ask_any(peers: Peers, question: Question, want: type[A], named: str = "") -> A:
    """Ask a named peer, the one at an overlay address, or one after the other until one answers."""
    if ":" in named:
        return await ask_at(peers.papers(), host_port(named), Known(named, None), question, want)
    for peer in [find(peers, named)] if named else peers.known():
        try:
            return await ask_known(peers, peer, question, want)
        except PeerSilentError as error:
            if named or not isinstance(error.__cause__, PeerUnreachableError):
                raise
    raise PeerSilentError(f"no peer {peers.where}")


def find(peers: Peers, name: str) -> Known:
    """Return a peer by name, number or the beginning of its Node-ID; FleetError lists them."""
    known = peers.known()
    for peer in known:
        if name in (peer.name, peer.name.rpartition("-")[2]):
            return peer
    named = [peer for peer in known if peer.node and peer.node.hex().startswith(name.lower())]
    if len(named) == 1:
        return named[0]
    names = ", ".join(peer.name for peer in known)
    raise FleetError(f"there is no peer {name!r} in this fleet: it has {names}")
