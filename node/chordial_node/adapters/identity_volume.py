"""Who a peer in a pod is, kept on its volume: key, certificate, authorities, configuration.

Each file is written whole and fsynced, the certificate last: a pod that returns with its volume
needs nobody (fleet H7). A peer whose identity runs elsewhere has `next.key` there, until there is a
certificate for it. What is of another overlay, founding or Node-ID is refused with a clear
error and never deleted or overwritten. What a newer configuration must prove is checked here,
before it is kept.
"""

import os
from pathlib import Path

import msgspec

from chordial_node.boundary.enrollment import Enrolled
from chordial_node.ids import NodeId
from chordial_node.security.authority import make_private_key, public_key_of
from chordial_node.security.certificates import Identity, IdentityError, Role, Trust
from chordial_node.security.configuration import (
    Configuration,
    ConfigurationError,
    open_configuration,
)
from chordial_node.security.signatures import SEED_LENGTH, Ed25519Signatures

NEXT_KEY = "next.key"
"""Of a peer whose key another process has as well."""


class VolumeError(Exception):
    """What lies on the volume cannot be used; the message says what is wrong and what to do."""


class NotEnrolledError(Exception):
    """There is no certificate that counts; the message says why, after `waiting for`."""


class AnswerError(ValueError):
    """What the authority answered is not what this peer may take; the message says why."""


class Expected(msgspec.Struct, frozen=True):
    """Who this pod is to be, as its StatefulSet and the overlay's bundle say."""

    overlay_name: str
    node: NodeId | None = None
    """None: whoever the certificate names."""
    instance_id: str = ""
    """Of the founding; empty: not known."""


class Held(msgspec.Struct, frozen=True):
    """An identity that counts."""

    identity: Identity
    configuration: Configuration
    enrolled_at: float
    failure_domain: str
    node_name: str
    """The Kubernetes Node that the failure domain was told for."""


class _About(msgspec.Struct, frozen=True):
    """What the authority told besides, and what it was told for."""

    failure_domain: str
    node_name: str
    enrolled_at: float
    bundle: str = ""
    """What the mounted bundle was then: another one is a reason to ask again."""
    listener_names: tuple[str, ...] = ()
    """What phones could call this peer then: the certificate of its listeners names it."""


class IdentityVolume:
    """The folder of one peer's identity."""

    def __init__(self, folder: Path, expected: Expected) -> None:
        self._folder = folder
        self._expected = expected
        self._verifier = Ed25519Signatures(bytes(SEED_LENGTH))

    @property
    def bundle(self) -> str:
        """What the mounted bundle was at the last enrollment."""
        about = self._about()
        return about.bundle if about is not None else ""

    @property
    def listener_names(self) -> tuple[str, ...]:
        """What phones could call this peer at the last enrollment."""
        about = self._about()
        return about.listener_names if about is not None else ()

    @property
    def sequence(self) -> int:
        """Of the configuration that lies there, told to the running peer perhaps; 0: none does."""
        try:
            present = self._read("configuration.json")
            return self._configuration(present).sequence if present is not None else 0
        except VolumeError:  # the next enrollment says what is wrong
            return 0

    @property
    def is_superseded(self) -> bool:
        """Whether another process has taken this identity, and there is no new certificate yet."""
        return self._read(NEXT_KEY) is not None

    def supersede(self) -> None:
        """Give up the key that another process has as well; the next certificate is for a new one.

        That stands on the volume first: a pod that is made again must not show the old one.
        """
        self._key(NEXT_KEY)

    def private_key(self) -> bytes:
        """Return this peer's key, made once; VolumeError when the volume cannot be used."""
        return self._key(NEXT_KEY if self.is_superseded else "private.key")

    def listener_key(self) -> bytes:
        """Return the key of TLS listeners that have no certificate of a Secret."""
        return self._key("listener.key")

    def load(self, now: float) -> Held:
        """Return the identity that counts.

        NotEnrolledError says why there is none yet, or none any more; VolumeError refuses what
        belongs to somebody else.
        """
        if self.is_superseded:
            raise NotEnrolledError("a later life took the identity that the volume holds")
        certificate = self._read("certificate.pem")
        about = self._about()
        if certificate is None or about is None:
            raise NotEnrolledError("the volume holds none")
        trusted = self._read("trusted.pem") or b""
        configuration = self._configuration(self._read("configuration.json") or b"")
        shown = self._shown(certificate, trusted, now)
        return Held(shown, configuration, about.enrolled_at, about.failure_domain, about.node_name)

    def keep(
        self,
        enrolled: Enrolled,
        node_name: str,
        bundle: str,
        now: float,
        listener_names: tuple[str, ...] = (),
    ) -> Held:
        """Check what the authority answered and keep it; AnswerError says why it is not taken."""
        try:
            trust = Trust(self._expected.overlay_name, enrolled.trusted)
            shown = trust.identity_of(enrolled.certificate, now, (Role.PEER,))
        except ValueError as error:  # IdentityError is one
            raise AnswerError(f"the certificate in the answer cannot be used: {error}") from error
        self._check_shown(shown)
        configuration = self._newer(enrolled.configuration)
        files = {
            "trusted.pem": enrolled.trusted,
            "overlay-keys.json": enrolled.overlay_keys,
            "configuration.json": enrolled.configuration,
            "about.json": msgspec.json.encode(
                _About(enrolled.failure_domain, node_name, now, bundle, listener_names)
            ),
        }
        if enrolled.listener_certificate:
            files["listener.pem"] = enrolled.listener_certificate
        for name, data in files.items():
            self._write(name, data)
        self._take_next_key()
        self._write("certificate.pem", enrolled.certificate)
        return Held(shown, configuration, now, enrolled.failure_domain, node_name)

    # checks

    def _shown(self, certificate: bytes, trusted: bytes, now: float) -> Identity:
        try:
            trust = Trust(self._expected.overlay_name, trusted)
            shown = trust.identity_of(certificate, now, (Role.PEER,))
        except IdentityError as error:
            if error.refusal in ("expired", "not_yet_valid"):
                raise NotEnrolledError(str(error)) from error
            raise self._foreign(str(error)) from error
        except ValueError as error:
            raise self._foreign(f"trusted.pem cannot be used: {error}") from error
        expected = self._expected.node
        if expected is not None and shown.node_id != expected:
            found = shown.node_id.hex() if shown.node_id else "none"
            raise self._foreign(f"it is of Node-ID {found}, this peer is {expected.hex()}")
        if public_key_of(self.private_key()) != shown.public_key:
            raise self._foreign("its private key is not the key of its certificate")
        return shown

    def _check_shown(self, shown: Identity) -> None:
        expected = self._expected.node
        if expected is not None and shown.node_id != expected:
            found = shown.node_id.hex() if shown.node_id else "none"
            raise AnswerError(
                f"the certificate is for Node-ID {found}, this peer is {expected.hex()}"
            )
        if public_key_of(self.private_key()) != shown.public_key:
            raise AnswerError("the certificate is for another key than the one asked for")

    def _configuration(self, signed: bytes) -> Configuration:
        try:
            found = open_configuration(self._verifier, signed, self._expected.overlay_name)
        except ConfigurationError as error:
            raise self._foreign(str(error)) from error
        if self._expected.instance_id not in ("", found.instance_id):
            raise self._foreign(
                f"it is of founding {found.instance_id} of the overlay,"
                f" which is now {self._expected.instance_id}"
            )
        return found

    def _newer(self, signed: bytes) -> Configuration:
        """Return a configuration that may follow the one that is held, by the same signer."""
        present = self._read("configuration.json")
        held = self._configuration(present) if present is not None else None
        try:
            found = open_configuration(
                self._verifier,
                signed,
                self._expected.overlay_name,
                held.signer if held is not None else "",
            )
        except ConfigurationError as error:
            raise AnswerError(str(error)) from error
        if self._expected.instance_id not in ("", found.instance_id):
            raise AnswerError(
                f"the configuration is of founding {found.instance_id} of the overlay,"
                f" the bundle of {self._expected.instance_id}"
            )
        if held is not None and found.instance_id != held.instance_id:
            raise self._foreign(f"the overlay is founded anew, as {found.instance_id}")
        if held is not None and found.sequence < held.sequence:
            raise AnswerError(
                f"the configuration is older ({found.sequence}) than the one held ({held.sequence})"
            )
        return found

    def _foreign(self, reason: str) -> VolumeError:
        return VolumeError(
            f"the identity in {self._folder} is not to be used: {reason}; nothing was changed."
            " Give this peer the volume that is its own, or an empty one"
        )

    # files

    def _about(self) -> _About | None:
        text = self._read("about.json")
        try:
            return None if text is None else msgspec.json.decode(text, type=_About)
        except msgspec.MsgspecError:
            return None

    def _take_next_key(self) -> None:
        """Let the new key be the key; the old certificate goes first, for it is of the old one."""
        key = self._read(NEXT_KEY)
        if key is None:
            return
        try:
            (self._folder / "certificate.pem").unlink(missing_ok=True)
            self._write("private.key", key)
            (self._folder / NEXT_KEY).unlink()
        except OSError as error:
            raise VolumeError(f"{self._folder} cannot be written: {error.strerror}") from error

    def _key(self, name: str) -> bytes:
        found = self._read(name)
        if found is None:
            found = make_private_key()
            self._write(name, found)
        try:
            public_key_of(found)
        except ValueError as error:
            raise self._foreign(f"{name}: {error}") from error
        return found

    def _read(self, name: str) -> bytes | None:
        path = self._folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VolumeError(f"{path} cannot be read: {error.strerror}") from error

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_name(f".{name}.part")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise VolumeError(
                f"{path} cannot be written: {error.strerror};"
                " the volume must be writable by the user that the container runs as"
            ) from error
