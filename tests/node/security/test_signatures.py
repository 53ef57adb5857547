"""Signatures: the real ones and the simulator's twin keep one contract; the real ones RFC 8032."""

import pytest

from chordial_node.security.signatures import (
    Ed25519Signatures,
    Purpose,
    Signatures,
    SimulatedSignatures,
)

SEED = bytes(range(32))


@pytest.fixture(params=[Ed25519Signatures, SimulatedSignatures])
def signatures(request: pytest.FixtureRequest) -> Signatures:
    made: Signatures = request.param(SEED)
    return made


def test_a_signature_counts_for_its_text_purpose_and_key_alone(signatures: Signatures) -> None:
    key = signatures.public_key
    signature = signatures.sign(Purpose.CONFIGURATION, b"text")
    assert len(signature) == 64
    assert signatures.verify(key, Purpose.CONFIGURATION, b"text", signature)
    assert not signatures.verify(key, Purpose.CONFIGURATION, b"text!", signature)
    assert not signatures.verify(key, Purpose.BAD_NODE, b"text", signature)
    assert not signatures.verify(bytes(32), Purpose.CONFIGURATION, b"text", signature)
    assert not signatures.verify(key, Purpose.CONFIGURATION, b"text", signature[:-1] + b"\0")


def test_the_same_text_always_gets_the_same_signature(signatures: Signatures) -> None:
    first = signatures.sign(Purpose.ANNOUNCEMENT, b"text")
    assert signatures.sign(Purpose.ANNOUNCEMENT, b"text") == first


@pytest.mark.parametrize("rubbish", [b"", b"short", bytes(64), bytes(65)])
def test_rubbish_counts_for_nothing(signatures: Signatures, rubbish: bytes) -> None:
    key = signatures.public_key
    assert not signatures.verify(key, Purpose.CREDENTIALS, b"text", rubbish)
    assert not signatures.verify(rubbish, Purpose.CREDENTIALS, b"text", bytes(64))


def test_rfc8032_public_key_of_the_first_test_vector() -> None:
    """RFC 8032 §7.1: the public key of TEST 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert Ed25519Signatures(seed).public_key.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        Ed25519Signatures(bytes(31))
