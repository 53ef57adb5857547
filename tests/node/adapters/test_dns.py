"""Names of seeds: found, not found, and many behind one name."""

from chordial_node.adapters.dns import resolve
from chordial_node.config import Endpoint
from tests.node.adapters.overlay_rig import on_both_loops


@on_both_loops
async def test_a_name_stands_for_its_addresses_each_with_the_port_of_the_seed() -> None:
    found = await resolve((Endpoint("127.0.19713", 6084), Endpoint("127.0.19714", 7084)))
    assert found == (("127.0.77.1", 6084), ("127.0.77.2", 7084))


@on_both_loops
async def test_a_name_that_nobody_knows_is_no_answer() -> None:
    assert await resolve((Endpoint("nobody.invalid", 6084),)) is None
    assert await resolve((Endpoint(".".join(["a" * 70] * 2), 6084),)) is None
    found = await resolve((Endpoint("nobody.invalid", 6084), Endpoint("127.0.19713", 6084)))
    assert found == (("127.0.77.1", 6084),)
