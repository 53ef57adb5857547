"""The overlay's configuration, signed: founders, revoked peers and keys (RFC 6940 §11.1, narrowed).

Peers keep it on disk and believe a newer one only from the signer that the first one named. Who
sends it is not looked at: the signature counts. No file or socket belongs here.
"""

import msgspec

from chordial_node.ids import NodeId, node_id
from chordial_node.security.signatures import Purpose, Signatures


class ConfigurationError(ValueError):
    """The configuration cannot be believed; the message says why, for a log."""


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What only the overlay's authority may say."""

    overlay_name: str
    instance_id: str
    """Of this founding of the overlay; another one shares nothing with it."""
    sequence: int
    """A greater one replaces a lesser one."""
    founders: tuple[str, ...]
    """Node-IDs, hexadecimal, whose strict majority may form a ring where none is."""
    signer: str
    """Public key (Ed25519, hexadecimal) of who signed this and may sign the next one."""
    revoked: tuple[str, ...] = ()
    """Node-IDs, hexadecimal, whose certificates count no more (`bad-node`)."""

    keys: dict[str, str] = {}
    """By Node-ID, hexadecimal: SHA-256 of the one public key that counts, others are superseded."""

    @property
    def keys_by_id(self) -> dict[NodeId, str]:
        """The one key of each peer whose other keys were superseded."""
        return {node_id(text): key_hash for text, key_hash in self.keys.items()}

    @property
    def revoked_ids(self) -> tuple[NodeId, ...]:
        """The revoked peers."""
        return tuple(node_id(text) for text in self.revoked)


class _Signed(msgspec.Struct, frozen=True):
    document: str
    signature: str


def sign_configuration(signatures: Signatures, configuration: Configuration) -> bytes:
    """Return a configuration with its signature, JSON; its `signer` must be who signs."""
    if configuration.signer != signatures.public_key.hex():
        raise ValueError("a configuration names the key that signs it")
    document = msgspec.json.encode(configuration)
    signature = signatures.sign(Purpose.CONFIGURATION, document)
    return msgspec.json.encode(_Signed(document.decode(), signature.hex()))


def open_configuration(
    signatures: Signatures, signed: bytes, overlay_name: str, signer: str = ""
) -> Configuration:
    """Return what was signed; without a known signer the one it names is believed, the first time.

    ConfigurationError when it is of another overlay, another signer, or was changed.
    """
    try:
        held = msgspec.json.decode(signed, type=_Signed)
        configuration = msgspec.json.decode(held.document, type=Configuration)
        signature = bytes.fromhex(held.signature)
        public_key = bytes.fromhex(configuration.signer)
        texts = (*configuration.founders, *configuration.revoked, *configuration.keys)
        named = [node_id(text) for text in texts]
    except ValueError as error:  # msgspec's errors are
        raise ConfigurationError(f"this is no signed configuration: {error}") from error
    if configuration.overlay_name != overlay_name:
        raise ConfigurationError(
            f"the configuration is of overlay {configuration.overlay_name!r}, not {overlay_name!r}"
        )
    if signer and configuration.signer != signer:
        raise ConfigurationError("the configuration was signed by somebody else than the first one")
    if not signatures.verify(public_key, Purpose.CONFIGURATION, held.document.encode(), signature):
        raise ConfigurationError("the configuration's signature does not fit: it was changed")
    if not named:
        raise ConfigurationError("the configuration names no founders")
    return configuration
