"""The loops of a running node: what is told, and when nothing is."""

import asyncio

from chordial_node.boundary.events import Event, FaultFound, SeedsFound
from chordial_node.config import Endpoint
from chordial_node.upkeep import MISSES, follow_seeds, watch_listeners
from tests.node.adapters.overlay_rig import Told, on_a_loop


@on_a_loop
async def test_a_listener_must_be_silent_for_long_and_is_well_at_once() -> None:
    found = ["silent", "", *["silent"] * (MISSES + 2), "", "", "silent"]
    tries = iter(found)
    all_tried = asyncio.Event()

    async def find_fault() -> str:
        fault = next(tries, None)
        if fault is None:
            all_tried.set()
            await asyncio.get_running_loop().create_future()
        return fault or ""

    told: list[Event] = []
    watching = asyncio.ensure_future(watch_listeners(find_fault, told.append, period=0.0))
    await all_tried.wait()
    watching.cancel()
    assert told == [FaultFound("silent"), FaultFound("")]


@on_a_loop
async def test_seeds_are_told_when_they_are_found_and_once() -> None:
    told = Told()
    names = (Endpoint("127.0.19713", 6084),)
    asked: list[bool] = []
    asked_again = asyncio.Event()

    def is_settled() -> bool:
        asked.append(True)
        if len(asked) == 2:
            asked_again.set()
        return False

    following = asyncio.ensure_future(follow_seeds(names, told, is_settled))
    await asked_again.wait()
    following.cancel()
    assert told.events == [SeedsFound((("127.0.77.1", 6084),))]
