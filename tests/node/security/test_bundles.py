"""The hash of a bundle changes with each step of a rotation, and tells nothing secret."""

from chordial_node.security.bundles import bundle_hash
from tests.node.security.issued import make_authority

OLD = make_authority().certificate
NEW = make_authority().certificate


def test_the_hash_is_the_same_for_the_same_bundle() -> None:
    assert bundle_hash(OLD, (1,)) == bundle_hash(OLD + b"\n", (1,))


def test_every_step_of_a_rotation_has_another_hash() -> None:
    """Who signs stands first: a changed order is a step of its own."""
    steps = [(OLD, (1,)), (OLD + NEW, (1,)), (NEW + OLD, (1,)), (NEW, (1,)), (NEW, (1, 2)),
             (NEW, (2, 1))]  # fmt: skip
    assert len({bundle_hash(authorities, numbers) for authorities, numbers in steps}) == len(steps)
