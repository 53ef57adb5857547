"""Cores with one deliberate mistake: the product's core, and between it and the world one lie.

Each mistake is what a fault in the core would look like from outside.
"""

from collections.abc import Callable
from random import Random

from chordial_node.boundary.effects import Effect
from chordial_node.boundary.events import Event
from chordial_node.config import NodeConfig
from chordial_node.ids import NodeId
from chordial_node.simulation.hosts import Driven
from chordial_node.simulation.population import MakeCore
from chordial_node.simulation.run import make_core

Before = Callable[[Driven, float, Event], list[Effect] | None]
After = Callable[[Effect], list[Effect]]


def unchanged(core: Driven, now: float, event: Event) -> None:
    """Let the core take the event."""
    return


def as_it_is(effect: Effect) -> list[Effect]:
    """Let the world perform the effect."""
    return [effect]


class Mistaken:
    """A core that takes some events wrongly, or asks for something wrong."""

    def __init__(self, core: Driven, before: Before, after: After) -> None:
        self._core = core
        self._before = before
        self._after = after

    def handle(self, now: float, event: Event) -> list[Effect]:
        effects = self._before(self._core, now, event)
        if effects is None:
            effects = self._core.handle(now, event)
        return [wrong for effect in effects for wrong in self._after(effect)]

    def deadline(self) -> float | None:
        return self._core.deadline()


def making(
    before: Before = unchanged, after: After = as_it_is, *, only: tuple[str, ...] = ()
) -> MakeCore:
    """Return a factory of cores with a mistake: all peers, or only those of these names."""

    def make(config: NodeConfig, own: NodeId, random: Random) -> Driven:
        core = make_core(config, own, random)
        if only and config.name not in only:
            return core
        return Mistaken(core, before, after)

    return make
