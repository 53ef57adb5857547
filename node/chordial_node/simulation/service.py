"""What a Kubernetes Service does for phones: who is sent new flows, and who keeps the old ones.

fleet.md H1 and H2: a peer that drains gets no new flow but keeps what it has, until it goes unready
or is gone; then each of its phones is sent elsewhere with its next packet. No phone is known here.
"""

from collections.abc import Callable
from random import Random

from chordial_node.boundary.notices import Ready, StateChanged
from chordial_node.simulation.agenda import below
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.population import Population


class Service:
    """The endpoints of all peers of a run."""

    def __init__(self, population: Population, draws: Random) -> None:
        self.on_gone: Callable[[Host], None] = lambda host: None
        """Called when a peer's old flows end."""
        self._draws = draws
        self._ready: dict[int, Host] = {}
        self._draining: dict[int, Host] = {}
        population.world.listen(Ready, self._on_ready)
        population.world.listen(StateChanged, self._on_state)
        population.world.on_end.append(self._on_end)

    def serves(self, host: Host) -> bool:
        """Tell whether a peer's old flows go on."""
        return host.index in self._ready

    def pick(self) -> Host | None:
        """Draw a peer for a new flow; None when nobody takes any."""
        there = [self._ready[index] for index in sorted(self._ready) if index not in self._draining]
        return there[below(self._draws, len(there))] if there else None

    def _on_ready(self, host: Host, notice: Ready) -> None:
        if notice.is_ready:
            self._ready[host.index] = host
        elif self._ready.pop(host.index, None) is not None:
            self.on_gone(host)

    def _on_state(self, host: Host, notice: StateChanged) -> None:
        if notice.state == "draining":
            self._draining[host.index] = host

    def _on_end(self, host: Host) -> None:
        self._draining.pop(host.index, None)
        if self._ready.pop(host.index, None) is not None:
            self.on_gone(host)
