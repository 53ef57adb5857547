"""One turn of a SipUser: its password, read or made, becomes a sealed record in the overlay.

The password is never kept, logged or told: what was sent is remembered as a keyed hash in the
status. Of two SipUsers with one user the older wins. Deletions are found by `users`.
"""

import base64
import binascii
import hashlib

import msgspec

from chordial_node.boundary.control import Done, Refused, SetUser
from chordial_node.client import PeerUnreachableError
from chordial_node.security.credentials import Credentials, make_credentials, seal_credentials
from chordial_operator.cluster.errors import ConflictError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.enrollment.authority import AuthorityError, OverlayIdentity, OverlaySecrets
from chordial_operator.queue import SETTLED, Next
from chordial_operator.resources.objects import overlay_labels, owner
from chordial_operator.spec.manifest import InvalidSpecError, Manifest, SecretKeyRef
from chordial_operator.spec.overlay import Overlay, parse_referred_overlay
from chordial_operator.spec.sip_user import SipUser, parse_sip_user
from chordial_operator.status.hindrances import overlay_not_found
from chordial_operator.status.sip_user import UserFacts
from chordial_operator.turns.context import Context, NotReadyYetError, log
from chordial_operator.turns.reporting import report_user
from chordial_operator.turns.users import source_of

PASSWORD_KEY = "password"
SECRET_SECONDS = 300.0
"""How often a Secret is read again: it is read by name, and not watched (fleet H21)."""
MISSING_SECONDS = 10.0
REFUSED_SECONDS = 60.0
"""Where nobody answers at all, the comparison of users wakes this turn (see `users`)."""
NONCE_LENGTH = 12
_PASSWORD_BYTES = 15
_VERSION_BYTES = 16
_MOST_TRIES = 3


async def sip_user_turn(context: Context, body: Manifest) -> Next:
    """Bring one user's record into the overlay, and tell how it stands."""
    user = parse_sip_user(body)
    if user.meta.deletion:
        return SETTLED
    found = context.observed.one("Overlay", user.meta.namespace, user.overlay)
    if found is None:
        problem = overlay_not_found(user.overlay, user.meta.namespace)
        await report_user(context, user, body, UserFacts(overlay_problem=problem))
        return SETTLED
    overlay = parse_referred_overlay(found)
    facts = UserFacts(realm=_domain_of(user, overlay), secret_name=_secret_of(user).name)
    older = _older(context, user, overlay)
    if older:
        await report_user(context, user, body, _with(facts, older_user=older))
        return SETTLED
    if overlay.paused:
        return SETTLED
    try:
        password = await _password(context, user, overlay, body)
        sent = await _send(context, user, overlay, body, password)
    except _SecretProblemError as error:
        await report_user(context, user, body, _with(facts, secret_problem=str(error)))
        return Next(after=MISSING_SECONDS)
    except (_RecordProblemError, AuthorityError) as error:
        before = (body.get("status") or {}).get("observedSecretVersion", "")
        said = _with(facts, record_problem=str(error), secret_version=before)
        await report_user(context, user, body, said)
        return Next(after=REFUSED_SECONDS if context.peers(*_place(user)).reports else None)
    memory = context.memory(user.meta.namespace, user.overlay)
    contacts = memory.contacts.get(user.meta.name)
    await report_user(context, user, body, _with(facts, secret_version=sent, contacts=contacts))
    return Next(after=SECRET_SECONDS)


class _SecretProblemError(Exception):
    """The password cannot be had; says why."""


class _RecordProblemError(Exception):
    """The overlay has not taken the record; says why."""


def _with(facts: UserFacts, **changes: object) -> UserFacts:
    return msgspec.structs.replace(facts, **changes)


def _place(user: SipUser) -> tuple[str, str]:
    return user.meta.namespace, user.overlay


def _secret_of(user: SipUser) -> SecretKeyRef:
    return user.password_secret_ref or SecretKeyRef(user.generate or "", PASSWORD_KEY)


def _domain_of(user: SipUser, overlay: Overlay) -> str:
    return user.domain or overlay.realm


def _older(context: Context, user: SipUser, overlay: Overlay) -> str:
    """Return the name of an older SipUser with the same address; of two of one second by name."""
    own = (user.meta.creation, user.meta.name)
    wanted = user.user.lower()
    for body in context.observed.of("SipUser", user.meta.namespace, user.overlay):
        spec = body.get("spec") or {}
        if str(spec.get("user", "")).lower() != wanted:
            continue  # only namesakes are parsed: each of thousands of users looks at all of them
        try:
            other = parse_sip_user(body)
        except InvalidSpecError:
            continue
        is_same = _domain_of(other, overlay) == _domain_of(user, overlay)
        if is_same and (other.meta.creation, other.meta.name) < own:
            return other.meta.name
    return ""


async def _password(context: Context, user: SipUser, overlay: Overlay, body: Manifest) -> str:
    """Read the password; one that is to be made is made once, and never changed."""
    where = _secret_of(user)
    ref = Ref("Secret", user.meta.namespace, where.name)
    try:
        secret = await context.cluster.get(ref)
    except NotFoundError as error:
        if user.generate is None:
            raise _SecretProblemError(
                f"Secret {where.name} does not exist: create it with the key {where.key!r}"
            ) from error
        secret = await _make_secret(context, user, overlay, where.name)
        happening = Happening("PasswordMade", f"The password was written to Secret {where.name}.")
        await context.tell(body, happening)
    value = (secret.get("data") or {}).get(where.key)
    if not value:
        raise _SecretProblemError(f"Secret {where.name} has no key {where.key!r}: add it")
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        # the cause is left out: it holds the password
        raise _SecretProblemError(
            f"key {where.key!r} of Secret {where.name} is no UTF-8 text: write it again"
        ) from None


async def _make_secret(context: Context, user: SipUser, overlay: Overlay, name: str) -> Manifest:
    password = base64.b32encode(context.draw(_PASSWORD_BYTES)).decode().lower()
    domain = _domain_of(user, overlay)
    content = {
        "username": user.user,
        PASSWORD_KEY: password,
        "realm": domain,
        "address": f"sip:{user.user}@{domain}",
    }
    try:
        return await context.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {
                    "name": name,
                    "namespace": user.meta.namespace,
                    "labels": overlay_labels(user.overlay),
                    "ownerReferences": owner("SipUser", user.meta),
                },
                "data": {
                    key: base64.b64encode(value.encode()).decode() for key, value in content.items()
                },
            }
        )
    except ConflictError as error:
        raise NotReadyYetError(f"Secret {name} has just been made: {error}") from error


async def _send(
    context: Context, user: SipUser, overlay: Overlay, body: Manifest, password: str
) -> str:
    """Send the record unless the overlay has acknowledged just this one; return its mark."""
    domain = _domain_of(user, overlay)
    if domain not in overlay.domains:
        raise _RecordProblemError(
            f"Overlay {user.overlay} does not serve {domain}: add it to its spec.domains, or delete"
            " this SipUser."
        )
    identity, secrets = await context.store.open(overlay)
    most = user.max_contacts or overlay.limits.max_contacts_per_user
    credentials = make_credentials(
        user.user,
        domain,
        password,
        source=source_of(body),
        state=user.state.lower(),
        max_contacts=most,
        display_name=user.display_name,
    )
    version = _version(identity, secrets, credentials)
    memory = context.memory(user.meta.namespace, user.overlay)
    known = (body.get("status") or {}).get("observedSecretVersion", "")
    if known == version and user.meta.name not in memory.users_missing:
        return version
    sealed = seal_credentials(secrets.keys, credentials, context.draw(NONCE_LENGTH))
    await _set_user(context, user, SetUser(user.user, domain, sealed))
    memory.users_missing = tuple(each for each in memory.users_missing if each != user.meta.name)
    return version


async def _set_user(context: Context, user: SipUser, question: SetUser) -> None:
    peers = context.peers(user.meta.namespace, user.overlay)
    ready = sorted(name for name, report in peers.reports.items() if report.is_ready)
    if not ready:
        raise _RecordProblemError("No peer of the overlay is ready to take the record.")
    said = ""
    for name in ready[:_MOST_TRIES]:
        try:
            answer = await peers.ask(name, question)
        except PeerUnreachableError as error:
            # its words differ from peer to peer: in a status they would be a write each time
            log.info("%s has not taken the record of a user: %s", name, error)
            said = said or "those that were asked do not answer"
            continue
        if isinstance(answer, Done):
            return
        said = answer.reason if isinstance(answer, Refused) else "an answer of another kind"
    raise _RecordProblemError(f"No peer took the record: {said}.")


def _version(identity: OverlayIdentity, secrets: OverlaySecrets, credentials: Credentials) -> str:
    """Return a mark of a record that tells nothing of its password to who has not the keys."""
    key = hashlib.blake2b(secrets.keys_json, digest_size=32).digest()
    content = msgspec.msgpack.encode((identity.instance_id, credentials))
    return hashlib.blake2b(content, key=key, digest_size=_VERSION_BYTES).hexdigest()
