"""Whole rings of the product's own core in virtual time, and what their peers say of themselves."""

from random import Random

from chordial_node.boundary.control import StatusAnswer
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import ProcedureFaulted
from chordial_node.config import NodeConfig
from chordial_node.core import Core
from chordial_node.ids import NodeId
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.simulation.hosts import Driven, Host
from chordial_node.simulation.population import OVERLAY_NAME, Population
from chordial_node.simulation.world import World

KEYS = KeyRing(OVERLAY_NAME, [OverlayKey(1, bytes(range(32)))])


class Rings:
    """A world of peers."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.cores: dict[NodeId, Core] = {}
        self.world = World(seed)
        self.population = Population(self.world, count, self._core)
        self.hosts = self.population.hosts
        self.faults: list[str] = []
        self.world.listen(ProcedureFaulted, self._on_fault)

    def start(self, *hosts: Host) -> None:
        for host in hosts:
            self.world.start(host)

    def status(self, host: Host) -> StatusAnswer:
        return self.cores[host.node_id].status()

    def predecessor(self, host: Host) -> NodeId | None:
        return self.status(host).predecessor

    def is_ideal(self, hosts: list[Host] | None = None) -> bool:
        """Neighbors and views of these peers are those of the sorted list of them."""
        living = hosts or self.world.running
        nodes = sorted(host.node_id for host in living)
        for host in living:
            status = self.status(host)
            at = nodes.index(host.node_id)
            others = [*nodes[at + 1 :], *nodes[:at]]
            alive = [each.node_id for each in status.members if each.state == "alive"]
            if alive != nodes or list(status.successors) != others[:16]:
                return False
            if status.predecessor != (others[-1] if others else None):
                return False
        return not self.faults

    def become_ideal(self, limit: float, hosts: list[Host] | None = None) -> bool:
        return self.world.run_until(lambda: self.is_ideal(hosts), limit)

    def count(self, kind: type[Notice]) -> list[tuple[str, Notice]]:
        """From now on, every notice of a type and who told it."""
        told: list[tuple[str, Notice]] = []

        def hear(host: Host, notice: Notice) -> None:
            told.append((host.name, notice))

        self.world.listen(kind, hear)
        return told

    def _core(self, config: NodeConfig, own: NodeId, random: Random) -> Driven:
        self.cores[own] = Core(config, own, KEYS, random)
        return self.cores[own]

    def _on_fault(self, host: Host, notice: ProcedureFaulted) -> None:
        self.faults.append(f"{host.name}: {notice.procedure} {notice.error} {notice.where}")


def formed(count: int, seed: int = 1) -> Rings:
    """A ring of so many peers that started together."""
    rings = Rings(count, seed)
    rings.start(*rings.hosts)
    assert rings.become_ideal(20.0), rings.faults
    return rings
