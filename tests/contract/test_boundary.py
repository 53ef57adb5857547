"""What the core and the two worlds promise each other: nothing crosses the boundary untaken."""

import ast
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chordial_node import core, node
from chordial_node.adapters import http_server, json_logs, otel_spans, prometheus_metrics
from chordial_node.boundary.effects import Effect, Notice
from chordial_node.boundary.events import Event
from chordial_node.simulation import world


def names(kinds: Sequence[type[Event] | type[Effect]]) -> list[str]:
    return sorted(kind.__name__ for kind in kinds)


def ours(base: type[Event] | type[Effect]) -> list[type[Event] | type[Effect]]:
    """The product's own kinds; other tests of this process may have made some more."""
    return [kind for kind in base.__subclasses__() if kind.__module__.startswith("chordial_node.")]


def effects_to_perform() -> list[type[Event] | type[Effect]]:
    return [kind for kind in ours(Effect) if kind is not Notice]


def test_each_event_has_one_taker_in_the_core() -> None:
    """Read from the source: a dict made at run time would hide an event that is taken twice."""
    tree = ast.parse(Path(core.__file__).read_text())
    taken = Counter(
        call.args[0].id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "_takes"
        and isinstance(call.args[0], ast.Name)
    )
    assert taken == Counter(names(ours(Event)))


def test_each_effect_has_a_performer_in_the_node() -> None:
    assert names(list(node.PERFORMERS)) == names(effects_to_perform())


def test_each_effect_has_a_performer_in_the_simulator() -> None:
    performed = [kind for kind in world.PERFORMERS if kind is not Notice]  # those are observed
    assert names(performed) == names(effects_to_perform())


def test_each_notice_is_observed() -> None:
    assert names(list(json_logs.LINES)) == names(ours(Notice))


def test_what_else_observes_a_notice_observes_one_that_there_is() -> None:
    modules = (http_server, otel_spans, prometheus_metrics)
    known = {kind.__name__ for kind in ours(Notice)}
    for module in modules:
        assert known & set(vars(module)), module.__name__
