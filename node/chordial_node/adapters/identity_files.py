"""Who this peer is: PEM files and the overlay's keys, read once at start and checked together.

What a certificate or key means is `security`'s affair; here every problem gets the name of the
field and the file, and what to do.
"""

import os
from pathlib import Path

import msgspec

from chordial_node.config import ConfigError, IdentityConfig
from chordial_node.ids import NodeId
from chordial_node.security.authority import public_key_of
from chordial_node.security.bundles import bundle_hash
from chordial_node.security.certificates import IdentityError, Role, TlsCredentials, Trust
from chordial_node.security.configuration import ConfigurationError, open_configuration
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.security.signatures import SEED_LENGTH, Ed25519Signatures


class PeerIdentity(msgspec.Struct, frozen=True):
    """What the files say, checked."""

    node: NodeId
    credentials: TlsCredentials
    trust: Trust
    keys: KeyRing
    not_after: float
    """Unix time at which the certificate ends."""
    revoked: tuple[NodeId, ...] = ()

    @property
    def bundle_hash(self) -> str:
        """What rotations wait for."""
        return bundle_hash(self.credentials.authorities, self.keys.numbers)


class _KeysFile(msgspec.Struct, forbid_unknown_fields=True):
    current: int
    keys: dict[str, str]


def read_identity(identity: IdentityConfig, overlay_name: str, now: float) -> PeerIdentity:
    """Return who this peer is; ConfigError names every file that cannot be used, and why."""
    problems: list[str] = []
    certificate = _read("identity.certificate", identity.certificate, problems)
    private_key = _read("identity.key", identity.key, problems)
    trusted = _read("identity.trusted", identity.trusted, problems)
    keys_text = _read("identity.overlay_keys", identity.overlay_keys, problems)
    signed = b""
    if identity.configuration:
        signed = _read("identity.configuration", identity.configuration, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    revoked, keys = _shut_out(identity.configuration, overlay_name, signed)
    trust = _trust(identity.trusted, overlay_name, trusted, revoked, keys)
    try:
        shown = trust.identity_of(certificate, now, (Role.PEER,))
    except IdentityError as error:
        raise ConfigError(f"identity.certificate {identity.certificate}: {error}") from error
    try:
        public_key = public_key_of(private_key)
    except ValueError as error:
        raise ConfigError(f"identity.key {identity.key}: {error}") from error
    if public_key != shown.public_key:
        raise ConfigError(
            f"identity.key {identity.key} is not the key of the certificate"
            f" {identity.certificate}: put the two that were made together side by side"
        )
    assert shown.node_id is not None
    return PeerIdentity(
        node=shown.node_id,
        credentials=TlsCredentials(certificate, private_key, trusted),
        trust=trust,
        keys=_key_ring(identity.overlay_keys, overlay_name, keys_text),
        not_after=shown.not_after,
        revoked=revoked,
    )


def take_configuration(identity: IdentityConfig, overlay_name: str, signed: bytes) -> bool:
    """Keep a newer configuration of the same founding and signer; tell whether it is newer.

    ConfigError says why it is not believed, or cannot be kept. It stands on the disk when this
    returns: who was shut out stays so after a restart.
    """
    if not identity.configuration:
        raise ConfigError("this peer was started without identity.configuration")
    problems: list[str] = []
    held_text = _read("identity.configuration", identity.configuration, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    verifier = Ed25519Signatures(bytes(SEED_LENGTH))
    try:
        held = open_configuration(verifier, held_text, overlay_name)
        found = open_configuration(verifier, signed, overlay_name, held.signer)
    except ConfigurationError as error:
        raise ConfigError(str(error)) from error
    if found.instance_id != held.instance_id:
        raise ConfigError(f"the configuration is of another founding, {found.instance_id}")
    if found.sequence <= held.sequence:
        return False
    _replace(Path(identity.configuration), signed)
    return True


def _replace(path: Path, data: bytes) -> None:
    try:
        part = path.with_name(f".{path.name}.told")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def read_overlay_keys(path: str, overlay_name: str) -> KeyRing:
    """Read the overlay's numbered keys alone; ConfigError says what is wrong."""
    problems: list[str] = []
    text = _read("overlay keys", path, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    return _key_ring(path, overlay_name, text)


def _read(field: str, path: str, problems: list[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        problems.append(f"{field}: {path or 'an empty path'} cannot be read: {error.strerror}")
        return b""


def _shut_out(
    path: str, overlay_name: str, signed: bytes
) -> tuple[tuple[NodeId, ...], dict[NodeId, str]]:
    """Return who was revoked, and whose other keys count no more."""
    if not signed:
        return (), {}
    verifier = Ed25519Signatures(bytes(SEED_LENGTH))
    try:
        configuration = open_configuration(verifier, signed, overlay_name)
        return configuration.revoked_ids, configuration.keys_by_id
    except ConfigurationError as error:
        raise ConfigError(f"identity.configuration {path}: {error}") from error


def _trust(
    path: str,
    overlay_name: str,
    bundle: bytes,
    revoked: tuple[NodeId, ...],
    keys: dict[NodeId, str],
) -> Trust:
    try:
        return Trust(overlay_name, bundle, revoked, keys)
    except ValueError as error:
        raise ConfigError(f"identity.trusted {path}: {error}") from error


def _key_ring(path: str, overlay_name: str, text: bytes) -> KeyRing:
    try:
        file = msgspec.json.decode(text, type=_KeysFile)
        by_number = {
            int(number): OverlayKey(int(number), bytes.fromhex(secret))
            for number, secret in file.keys.items()
        }
        present = by_number.pop(file.current)
        return KeyRing(overlay_name, [present, *by_number.values()])
    except KeyError as error:
        raise ConfigError(
            f"identity.overlay_keys {path}: the current key, number {error}, is not among its keys"
        ) from error
    except ValueError as error:  # msgspec's errors are
        raise ConfigError(
            f"identity.overlay_keys {path}: {error};"
            ' expected is {"current": 1, "keys": {"1": "64 HEX DIGITS"}}'
        ) from error
