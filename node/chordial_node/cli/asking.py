"""Asks the peers of a fleet over their control service, as its admin."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from chordial_node.boundary.control import Answer, AskStatus, Question, Refused, StatusAnswer
from chordial_node.cli.fleet import Fleet, PeerPlace
from chordial_node.client import PeerClient, PeerUnreachableError

A = TypeVar("A", bound=Answer)


class PeerSilentError(Exception):
    """A peer gave no answer, or refused; the message says what to do."""


async def ask(fleet: Fleet, peer: PeerPlace, question: Question, want: type[A]) -> A:
    """Return one peer's answer; PeerSilentError when there is none."""
    client = PeerClient(
        (fleet.file.host, peer.ports.overlay),
        trusted=fleet.trusted.read_bytes(),
        certificate=fleet.admin_certificate.read_bytes(),
        key=fleet.admin_key.read_bytes(),
        node=peer.id,
    )
    try:
        answer = await client.ask(question)
    except PeerUnreachableError as error:
        raise PeerSilentError(
            f"{peer.name} does not answer ({error}): is the fleet up? see `chordial status`"
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
    """Return the status of every peer, None for those that do not answer."""

    async def one(peer: PeerPlace) -> StatusAnswer | None:
        try:
            return await ask(fleet, peer, AskStatus(), StatusAnswer)
        except PeerSilentError:
            return None

    return list(await asyncio.gather(*(one(peer) for peer in fleet.file.peers)))


async def ask_any(fleet: Fleet, question: Question, want: type[A], peer: str = "") -> A:
    """Ask a named peer, or one after the other until one answers."""
    peers: Sequence[PeerPlace] = [fleet.peer(peer)] if peer else fleet.file.peers
    for place in peers[:-1]:
        try:
            return await ask(fleet, place, question, want)
        except PeerSilentError as error:
            if isinstance(error.__cause__, PeerUnreachableError):
                continue
            raise
    return await ask(fleet, peers[-1], question, want)
