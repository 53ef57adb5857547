"""Asks the peers of an overlay how they are, and what users want of them, over mutual TLS.

One observer for each overlay. It polls and keeps what was said; what follows from it is decided in
`decisions`. Where peers are, and with which certificate they are asked, it is told by callables: it
knows no Kubernetes. Errors of gRPC never leave this module.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random

import grpc
import msgspec

from chordial_node.boundary.control import Answer, AskStatus, Question, StatusAnswer
from chordial_node.boundary.events import Address
from chordial_node.client import ANSWER_SECONDS, PeerClient, PeerUnreachableError
from chordial_node.ids import NodeId
from chordial_node.security.certificates import TlsCredentials
from chordial_operator.decisions.reports import Pod, Reports, report_of
from chordial_operator.decisions.views import PeerReport

PERIOD_SECONDS = 2.0
STATUS_SECONDS = 3.0
MOST_PATIENCE_SECONDS = 8.0
"""A peer that stays silent is asked no more seldom than this."""
MOST_AT_ONCE = 16
CREDENTIALS_SECONDS = 30.0
RENEWAL_SECONDS = 6 * 3600.0
"""After this the operator's certificate, which lives a day, is exchanged."""

_log = logging.getLogger(__name__)


class PeerPlace(msgspec.Struct, frozen=True):
    """Where a peer's pod is asked."""

    name: str
    set_name: str
    pod_uid: str
    address: Address
    """The pod's address and the overlay's port."""
    node_id: NodeId | None = None
    """Whose certificate it must show."""


class PeerCounters(msgspec.Struct):
    """What an observer has done, for the metrics page."""

    polls: int = 0
    silent: int = 0
    """Polls that nobody answered."""


class _Line:
    """The connection to one peer's pod, and its patience with it."""

    def __init__(self, place: PeerPlace, client: PeerClient) -> None:
        self.place = place
        self.client = client
        self.failures = 0
        self.due = 0.0


class PeerObserver:
    """Polls the peers of one overlay, until it is cancelled."""

    def __init__(
        self,
        places: Callable[[], Iterable[PeerPlace]],
        credentials: Callable[[], Awaitable[TlsCredentials]],
        wake: Callable[[tuple[str, ...]], None],
        *,
        clock: Callable[[], float],
        random: Random,
        period: float = PERIOD_SECONDS,
    ) -> None:
        """Take who is where, what to show them, and what to call when something has changed.

        `wake` gets the names of the sets whose peers it is; `clock` tells wall time.
        """
        self.counters = PeerCounters()
        self._places = places
        self._credentials = credentials
        self._wake = wake
        self._clock = clock
        self._random = random
        self._period = period
        self._reports = Reports()
        self._lines: dict[str, _Line] = {}
        self._shown: TlsCredentials | None = None
        self._shown_since = 0.0
        self._looked_at = float("-inf")
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._exchange = asyncio.Lock()
        self._is_troubled = False
        self.began_at = clock()
        """When it began to listen."""

    @property
    def reports(self) -> Mapping[str, PeerReport]:
        """What each peer last said, by its name."""
        return self._reports.by_name

    async def ask(self, peer: str, question: Question, within: float = ANSWER_SECONDS) -> Answer:
        """Return a peer's answer, which may be Refused; PeerUnreachableError when there is none."""
        place = next((each for each in self._places() if each.name == peer), None)
        if place is None:
            raise PeerUnreachableError(f"{peer} has no pod that could be asked")
        shown = await self._present_credentials()
        line = await self._line(place, shown)
        return await _asked(line, question, within)

    async def run(self) -> None:
        """Poll for ever; no failure of a peer, nor of the credentials, ends it."""
        try:
            while True:
                try:
                    await self._round()
                    self._is_troubled = False
                except Exception as error:  # whatever it was: said once, and tried again
                    if not self._is_troubled:
                        _log.warning("peers could not be asked: %r", error, exc_info=error)
                    self._is_troubled = True
                await asyncio.sleep(self._period * (0.8 + 0.4 * self._random.random()))
        finally:
            await self.close()

    async def close(self) -> None:
        """Close every connection."""
        lines, self._lines = list(self._lines.values()), {}
        await asyncio.gather(*(line.client.close() for line in lines), return_exceptions=True)

    async def _round(self) -> None:
        places = {place.name: place for place in self._places()}
        shown = await self._present_credentials()
        await self._drop_lines(places)
        now = self._clock()
        pods = {name: Pod(place.pod_uid, place.set_name) for name, place in places.items()}
        forgotten = self._reports.keep(pods, now)
        if forgotten:
            self._wake(forgotten)
        lines = [await self._line(place, shown) for place in places.values()]
        async with asyncio.TaskGroup() as group:
            for line in lines:
                if line.due <= now:
                    group.create_task(self._poll(line), name=f"status of {line.place.name}")
        counted = self._reports.counted(self._clock())
        if counted:
            self._wake(counted)

    async def _poll(self, line: _Line) -> None:
        place = line.place
        async with self._at_once:
            self.counters.polls += 1
            try:
                answer = await _asked(line, AskStatus(), STATUS_SECONDS)
            except PeerUnreachableError as error:
                self._missed(line, str(error))
                return
        if not isinstance(answer, StatusAnswer):
            self._missed(line, "it refuses")
            return
        line.failures, line.due = 0, 0.0
        report = report_of(answer, self._clock())
        if self._reports.heard(place.name, Pod(place.pod_uid, place.set_name), report):
            self._wake((place.set_name,))

    def _missed(self, line: _Line, why: str) -> None:
        self.counters.silent += 1
        line.failures += 1
        patience = min(self._period * 2.0 ** min(line.failures - 1, 8), MOST_PATIENCE_SECONDS)
        line.due = self._clock() + patience
        if line.failures == 1:
            _log.info("%s does not answer: %s", line.place.name, why)

    async def _present_credentials(self) -> TlsCredentials:
        """Return what is shown to peers: exchanged before its end, and when trust has changed."""
        async with self._exchange:
            now = self._clock()
            if self._shown is not None and now - self._looked_at < CREDENTIALS_SECONDS:
                return self._shown
            fresh = await self._credentials()
            self._looked_at = now
            is_old = now - self._shown_since >= RENEWAL_SECONDS
            if self._shown is None or is_old or fresh.authorities != self._shown.authorities:
                self._shown, self._shown_since = fresh, now
                await self.close()
            return self._shown

    async def _line(self, place: PeerPlace, shown: TlsCredentials) -> _Line:
        line = self._lines.get(place.name)
        if line is not None and line.place == place:
            return line
        client = PeerClient(
            place.address,
            trusted=shown.authorities,
            certificate=shown.certificate,
            key=shown.private_key,
            node=place.node_id,
        )
        fresh = self._lines[place.name] = _Line(place, client)
        if line is not None:
            await line.client.close()
        return fresh

    async def _drop_lines(self, places: Mapping[str, PeerPlace]) -> None:
        for name in [each for each in self._lines if each not in places]:
            await self._lines.pop(name).client.close()


async def _asked(line: _Line, question: Question, within: float) -> Answer:
    """Ask; whatever the connection says of itself, the peer was not reached."""
    try:
        async with asyncio.timeout(within + 1.0):
            return await line.client.ask(question, within)
    except (grpc.aio.BaseError, grpc.RpcError, ValueError, TimeoutError) as error:
        raise PeerUnreachableError(f"{line.place.name} could not be asked: {error}") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # a connection that is closed meanwhile cancels its calls, not whoever waits for them
        raise PeerUnreachableError(f"{line.place.name} is somewhere else by now") from None
