"""How an overlay's authority lies in a Secret of the operator's namespace, and comes out again.

The Secret is the overlay's one backup: without it no peer can be added and none renewed. It has no
owner, so that it survives the Overlay (fleet H21). Reading names every problem at once, and never a
secret. Pure; nothing here asks the API server.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping

import msgspec
from cryptography import x509

from chordial_node.ids import NodeId, node_id
from chordial_node.security.authority import Authority
from chordial_node.security.certificates import IdentityError, Trust, read_certificate
from chordial_node.security.derived_keys import MOST_KEYS, OverlayKey
from chordial_node.security.signatures import SEED_LENGTH
from chordial_operator.enrollment.authority import (
    AuthorityError,
    AuthorityRecord,
    CaPair,
    PeerKey,
    keys_document,
)
from chordial_operator.names import (
    APPLICATION,
    COMPONENT_LABEL,
    FIELD_MANAGER,
    GROUP,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OVERLAY_LABEL,
    authority_secret_name,
)
from chordial_operator.spec.manifest import Manifest

FORMAT = 1
MOST_NAME_LENGTH = 253
COMPONENT = "certificate-authority"
_MARK_BYTES = 8
_LABEL_LENGTH = 63


class SecretBody(msgspec.Struct, frozen=True):
    """The part of a Secret that is read."""

    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return "SecretBody()"


class _PeerKey(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    node: str
    key_hash: str
    until: int


class _State(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`overlay.json`: what is no secret."""

    format: int
    overlay_name: str
    instance_id: str
    founders: tuple[str, ...]
    founded_at: float = 0.0
    sequence: int = 1
    revoked: tuple[str, ...] = ()
    wants_key: bool = False
    rotation: str = ""
    peer_keys: tuple[_PeerKey, ...] = ()


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: int
    keys: dict[str, str]

    def __repr__(self) -> str:
        return "_Keys()"


def secret_name(namespace: str, name: str) -> str:
    """Return the name of the Secret of an Overlay's authority; one too long is cut and marked."""
    whole = authority_secret_name(namespace, name)
    mark = hashlib.blake2b(f"{namespace}/{name}".encode(), digest_size=_MARK_BYTES).hexdigest()
    if len(whole) <= MOST_NAME_LENGTH:
        return whole
    return f"{whole[: MOST_NAME_LENGTH - len(mark) - 1].rstrip('-.')}-{mark}"


def encode_data(values: Mapping[str, bytes]) -> dict[str, str]:
    """Return a Secret's data from bytes."""
    return {key: base64.b64encode(value).decode() for key, value in values.items()}


def decode_data(secret: Mapping[str, object]) -> dict[str, bytes]:
    """Return a Secret's data as bytes; AuthorityError when it is not one that an API server has."""
    try:
        body = msgspec.convert(dict(secret), SecretBody)
        return {
            key: base64.b64decode(value, validate=True) for key, value in (body.data or {}).items()
        }
    except (msgspec.ValidationError, binascii.Error) as error:
        raise AuthorityError("the Secret's data is not base64 by key") from error


def authority_secret(
    record: AuthorityRecord, operator_namespace: str, namespace: str, name: str
) -> Manifest:
    """Return the Secret that keeps an overlay's authority."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret_name(namespace, name),
            "namespace": operator_namespace,
            "labels": _labels(namespace, name),
            "annotations": {OVERLAY_LABEL: f"{namespace}/{name}"},
        },
        "data": encode_data(_files(record)),
    }


def read_authority(secret: Mapping[str, object], overlay_name: str) -> AuthorityRecord:
    """Return the authority that a Secret keeps; AuthorityError names every problem in it."""
    files = decode_data(secret)
    problems: list[str] = []
    state = _read_state(files, overlay_name, problems)
    keys = _read_keys(files, problems)
    current = _read_pair(files, "ca", overlay_name, problems)
    if current is None and "ca.crt" not in files and "ca.key" not in files:
        problems.append("ca.crt and ca.key are missing")
    following = _read_pair(files, "next", overlay_name, problems)
    old = files.get("old.crt", b"")
    if old and following is not None:
        problems.append("there are both next.crt and old.crt: at most two authorities are trusted")
    if old and not _is_authority(overlay_name, old):
        problems.append("old.crt is not the certificate of an authority")
    seed = files.get("signer.seed", b"")
    if len(seed) != SEED_LENGTH:
        problems.append(f"signer.seed has {len(seed)} bytes instead of {SEED_LENGTH}")
    if problems or state is None or current is None:
        raise AuthorityError(
            f"{'; '.join(problems)}: restore the Secret from its backup"
            " (docs/how-to/back-up-the-ca.md)"
        )
    return AuthorityRecord(
        overlay_name=state.overlay_name,
        instance_id=state.instance_id,
        founders=_node_ids(state.founders),
        founded_at=state.founded_at,
        sequence=state.sequence,
        revoked=_node_ids(state.revoked),
        peer_keys=tuple(
            PeerKey(node_id(each.node), each.key_hash, each.until) for each in state.peer_keys
        ),
        current=current,
        next=following,
        old=old,
        signer_seed=seed,
        keys=keys,
        wants_key=state.wants_key,
        rotation=state.rotation,
    )


def read_own_ca(secret: Mapping[str, object], overlay_name: str, now: float) -> CaPair:
    """Return the authority that somebody brings along in a `kubernetes.io/tls` Secret."""
    files = decode_data(secret)
    problems = [
        f"{key} is missing: the Secret of a certificate authority has tls.crt and tls.key"
        for key in ("tls.crt", "tls.key")
        if not files.get(key)
    ]
    if problems:
        raise AuthorityError("; ".join(problems))
    try:
        authority = Authority(overlay_name, files["tls.crt"], files["tls.key"])
    except ValueError as error:
        raise AuthorityError(f"tls.crt and tls.key: {error}") from error
    certificate = read_certificate(authority.certificate)
    if not _is_authority(overlay_name, authority.certificate):
        problems.append("tls.crt is not a certificate authority's (basicConstraints CA:TRUE)")
    if certificate.issuer != certificate.subject:
        problems.append("tls.crt was signed by another authority: bring a root, which signs itself")
    if not _signs_certificates(certificate):
        problems.append("tls.crt may not sign certificates (keyUsage keyCertSign)")
    if authority.not_after <= now:
        problems.append(f"tls.crt ended at {certificate.not_valid_after_utc.isoformat()}")
    if authority.not_before > now:
        problems.append(f"tls.crt begins at {certificate.not_valid_before_utc.isoformat()}")
    if problems:
        raise AuthorityError("; ".join(problems))
    return CaPair(authority.certificate, authority.private_key)


def _labels(namespace: str, name: str) -> dict[str, str]:
    labels = {
        NAME_LABEL: APPLICATION,
        COMPONENT_LABEL: COMPONENT,
        MANAGED_BY_LABEL: FIELD_MANAGER,
    }
    if len(name) <= _LABEL_LENGTH:
        labels[OVERLAY_LABEL] = name
        labels[f"{GROUP}/overlay-namespace"] = namespace
    return labels


def _files(record: AuthorityRecord) -> dict[str, bytes]:
    state = _State(
        format=FORMAT,
        overlay_name=record.overlay_name,
        instance_id=record.instance_id,
        founders=tuple(node.hex() for node in record.founders),
        founded_at=record.founded_at,
        sequence=record.sequence,
        revoked=tuple(node.hex() for node in record.revoked),
        wants_key=record.wants_key,
        rotation=record.rotation,
        peer_keys=tuple(
            _PeerKey(each.node.hex(), each.key_hash, each.until) for each in record.peer_keys
        ),
    )
    files = {
        "overlay.json": msgspec.json.encode(state),
        "overlay-keys.json": keys_document(record.keys),
        "signer.seed": record.signer_seed,
        "ca.crt": record.current.certificate,
        "ca.key": record.current.private_key,
    }
    if record.next is not None:
        files |= {"next.crt": record.next.certificate, "next.key": record.next.private_key}
    if record.old:
        files["old.crt"] = record.old
    return files


def _read_state(
    files: Mapping[str, bytes], overlay_name: str, problems: list[str]
) -> _State | None:
    try:
        state = msgspec.json.decode(files["overlay.json"], type=_State)
        founders = _node_ids(state.founders)
        _node_ids(state.revoked)
        _node_ids(tuple(each.node for each in state.peer_keys))
    except KeyError:
        problems.append("overlay.json is missing")
        return None
    except ValueError as error:  # msgspec's errors are
        problems.append(f"overlay.json: {error}")
        return None
    if state.format != FORMAT:
        problems.append(
            f"overlay.json has format {state.format}, this operator reads {FORMAT}:"
            " a newer operator wrote it"
        )
    if state.overlay_name != overlay_name:
        problems.append(
            f"overlay.json is of overlay {state.overlay_name!r}, expected was {overlay_name!r}"
        )
    if not founders or not state.instance_id:
        problems.append("overlay.json names no founders or no instance id")
    return state


def _read_keys(files: Mapping[str, bytes], problems: list[str]) -> tuple[OverlayKey, ...]:
    try:
        document = msgspec.json.decode(files["overlay-keys.json"], type=_Keys)
        by_number = {
            int(number): OverlayKey(int(number), bytes.fromhex(secret))
            for number, secret in document.keys.items()
        }
        present = by_number.pop(document.current)
    except KeyError as error:
        missing = "is missing" if error.args == ("overlay-keys.json",) else "lacks its present key"
        problems.append(f"overlay-keys.json {missing}")
        return ()
    except ValueError:  # its message may quote a key
        problems.append('overlay-keys.json is not {"current": 1, "keys": {"1": "64 HEX DIGITS"}}')
        return ()
    if len(by_number) >= MOST_KEYS:
        problems.append(f"overlay-keys.json has more than {MOST_KEYS} keys")
    return (present, *by_number.values())


def _read_pair(
    files: Mapping[str, bytes], stem: str, overlay_name: str, problems: list[str]
) -> CaPair | None:
    certificate, private_key = files.get(f"{stem}.crt", b""), files.get(f"{stem}.key", b"")
    if not certificate and not private_key:
        return None
    try:
        Authority(overlay_name, certificate, private_key)
    except ValueError as error:
        problems.append(f"{stem}.crt and {stem}.key: {error}")
        return None
    if not _is_authority(overlay_name, certificate):
        problems.append(f"{stem}.crt is not the certificate of an authority")
        return None
    return CaPair(certificate, private_key)


def _is_authority(overlay_name: str, certificate: bytes) -> bool:
    try:
        Trust(overlay_name, certificate)
    except (ValueError, IdentityError):
        return False
    return True


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return True
    return usage.value.key_cert_sign


def _node_ids(texts: tuple[str, ...]) -> tuple[NodeId, ...]:
    return tuple(node_id(text) for text in texts)
