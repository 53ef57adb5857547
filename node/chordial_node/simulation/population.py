"""The peers of a run: their configuration, their places on the ring, who of them is up.

Every peer is made by one factory, the product's `Core` unless a test has another. What happens to
them is for a scenario to say.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias, TypeVar

from chordial_node.config import (
    Endpoint,
    IdentityConfig,
    ListenerConfig,
    NodeConfig,
    OverlayConfig,
    SipConfig,
    StorageConfig,
    Transport,
)
from chordial_node.ids import NodeId, spread_node_ids
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.simulation.agenda import Draws, below
from chordial_node.simulation.hosts import Clock, Driven, Host
from chordial_node.simulation.world import World, host_address

OVERLAY_NAME = "simulated.chordial.test"
DOMAIN = "chordial.test"
KEYS = KeyRing(OVERLAY_NAME, [OverlayKey(1, bytes(range(32)))])
FOUNDERS = 5
SEEDS = 3
OVERLAY_PORT = 6084
SIP_PORT = 5060
PEER_PORT = 5081

H = TypeVar("H")
MakeCore: TypeAlias = Callable[[NodeConfig, NodeId, Random], Driven]


class Population:
    """All peers of one overlay in one world."""

    def __init__(self, world: World, count: int, make_core: MakeCore) -> None:
        assert count >= 1
        self.world = world
        self._make_core = make_core
        self._draws = Draws(world.seed ^ 0x706F70)
        ids = self._shuffled(spread_node_ids(count))
        self.founders = tuple(ids[:FOUNDERS])
        self.hosts = [self._add(index, node_id) for index, node_id in enumerate(ids)]
        self.by_node = {host.node_id: host for host in self.hosts}

    @property
    def founding_hosts(self) -> list[Host]:
        """The hosts whose majority may form the ring."""
        return self.hosts[:FOUNDERS]

    @property
    def running(self) -> list[Host]:
        """The hosts on which a process runs."""
        return [host for host in self.hosts if host.process is not None]

    @property
    def down(self) -> list[Host]:
        """The hosts on which none runs."""
        return [host for host in self.hosts if host.process is None]

    def pick(self, hosts: list[Host]) -> Host:
        """Draw one of these hosts."""
        return hosts[below(self._draws, len(hosts))]

    def sample(self, hosts: list[Host], count: int) -> list[Host]:
        """Draw so many different hosts, in their order of drawing."""
        return self._shuffled(hosts)[:count]

    def config(self, index: int) -> NodeConfig:
        """Return the configuration of the peer with this number."""
        host, port = host_address(index, OVERLAY_PORT)
        address = Endpoint(host, port)
        return NodeConfig(
            name=f"p{index}",
            overlay=OverlayConfig(
                name=OVERLAY_NAME,
                bind=address,
                advertise=address,
                founders=tuple(node.hex() for node in self.founders),
                seeds=tuple(Endpoint(*host_address(seed, OVERLAY_PORT)) for seed in range(SEEDS)),
                failure_domain=f"h{index}",
            ),
            sip=SipConfig(
                domain=DOMAIN,
                listeners=(
                    ListenerConfig(Transport.UDP, Endpoint(host, SIP_PORT)),
                    ListenerConfig(Transport.PEER, Endpoint(host, PEER_PORT)),
                ),
            ),
            identity=IdentityConfig(certificate="", key="", trusted="", overlay_keys=""),
            storage=StorageConfig(path=""),
        )

    def _add(self, index: int, node_id: NodeId) -> Host:
        world = self.world
        address = host_address(index, OVERLAY_PORT)
        make_core = self._make_core

        def factory(random: Random) -> Driven:
            return make_core(self.config(index), node_id, random)

        listeners = ((address[0], SIP_PORT), (address[0], PEER_PORT))
        host = world.add(node_id, factory, name=f"p{index}", address=address, listeners=listeners)
        faults = world.network.faults
        wrong = 2.0 * self._draws.random() - 1.0
        fast = 2.0 * self._draws.random() - 1.0
        host.clock = Clock(faults.clock_offset * wrong, 1.0 + faults.clock_rate * fast)
        return host

    def _shuffled(self, items: list[H]) -> list[H]:
        shuffled = list(items)
        for index in range(len(shuffled) - 1, 0, -1):
            other = below(self._draws, index + 1)
            shuffled[index], shuffled[other] = shuffled[other], shuffled[index]
        return shuffled
