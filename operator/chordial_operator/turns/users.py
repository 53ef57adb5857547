"""The users of an overlay compared with the SipUsers: deletions that nobody saw end here (H3).

Level, not edge: at start, after a deletion and every hour all peers are asked for the users whose
records they own. A record that names a SipUser which is gone is removed, and with it the user's
registrations; one that is missing is sent again by its SipUser's own turn.
"""

from chordial_node.boundary.control import (
    Done,
    ListUsers,
    Refused,
    RemoveUser,
    UsersAnswer,
    UserStatus,
)
from chordial_node.client import PeerUnreachableError
from chordial_operator.queue import GONE, Key, Next
from chordial_operator.spec.manifest import Manifest, meta_of
from chordial_operator.turns.context import Context, OverlayMemory, log

USERS = "Users"
"""The kind of the queue's key for the users of an overlay, by the Overlay's name."""
COMPARED_SECONDS = 3600.0
CONTACTS_SECONDS = 60.0
AGAIN_SECONDS = 10.0
PACE_SECONDS = 1.0


async def users_turn(context: Context, key: Key) -> Next:
    """Compare the users of one overlay, when that is due."""
    overlay = context.observed.one("Overlay", key.namespace, key.name)
    if overlay is None:
        return GONE
    bodies = context.observed.of("SipUser", key.namespace, key.name)
    memory = context.memory(key.namespace, key.name)
    now = context.clock()
    is_due = memory.users_due or now - memory.users_compared_at >= COMPARED_SECONDS
    is_compared = not is_due and now - memory.users_compared_at < CONTACTS_SECONDS
    if is_compared and _tell_waiting(context, key, memory):
        return Next(after=PACE_SECONDS)
    if not is_due and not (bodies and context.tells_registered):
        return Next(after=COMPARED_SECONDS)
    if is_compared:
        return Next(after=CONTACTS_SECONDS - (now - memory.users_compared_at))
    users = await _listed(context, key)
    if users is None:
        return Next(after=AGAIN_SECONDS)
    await _remove_strays(context, key, users, bodies, overlay)
    _note(context, memory, users, bodies)
    memory.users_due, memory.users_compared_at = False, now
    if _tell_waiting(context, key, memory):
        return Next(after=PACE_SECONDS)
    is_asked = bodies and context.tells_registered
    return Next(after=CONTACTS_SECONDS if is_asked else COMPARED_SECONDS)


def _tell_waiting(context: Context, key: Key, memory: OverlayMemory) -> bool:
    """Let as many statuses change as may change now; tell whether others must wait."""
    waiting = memory.contacts_waiting
    for _ in range(context.pace.take(len(waiting), context.clock())):
        name = next(iter(waiting))
        memory.contacts[name] = waiting.pop(name)
        context.wake(Key("SipUser", key.namespace, name))
    return bool(waiting)


def source_of(body: Manifest) -> str:
    """Return what a user's record names as its keeper."""
    meta = meta_of(body)
    return f"{meta.namespace}/{meta.name}/{meta.uid}"


def _claimed_by(body: Manifest, overlay: Manifest) -> tuple[str, str]:
    """User and domain of a SipUser, which may be one that cannot be parsed."""
    spec = body.get("spec") or {}
    first = str((overlay["spec"].get("domains") or [""])[0])
    return str(spec.get("user", "")).lower(), str(spec.get("domain") or first)


async def _listed(context: Context, key: Key) -> list[UserStatus] | None:
    """Return all users of the overlay; None when some peer that should answer does not."""
    peers = context.peers(key.namespace, key.name)
    ready = sorted(name for name, report in peers.reports.items() if report.is_ready)
    if not ready:
        return None
    found: dict[tuple[str, str], UserStatus] = {}
    for name in ready:
        try:
            answer = await peers.ask(name, ListUsers())
        except PeerUnreachableError as error:
            log.info("users of %s were not listed: %s", key, error)
            return None
        if not isinstance(answer, UsersAnswer):
            return None
        for user in answer.users:
            found.setdefault((user.user, user.domain), user)
    return list(found.values())


async def _remove_strays(
    context: Context,
    key: Key,
    users: list[UserStatus],
    bodies: list[Manifest],
    overlay: Manifest,
) -> None:
    """Remove users whose SipUser is gone; those that the command added have no keeper."""
    kept = {source_of(body): None for body in bodies}
    claimed = {_claimed_by(body, overlay): None for body in bodies}
    peers = context.peers(key.namespace, key.name)
    for user in users:
        is_ours = user.source.startswith(f"{key.namespace}/")
        address = (user.user.lower(), user.domain)
        if not is_ours or user.source in kept or address in claimed:
            continue
        for name in sorted(each for each, report in peers.reports.items() if report.is_ready):
            try:
                answer = await peers.ask(name, RemoveUser(user.user, user.domain))
            except PeerUnreachableError:
                continue
            if isinstance(answer, Done) or (
                isinstance(answer, Refused) and answer.code == "not_found"
            ):
                log.info("user %s@%s is removed: its SipUser is gone", user.user, user.domain)
                break


def _note(
    context: Context, memory: OverlayMemory, users: list[UserStatus], bodies: list[Manifest]
) -> None:
    """Remember contacts and what is missing; wake the SipUsers whose record is."""
    by_source = {user.source: user for user in users if user.source}
    missing, told, waiting = [], {}, {}
    for body in bodies:
        meta = meta_of(body)
        user = by_source.get(source_of(body))
        if user is None:
            missing.append(meta.name)
            context.wake(Key("SipUser", meta.namespace, meta.name))
        elif context.tells_registered:
            if meta.name in memory.contacts:
                told[meta.name] = memory.contacts[meta.name]
            if told.get(meta.name) != user.contacts:
                waiting[meta.name] = user.contacts
    memory.users_missing = tuple(missing)
    _forget_numbers(memory, bodies)
    first = {name: waiting[name] for name in memory.contacts_waiting if name in waiting}
    memory.contacts, memory.contacts_waiting = told, {**first, **waiting}
    memory.key_numbers = tuple(sorted({user.key_number for user in users}))


def _forget_numbers(memory: OverlayMemory, bodies: list[Manifest]) -> None:
    """Forget what the statuses of SipUsers that are gone were told."""
    present = {f"SipUser/{body['metadata']['name']}": None for body in bodies}
    for key in [each for each in memory.numbers if each.startswith("SipUser/")]:
        if key not in present:
            del memory.numbers[key]
