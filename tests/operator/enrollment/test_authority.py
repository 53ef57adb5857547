"""What an overlay's authority is made of: names, founders, and what peers are given."""

import msgspec
import pytest

from chordial_node.ids import distance
from chordial_node.security.certificates import Trust
from chordial_node.security.configuration import open_configuration
from chordial_node.security.signatures import Ed25519Signatures
from chordial_operator.enrollment.authority import (
    AuthorityPhase,
    draw_serial,
    open_authority,
    overlay_name_of,
    spread_founders,
)
from tests.operator.enrollment.records import DAY, NOW, OVERLAY, made, seeded


def test_an_overlay_is_named_after_namespace_and_name() -> None:
    assert overlay_name_of("phones", "voice") == OVERLAY


def test_a_name_too_long_is_cut_and_stays_one_of_its_kind() -> None:
    one = overlay_name_of("phones", "v" * 80)
    other = overlay_name_of("phones", "v" * 81)
    assert len(one) == len(other) == 64
    assert one != other
    assert Trust(one, made().roots).overlay_name == one


@pytest.mark.parametrize("count", [4, 5, 17])
def test_founders_divide_the_ring_evenly_from_a_random_start(count: int) -> None:
    founders = spread_founders(count, seeded()(16))
    ordered = sorted(founders)
    gaps = [distance(a, b) for a, b in zip(ordered, [*ordered[1:], ordered[0]], strict=True)]
    assert len(founders) == count
    assert max(gaps) - min(gaps) <= count
    assert founders != spread_founders(count, seeded(2)(16))


def test_peers_believe_the_configuration_and_find_the_founders_in_it() -> None:
    record = made()
    identity, _ = open_authority(record)
    said = open_configuration(Ed25519Signatures(bytes(32)), identity.configuration, OVERLAY)
    assert said.founders == tuple(node.hex() for node in record.founders)
    assert (said.instance_id, said.sequence, said.revoked) == (record.instance_id, 1, ())


def test_what_may_be_told_names_the_end_the_phase_and_the_keys() -> None:
    identity, secrets = open_authority(made())
    assert identity.phase is AuthorityPhase.STEADY
    assert identity.not_after == pytest.approx(NOW + 3650 * DAY, abs=1)
    assert identity.key_numbers == (1,)
    assert msgspec.json.decode(secrets.keys_json)["current"] == 1


def test_no_secret_has_a_text_form() -> None:
    record = made()
    identity, secrets = open_authority(record)
    told = f"{record!r} {record.current!r} {identity!r} {secrets!r} {record.keys!r}"
    assert "PRIVATE" not in told
    assert record.signer_seed.hex() not in told
    assert repr(record.signer_seed) not in told
    assert record.keys[0].secret.hex() not in told
    assert repr(record.keys[0].secret) not in told


def test_serial_numbers_are_long_and_fit() -> None:
    draw = seeded()
    numbers = [draw_serial(draw) for _ in range(100)]
    assert len({*numbers}) == 100
    assert all(126 < number.bit_length() < 128 for number in numbers)
