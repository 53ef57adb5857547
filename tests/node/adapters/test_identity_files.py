"""Identity files: what is right is read whole, what is wrong is named with its field and file."""

import time
from pathlib import Path

import msgspec
import pytest

from chordial_node.adapters.identity_files import (
    PeerIdentity,
    read_identity,
    take_configuration,
)
from chordial_node.config import ConfigError, IdentityConfig
from chordial_node.security.certificates import Role
from chordial_node.security.configuration import Configuration, sign_configuration
from chordial_node.security.signatures import Ed25519Signatures
from tests.node.adapters.overlay_rig import NODES, OVERLAY, Issuer, Paper


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    content = {"current": 2, "keys": {"1": "00" * 32, "2": "11" * 32}}
    path.write_bytes(msgspec.json.encode(content))
    return path


def identity(paper: Paper, keys: Path, **changes: str) -> IdentityConfig:
    changed = {"overlay_keys": str(keys), **changes}
    return msgspec.structs.replace(paper.identity, **changed)


def read(config: IdentityConfig) -> PeerIdentity:
    return read_identity(config, OVERLAY, time.time())


def test_a_peer_is_read_whole(issuer: Issuer, keys: Path) -> None:
    found = read(identity(issuer.peer(NODES[1]), keys))
    assert found.node == NODES[1]
    assert found.keys.numbers == (2, 1)
    assert found.trust.overlay_name == OVERLAY


def test_every_missing_file_is_named_at_once(tmp_path: Path) -> None:
    missing = IdentityConfig(*(str(tmp_path / name) for name in ("a", "b", "c", "d")))
    with pytest.raises(ConfigError) as raised:
        read(missing)
    for field in ("certificate", "key", "trusted", "overlay_keys"):
        assert f"identity.{field}: {tmp_path}" in str(raised.value)


def test_a_key_of_another_certificate_is_named(issuer: Issuer, keys: Path) -> None:
    config = identity(issuer.peer(NODES[0]), keys, key=issuer.peer(NODES[1]).identity.key)
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        read(config)


def test_an_expired_certificate_and_another_role_are_named(issuer: Issuer, keys: Path) -> None:
    with pytest.raises(ConfigError, match=r"identity\.certificate .*: renew it"):
        read(identity(issuer.peer(NODES[0], expired=True), keys))
    with pytest.raises(ConfigError, match="needed is peer"):
        read(identity(issuer.user(Role.ADMIN), keys))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "expected is"),
        ('{"current": 3, "keys": {"1": "' + "00" * 32 + '"}}', "number 3, is not among its keys"),
        ('{"current": 1, "keys": {"1": "abcd"}}', "32 bytes, not 2"),
        ('{"current": 1, "keys": {"1": "xyz"}}', "non-hexadecimal"),
    ],
)
def test_overlay_keys_that_cannot_be_used_are_told(
    issuer: Issuer, keys: Path, text: str, told: str
) -> None:
    keys.write_text(text)
    with pytest.raises(ConfigError, match=told) as raised:
        read(identity(issuer.peer(NODES[0]), keys))
    assert str(keys) in str(raised.value)


SIGNER = Ed25519Signatures(b"s" * 32)


def signed(sequence: int, signer: Ed25519Signatures = SIGNER, instance: str = "aa") -> bytes:
    founders = (NODES[0].hex(),)
    revoked = (NODES[2].hex(),) if sequence > 1 else ()
    made = Configuration(OVERLAY, instance, sequence, founders, signer.public_key.hex(), revoked)
    return sign_configuration(signer, made)


@pytest.fixture
def configured(issuer: Issuer, keys: Path, tmp_path: Path) -> IdentityConfig:
    path = tmp_path / "configuration.json"
    path.write_bytes(signed(1))
    return identity(issuer.peer(NODES[1]), keys, configuration=str(path))


def test_a_newer_configuration_is_kept_and_shuts_out(configured: IdentityConfig) -> None:
    assert take_configuration(configured, OVERLAY, signed(2))
    assert Path(configured.configuration).read_bytes() == signed(2)
    assert read(configured).revoked == (NODES[2],)


def test_an_older_configuration_or_the_same_changes_nothing(configured: IdentityConfig) -> None:
    assert take_configuration(configured, OVERLAY, signed(3))
    for sequence in (2, 3):
        assert not take_configuration(configured, OVERLAY, signed(sequence))
    assert Path(configured.configuration).read_bytes() == signed(3)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (signed(2, Ed25519Signatures(b"o" * 32)), "signed by somebody else"),
        (signed(2, instance="bb"), "another founding"),
        (signed(2).replace(b"bb", b"cc", 1)[:-9] + signed(3)[-9:], "signature|no signed"),
        (b"nothing", "no signed configuration"),
    ],
    ids=["signer", "founding", "changed", "garbage"],
)
def test_what_the_authority_did_not_sign_is_not_believed(
    configured: IdentityConfig, told: bytes, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        take_configuration(configured, OVERLAY, told)
    assert Path(configured.configuration).read_bytes() == signed(1)


def test_a_peer_without_a_configuration_says_so(issuer: Issuer, keys: Path) -> None:
    with pytest.raises(ConfigError, match=r"started without identity\.configuration"):
        take_configuration(identity(issuer.peer(NODES[1]), keys), OVERLAY, signed(2))
