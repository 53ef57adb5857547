"""Names that several parts make or read must fit each other."""

import pytest

from chordial_node.pod_config import PodPaths
from chordial_operator import names


@pytest.mark.parametrize(
    ("set_name", "peer", "number"),
    [
        ("edge", "edge-3", 3),
        ("edge", "edge-0", 0),
        ("edge-2", "edge-2-10", 10),
        ("edge", "edge-2-10", None),
        ("edge", "edge", None),
        ("edge", "edge-03", None),
        ("edge", "edge-x", None),
        ("edge", "seed-1", None),
    ],
)
def test_reads_the_number_in_a_peers_name(set_name: str, peer: str, number: int | None) -> None:
    assert names.peer_number(set_name, peer) == number
    if number is not None:
        assert names.peer_name(set_name, number) == peer


def test_the_pod_finds_what_the_operator_mounts() -> None:
    paths = PodPaths()
    assert paths.config == f"{names.CONFIG_DIR}/{names.CONFIG_KEY}"
    assert paths.bundle == names.BUNDLE_DIR
    assert paths.token == f"{names.TOKEN_DIR}/{names.TOKEN_KEY}"
    assert paths.state == names.STATE_DIR
    assert paths.listener("sips")[0] == f"{names.TLS_DIR}/sips/tls.crt"


def test_the_selector_of_a_set_is_plain() -> None:
    """An HPA refuses `!=`, and two HPAs with overlapping selectors stop each other (fleet H12)."""
    selector = names.set_selector("voice", "edge")
    assert selector == "chordial.dev/set=edge,chordial.dev/overlay=voice"
