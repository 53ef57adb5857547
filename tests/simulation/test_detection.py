"""How soon everybody knows that a host fell silent (protocol.md §4: 1.2 to 1.6 s, typically)."""

from collections.abc import Callable

from chordial_node.boundary.notices import PeerDied
from chordial_node.ids import NodeId
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.run import Simulation
from chordial_node.simulation.scenarios import SCENARIOS

PEERS = 40
CRASHES = 12


def test_a_silent_crash_is_known_to_all_views_within_the_promised_time() -> None:
    simulation = Simulation(5, PEERS, 1.0, SCENARIOS["calm"])
    simulation.join()
    world = simulation.world
    world.run_for(5.0)
    heard: dict[NodeId, list[float]] = {}

    def on_died(host: Host, notice: PeerDied) -> None:
        heard.setdefault(notice.node, []).append(world.now)

    world.listen(PeerDied, on_died)
    took = []
    for number, host in enumerate(simulation.population.hosts[-CRASHES:]):
        world.run_for(1.0 + number / CRASHES)
        crashed_at = world.now
        world.crash(host, silently=True)
        assert world.run_until(_are_told(heard, host), 4.0)
        took.append(max(heard[host.node_id]) - crashed_at)
        world.start(host)
        world.run_for(3.0)
    took.sort()
    assert took[0] > 1.0
    assert took[CRASHES // 2] < 1.6
    assert took[-1] < 2.1


def _are_told(heard: dict[NodeId, list[float]], host: Host) -> Callable[[], bool]:
    return lambda: len(heard.get(host.node_id, [])) >= PEERS - 1
