"""The signed configuration of an overlay: who may say who founds it and who is shut out."""

import msgspec
import pytest

from chordial_node.security.configuration import (
    Configuration,
    ConfigurationError,
    open_configuration,
    sign_configuration,
)
from chordial_node.security.signatures import Ed25519Signatures

SIGNER = Ed25519Signatures(b"s" * 32)
CONFIGURATION = Configuration(
    overlay_name="phones.voice",
    instance_id="i1",
    sequence=3,
    founders=("11" * 16, "22" * 16),
    signer=SIGNER.public_key.hex(),
    revoked=("33" * 16,),
)


def test_what_was_signed_is_opened_with_and_without_a_known_signer() -> None:
    signed = sign_configuration(SIGNER, CONFIGURATION)
    assert open_configuration(SIGNER, signed, "phones.voice") == CONFIGURATION
    opened = open_configuration(SIGNER, signed, "phones.voice", SIGNER.public_key.hex())
    assert opened.revoked_ids == (b"\x33" * 16,)


def test_a_configuration_of_another_overlay_is_refused() -> None:
    signed = sign_configuration(SIGNER, CONFIGURATION)
    with pytest.raises(ConfigurationError, match=r"of overlay 'phones\.voice', not 'other'"):
        open_configuration(SIGNER, signed, "other")


def test_another_signer_than_the_first_is_refused() -> None:
    thief = Ed25519Signatures(b"t" * 32)
    forged = msgspec.structs.replace(CONFIGURATION, signer=thief.public_key.hex())
    signed = sign_configuration(thief, forged)
    with pytest.raises(ConfigurationError, match="somebody else"):
        open_configuration(SIGNER, signed, "phones.voice", SIGNER.public_key.hex())


def test_a_changed_configuration_is_refused() -> None:
    signed = sign_configuration(SIGNER, CONFIGURATION).replace(b"11" * 16, b"44" * 16)
    with pytest.raises(ConfigurationError, match="it was changed"):
        open_configuration(SIGNER, signed, "phones.voice")


@pytest.mark.parametrize("text", [b"", b"{}", b'{"document": "x", "signature": ""}', b"\xff"])
def test_what_is_no_configuration_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no signed configuration"):
        open_configuration(SIGNER, text, "phones.voice")


def test_a_configuration_must_name_who_signs_it() -> None:
    with pytest.raises(ValueError, match="names the key that signs it"):
        sign_configuration(Ed25519Signatures(b"t" * 32), CONFIGURATION)
