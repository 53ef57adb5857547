"""Asks the peers of a fleet over their control service, as its admin."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

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


async def ask(
    fleet: Fleet,
    peer: PeerPlace,
    question: Question,
    want: type[A],
    within: float = ANSWER_SECONDS,
) -> A:
    """Return one peer's answer; PeerSilentError when there is none."""
    target = (fleet.file.host, peer.ports.overlay)
    return await ask_at(fleet, target, peer.name, peer.id, question, want, within)


async def ask_at(
    fleet: Fleet,
    target: Address,
    name: str,
    node: NodeId | None,
    question: Question,
    want: type[A],
    within: float = ANSWER_SECONDS,
) -> A:
    """Return the answer of whoever is at an address; with a Node-ID no other peer will do."""
    try:
        papers = [each.read_bytes() for each in (fleet.trusted, fleet.admin_certificate)]
        key = fleet.admin_key.read_bytes()
    except OSError as error:
        raise FleetError(
            f"{error.filename} cannot be read ({error.strerror}): the state folder is damaged; move"
            " it away, or name another --state"
        ) from error
    client = PeerClient(target, trusted=papers[0], certificate=papers[1], key=key, node=node)
    try:
        answer = await client.ask(question, within)
    except PeerUnreachableError as error:
        raise PeerSilentError(f"{name} does not answer ({error}); see `chordial status`") from error
    finally:
        await client.close()
    if isinstance(answer, Refused):
        again = f"; try again in {answer.retry_after:.0f} s" if answer.retry_after else ""
        raise PeerSilentError(f"{name} refused: {answer.reason} ({answer.code}){again}")
    if not isinstance(answer, want):
        raise PeerSilentError(f"{name} answered with something else: another version?")
    return answer


async def statuses(fleet: Fleet) -> list[StatusAnswer | None]:
    """Return the status of every peer, None for those that do not answer."""

    async def one(peer: PeerPlace) -> StatusAnswer | None:
        try:
            return await ask(fleet, peer, AskStatus(), StatusAnswer, STATUS_SECONDS)
        except PeerSilentError:
            return None

    return list(await asyncio.gather(*(one(peer) for peer in fleet.file.peers)))


async def ask_any(fleet: Fleet, question: Question, want: type[A], peer: str = "") -> A:
    """Ask a named peer, the one at an overlay address, or one after the other until one answers."""
    if ":" in peer:
        return await ask_at(fleet, host_port(peer), peer, None, question, want)
    peers: Sequence[PeerPlace] = [fleet.peer(peer)] if peer else fleet.file.peers
    for place in peers:
        try:
            return await ask(fleet, place, question, want)
        except PeerSilentError as error:
            if peer or not isinstance(error.__cause__, PeerUnreachableError):
                raise
    raise PeerSilentError(f"no peer of {fleet.state} answers: start it with `chordial up`")
