"""What peers said last, by name: kept between polls, and whether a change is worth a turn.

Pure: no polling here (`peers` does that). Numbers that change all the time wake nobody until they
have changed much; everything that a decision waits for does at once.
"""

from collections.abc import Iterable, Mapping

import msgspec

from chordial_node.boundary.control import StatusAnswer
from chordial_node.ids import NodeId
from chordial_operator.decisions.views import PeerReport

SILENT_SECONDS = 60.0
"""What a peer that no longer answers said before is forgotten after this."""
GONE_SECONDS = 600.0
"""And of one without a pod after this: the end of its drain is told from it."""
NUMBERS_SECONDS = 30.0
LEAST_CHANGE = 0.05
_ALIVE = "alive"
_MAY_COME_BACK = ("suspect", "dead", "away")


class Pod(msgspec.Struct, frozen=True):
    """The pod that speaks for a peer, and the peer's set."""

    uid: str
    set_name: str


def report_of(answer: StatusAnswer, now: float) -> PeerReport:
    """Return what a peer's own status says to the operator."""
    alive = [member.node_id for member in answer.members if member.state == _ALIVE]
    return PeerReport(
        at=now,
        state=answer.state,
        is_ready=answer.is_ready,
        in_step=answer.in_step,
        calls=answer.calls,
        registrations=answer.registrations,
        phones_waiting=answer.phones_waiting,
        copies_missing=answer.copies_missing,
        entries=answer.keys,
        membership_digest=answer.membership_digest,
        members_alive=tuple(sorted({*alive, answer.node_id})),
        members_known=tuple(
            sorted(each.node_id for each in answer.members if each.state in _MAY_COME_BACK)
        ),
        version=answer.version,
        failure_domain=answer.failure_domain,
        not_after=answer.not_after,
        bundle_hash=answer.bundle_hash,
    )


class Reports:
    """The last word of every peer of one overlay."""

    def __init__(self) -> None:
        """Begin with nobody heard."""
        self._by_name: dict[str, PeerReport] = {}
        self._pods: dict[str, Pod] = {}
        self._told: dict[str, tuple[int, ...]] = {}
        """By set: its numbers when it was last woken for them."""
        self._told_at: dict[str, float] = {}
        self._ids: dict[NodeId, NodeId] = {}

    @property
    def by_name(self) -> Mapping[str, PeerReport]:
        """What each peer last said."""
        return self._by_name

    def heard(self, name: str, pod: Pod, report: PeerReport) -> bool:
        """Take a peer's word; tell whether something has changed that a decision may wait for."""
        before = self._by_name.get(name)
        self._by_name[name] = self._sharing_ids(report)
        self._pods[name] = pod
        return before is None or _material(before) != _material(report)

    def keep(self, pods: Mapping[str, Pod], now: float) -> tuple[str, ...]:
        """Forget what no longer holds; return the sets of the peers that it was said by.

        A new pod has not spoken yet, one that is silent for long is not believed for ever.
        """
        woken: dict[str, None] = {}
        for name, report in list(self._by_name.items()):
            pod, present = self._pods[name], pods.get(name)
            is_other = present is not None and present.uid != pod.uid
            limit = GONE_SECONDS if present is None else SILENT_SECONDS
            if is_other or now - report.at >= limit:
                del self._by_name[name], self._pods[name]
                woken[pod.set_name] = None
        return tuple(woken)

    def counted(self, now: float) -> tuple[str, ...]:
        """Return the sets whose numbers have changed much, and not long after the last time."""
        sums: dict[str, tuple[int, ...]] = {}
        for name, report in self._by_name.items():
            set_name = self._pods[name].set_name
            before = sums.get(set_name, (0, 0, 0))
            sums[set_name] = tuple(
                one + more for one, more in zip(before, _numbers(report), strict=True)
            )
        woken = []
        for set_name, now_told in sums.items():
            told = self._told.get(set_name)
            is_early = now - self._told_at.get(set_name, 0.0) < NUMBERS_SECONDS
            if told is not None and (is_early or not _differ(told, now_told)):
                continue
            self._told[set_name], self._told_at[set_name] = now_told, now
            if told is not None:
                woken.append(set_name)
        for set_name in [each for each in self._told if each not in sums]:
            del self._told[set_name], self._told_at[set_name]
        return tuple(woken)

    def _sharing_ids(self, report: PeerReport) -> PeerReport:
        """Keep one copy of each Node-ID, however many peers tell it."""
        if len(self._ids) > 4 * (len(self._by_name) + 16):
            self._ids = {}
        return msgspec.structs.replace(
            report,
            members_alive=self._shared(report.members_alive),
            members_known=self._shared(report.members_known),
        )

    def _shared(self, ids: Iterable[NodeId]) -> tuple[NodeId, ...]:
        return tuple(self._ids.setdefault(each, each) for each in ids)


def _material(report: PeerReport) -> PeerReport:
    """The report without what changes all the time."""
    return msgspec.structs.replace(
        report,
        at=0.0,
        calls=min(report.calls, 1),
        registrations=min(report.registrations, 1),
        phones_waiting=min(report.phones_waiting, 1),
        copies_missing=min(report.copies_missing, 1),
        entries=min(report.entries, 1),
    )


def _numbers(report: PeerReport) -> tuple[int, ...]:
    return report.calls, report.registrations, report.copies_missing


def _differ(told: tuple[int, ...], now_told: tuple[int, ...]) -> bool:
    return any(
        abs(one - other) > LEAST_CHANGE * one for one, other in zip(told, now_told, strict=True)
    )
