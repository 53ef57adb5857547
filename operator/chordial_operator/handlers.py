"""kopf's low-level half: indices of what is watched, and events that wake the queue.

The decorators are the table of contents. No timer, no handler of changes, no daemon: each of them
would put a finalizer on every object (fleet H3). What a turn does belongs in `turns`.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import kopf

from chordial_operator.cluster.kinds import KINDS
from chordial_operator.names import OURS, OVERLAY_LABEL, ROLE_LABEL, SEED, SET_LABEL
from chordial_operator.queue import Key
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.users import USERS

CUSTOM = ("Overlay", "BootstrapSet", "RelaySet", "SipUser")
CHILDREN = (
    "StatefulSet",
    "Pod",
    "PersistentVolumeClaim",
    "Service",
    "ConfigMap",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceAccount",
)
REQUEST_SECONDS = 30.0
INDEX = "objects"
MOST_GENERATIONS = 10_000

Slot = tuple[str, str, str, str]


class Woken(Protocol):
    """Who is told what the watches show."""

    def wake(self, key: Key) -> None:
        """Give an object a turn soon."""

    def deleted(self, body: Manifest) -> None:
        """Take note of an object that is gone, with its last content."""


class IndexedObjects:
    """What the watches have shown, read from kopf's index; empty until kopf has begun."""

    def __init__(self) -> None:
        """Begin with an empty index."""
        self._index: Mapping[Slot, Iterable[Manifest]] = {}
        self._nodes: list[Manifest] = []
        self._generations: dict[str, int] = {}

    def is_new_generation(self, uid: str, generation: int) -> bool:
        """Tell whether a spec was not seen yet, and remember that it was."""
        if self._generations.get(uid) == generation:
            return False
        while len(self._generations) >= MOST_GENERATIONS:
            self._generations.pop(next(iter(self._generations)))
        self._generations[uid] = generation
        return True

    def use(self, index: Mapping[Slot, Iterable[Manifest]]) -> None:
        """Read from this index from now on."""
        self._index = index

    def use_nodes(self, nodes: list[Manifest]) -> None:
        """Take the Nodes as they are now."""
        self._nodes = nodes

    def one(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object as it was last seen."""
        return next(iter(self._at(("one", kind, namespace, name))), None)

    def of(self, kind: str, namespace: str, overlay: str) -> list[Manifest]:
        """Return the objects of an overlay by name."""
        found = self._at(("of", kind, namespace, overlay))
        return sorted(found, key=lambda body: str(body["metadata"]["name"]))

    def overlays_and_sets(self) -> list[Key]:
        """Return the key of every Overlay and every set."""
        kinds = ("Overlay", "BootstrapSet", "RelaySet")
        return [
            Key(slot[1], slot[2], slot[3])
            for slot in sorted(self._index)
            if slot[0] == "one" and slot[1] in kinds
        ]

    def nodes(self) -> list[Manifest]:
        """Return the Nodes of the cluster, as far as they may be read."""
        return self._nodes

    def _at(self, slot: Slot) -> Iterable[Manifest]:
        return self._index[slot] if slot in self._index else ()  # noqa: SIM401 - no dict: no get()


def register(registry: kopf.OperatorRegistry, objects: IndexedObjects, woken: Woken) -> None:
    """Register every handler; this list is all that kopf does for us."""

    async def index(body: kopf.Body, **_: object) -> dict[Slot, Manifest]:
        seen = slim(body)
        return dict.fromkeys(slots_of(seen), seen)

    async def event(body: kopf.Body, event: kopf.RawEvent, **_: object) -> None:
        seen = slim(body)
        if event["type"] == "DELETED":
            woken.deleted(seen)
        for key in [*keys_of(seen), *dependents_of(seen, objects)]:
            woken.wake(key)

    async def begin(settings: kopf.OperatorSettings, **more: object) -> None:
        configure(settings)
        found = more[INDEX]
        assert isinstance(found, Mapping)
        objects.use(found)

    kopf.on.startup(registry=registry)(begin)
    kopf.on.login(registry=registry)(log_in)
    for kind in (*CUSTOM, *CHILDREN):
        api = KINDS[kind]
        kopf.index(
            group=api.group, version=api.version, plural=api.plural, id=INDEX, registry=registry
        )(index)
        kopf.on.event(
            group=api.group, version=api.version, plural=api.plural, id="wake", registry=registry
        )(event)


async def log_in(settings: kopf.OperatorSettings, **_: object) -> kopf.ConnectionInfo | None:
    """Take the account of the pod, else what KUBECONFIG names."""
    found = kopf.login_with_service_account(settings=settings)
    return found or kopf.login_with_kubeconfig(settings=settings)


def dependents_of(body: Manifest, objects: "IndexedObjects") -> list[Key]:
    """Return whose turn it is when their Overlay changes: its sets and its users."""
    if body["kind"] != "Overlay":
        return []
    metadata = body["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    keys = [
        Key(kind, namespace, each["metadata"]["name"])
        for kind in ("BootstrapSet", "RelaySet")
        for each in objects.of(kind, namespace, name)
    ]
    generation = metadata.get("generation", 0)
    if objects.is_new_generation(metadata["uid"], generation):
        keys += [
            Key("SipUser", namespace, each["metadata"]["name"])
            for each in objects.of("SipUser", namespace, name)
        ]
        keys.append(Key(USERS, namespace, name))
    return keys


def configure(settings: kopf.OperatorSettings) -> None:
    """Switch off what kopf does beside watching, and select on the server what is ours."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = 10.0
    for kind in CHILDREN:
        api = KINDS[kind]
        settings.watching.label_selectors[api.group, api.version, api.plural] = OURS


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: definitions and namespaces are not watched, that needs a ClusterRole.

    What is not served when the watches begin is not seen later either: the caller waits for it.
    """
    made = kopf.OperatorSettings()
    made.scanning.disabled = True
    configure(made)
    return made


def slim(body: Mapping[str, object]) -> Manifest:
    """Return an object without what nobody here reads: who owns which field."""
    seen: Manifest = dict(body)
    metadata = dict(seen["metadata"])
    metadata.pop("managedFields", None)
    seen["metadata"] = metadata
    return seen


def slots_of(body: Manifest) -> list[Slot]:
    """Return where an object is found: by its name, and by its overlay."""
    kind, metadata = body["kind"], body["metadata"]
    namespace = metadata.get("namespace", "")
    slots: list[Slot] = [("one", kind, namespace, metadata["name"])]
    overlay = overlay_of(body)
    if overlay:
        slots.append(("of", kind, namespace, overlay))
    return slots


def overlay_of(body: Manifest) -> str:
    """Return the name of the overlay that an object belongs to."""
    if body["kind"] in CUSTOM:
        reference = (body.get("spec") or {}).get("overlayRef") or {}
        return str(reference.get("name", ""))
    labels = body["metadata"].get("labels") or {}
    return str(labels.get(OVERLAY_LABEL, ""))


def keys_of(body: Manifest) -> list[Key]:
    """Return whose turn it is when this object changes."""
    kind, metadata = body["kind"], body["metadata"]
    namespace, overlay = metadata.get("namespace", ""), overlay_of(body)
    if kind == "Overlay":
        return [Key(kind, namespace, metadata["name"])]
    keys = []
    if kind in CUSTOM:
        keys.append(Key(kind, namespace, metadata["name"]))
    labels = metadata.get("labels") or {}
    owner = labels.get(SET_LABEL, "")
    if owner:
        role = "BootstrapSet" if labels.get(ROLE_LABEL) == SEED else "RelaySet"
        keys.append(Key(role, namespace, owner))
    if overlay and kind != "SipUser":
        keys.append(Key("Overlay", namespace, overlay))
    if overlay and kind == "SipUser":
        keys.append(Key(USERS, namespace, overlay))
    return keys
