"""Which turn an object has, and the three ways in which a turn can end otherwise than well (A18).

A spec that cannot be used: a condition, and quiet until the spec changes. Something must come
first: again in a moment. Anything else: `Ready=Unknown`, and the queue's back-off.
"""

from collections.abc import Awaitable, Callable

from chordial_operator.cluster.errors import ClusterError, NotFoundError
from chordial_operator.queue import GONE, SETTLED, Key, Next
from chordial_operator.spec.manifest import InvalidSpecError, Manifest, meta_of
from chordial_operator.status.conditions import invalid_status, unknown_status
from chordial_operator.turns.context import Context, NotReadyYetError, log
from chordial_operator.turns.departure import set_gone
from chordial_operator.turns.overlay import overlay_gone, overlay_turn
from chordial_operator.turns.peer_set import peer_set_turn
from chordial_operator.turns.sip_user import sip_user_turn
from chordial_operator.turns.users import USERS, users_turn

TURNS: dict[str, Callable[[Context, Manifest], Awaitable[Next]]] = {
    "Overlay": overlay_turn,
    "BootstrapSet": peer_set_turn,
    "RelaySet": peer_set_turn,
    "SipUser": sip_user_turn,
}
MOST_DELETED = 1_000


class Loop:
    """Gives every object its turn."""

    def __init__(self, context: Context) -> None:
        """Take what turns work with."""
        self._context = context
        self._deleted: dict[Key, Manifest] = {}

    def deleted(self, body: Manifest) -> None:
        """Keep the last content of an object that is gone, for its last turn."""
        meta = meta_of(body)
        if body["kind"] == "SipUser":
            overlay = (body.get("spec") or {}).get("overlayRef") or {}
            self._context.memory(meta.namespace, overlay.get("name", "")).users_due = True
        if body["kind"] in ("Overlay", "BootstrapSet", "RelaySet"):
            while len(self._deleted) >= MOST_DELETED:
                self._deleted.pop(next(iter(self._deleted)))
            self._deleted[Key(body["kind"], meta.namespace, meta.name)] = body

    async def turn(self, key: Key) -> Next:
        """Give one object its turn; an exception means: try again later."""
        if key.kind == USERS:
            return await users_turn(self._context, key)
        body = self._context.observed.one(key.kind, key.namespace, key.name)
        if body is None:
            return await self._gone(key)
        try:
            return await TURNS[key.kind](self._context, body)
        except InvalidSpecError as error:
            generation = meta_of(body).generation
            now = self._context.clock()
            status = invalid_status(body.get("status"), error, generation, now)
            await self._context.apply_status(body, status)
            return SETTLED
        except NotReadyYetError as error:
            log.info("%s waits: %s", key, error)
            return Next(after=error.after)
        except NotFoundError:
            if self._context.observed.one(key.kind, key.namespace, key.name) is None:
                return GONE  # it went in the middle of its turn
            raise
        except Exception:
            await self._tell_unknown(body)
            raise

    async def _gone(self, key: Key) -> Next:
        last = self._deleted.get(key)
        if key.kind == "Overlay":
            await overlay_gone(self._context, key, last)
        elif last is not None and "overlayRef" in (last.get("spec") or {}):
            following = await set_gone(self._context, key, last["spec"]["overlayRef"]["name"])
            if not following.gone:
                return following
        self._deleted.pop(key, None)
        return GONE

    async def _tell_unknown(self, body: Manifest) -> None:
        """Say that nobody knows; that this fails as well is no news."""
        generation, now = meta_of(body).generation, self._context.clock()
        status = unknown_status(body.get("status"), generation, now)
        try:
            await self._context.apply_status(body, status)
        except ClusterError as error:
            log.info("the status could not be written either: %s", error)
