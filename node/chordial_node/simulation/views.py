"""What the running peers say of themselves, gathered from their notices.

Checkers and workload read it; it is the outside view of each peer's ring state, never its objects.
"""

from __future__ import annotations

from collections.abc import Callable

from chordial_node.boundary.notices import NeighborsChanged, PeerJoined, StateChanged
from chordial_node.ids import NodeId
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.population import Population

_IN_RING = ("joined", "ready", "draining")
_PLACED_US = 1_000_000
"""After so long all members of a new ring know their places."""


class RingView:
    """The ring state that a running process has told last."""

    __slots__ = ("_names", "host", "life", "predecessor", "successors")

    def __init__(self, host: Host, names: dict[NodeId, Host]) -> None:
        self.host = host
        self._names = names
        self.life = host.lives
        self.predecessor: NodeId | None = None
        self.successors: tuple[NodeId, ...] = ()

    def __str__(self) -> str:
        first = [self._names[node].name for node in self.successors[:6] if node in self._names]
        return f"{self.host.name} → {' '.join(first)}"


class Views:
    """Ring state by Node-ID, of those alone that run and are in the ring."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.members: dict[NodeId, RingView] = {}
        self.on_change: list[Callable[[Host], None]] = []
        """Called after the ring state of a member changed, or a member came or went."""
        self._forming: dict[NodeId, None] = {}
        self._formed_us = 0
        self._changed: list[Host] = []
        self._is_holding = False
        self._told: dict[NodeId, RingView] = {}
        self._lives: dict[tuple[NodeId, int], int] = {}
        world = population.world
        world.on_end.append(self._on_end)
        world.on_notices.append(self._tell_changes)
        world.listen(NeighborsChanged, self._on_neighbors)
        world.listen(StateChanged, self._on_state)
        world.listen(PeerJoined, self._on_joined)

    def in_ring(self, host: Host) -> bool:
        """Tell whether a host's running process says that it is in the ring."""
        return host.node_id in self.members

    @property
    def hosts_in_ring(self) -> list[Host]:
        """The hosts whose processes are in the ring, in the order of their making."""
        return [host for host in self.population.hosts if host.node_id in self.members]

    def is_running_life(self, node: NodeId, incarnation: int) -> bool:
        """Tell whether the process that runs there now is the one of this incarnation."""
        host = self.population.by_node.get(node)
        if host is None or host.process is None:
            return False
        return self._lives.get((node, incarnation)) == host.lives

    @property
    def is_forming(self) -> bool:
        """A ring is being formed, or was just now: not all of its members know it yet."""
        return bool(self._forming) or self.population.world.now_us < self._formed_us + _PLACED_US

    def together(self, act: Callable[[], None]) -> None:
        """Let several processes end as one change: nobody looks at a state between."""
        self._is_holding = True
        act()
        self._is_holding = False
        self._tell_changes()

    def _on_end(self, host: Host) -> None:
        self._stop_forming(host)
        self._told.pop(host.node_id, None)
        if self.members.pop(host.node_id, None) is not None:
            self._changed.append(host)
            self._tell_changes()

    def _stop_forming(self, host: Host) -> None:
        if host.node_id in self._forming:
            del self._forming[host.node_id]
            self._formed_us = self.population.world.now_us

    def _view(self, host: Host) -> RingView:
        view = self._told.get(host.node_id)
        if view is None or view.life != host.lives:
            view = self._told[host.node_id] = RingView(host, self.population.by_node)
        return view

    def _on_neighbors(self, host: Host, notice: NeighborsChanged) -> None:
        view = self._view(host)
        view.predecessor = notice.predecessor
        view.successors = notice.successors
        if host.node_id in self.members:
            self._changed.append(host)

    def _on_state(self, host: Host, notice: StateChanged) -> None:
        if notice.state == "forming":
            self._forming[host.node_id] = None
        else:
            self._stop_forming(host)
        if notice.state in _IN_RING:
            self.members[host.node_id] = self._view(host)
            self._changed.append(host)
        elif self.members.pop(host.node_id, None) is not None:
            self._changed.append(host)

    def _on_joined(self, host: Host, notice: PeerJoined) -> None:
        subject = self.population.by_node.get(notice.node)
        if subject is not None and subject.process is not None:
            self._lives.setdefault((notice.node, notice.incarnation), subject.lives)

    def _tell_changes(self) -> None:
        """A turn is over: what it changed can be looked at, all of it together."""
        if self._is_holding:
            return
        changed, self._changed = self._changed, []
        for host in dict.fromkeys(changed):
            for look in self.on_change:
                look(host)
