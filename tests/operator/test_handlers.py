"""What wakes whom, and what kopf is told to leave alone."""

import inspect
import re

import kopf
import pytest

from chordial_operator import handlers
from chordial_operator.handlers import (
    CHILDREN,
    CUSTOM,
    IndexedObjects,
    configure,
    dependents_of,
    keys_of,
    slim,
    slots_of,
)
from chordial_operator.queue import Key
from chordial_operator.spec.manifest import Manifest
from tests.operator.specs import NAMESPACE, overlay_body, relays_body, user_body

POD: Manifest = {
    "kind": "Pod",
    "metadata": {
        "name": "edge-0-0",
        "namespace": NAMESPACE,
        "labels": {
            "chordial.dev/overlay": "voice",
            "chordial.dev/set": "edge",
            "chordial.dev/role": "relay",
        },
    },
}


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (overlay_body(), [("Overlay", "voice")]),
        (relays_body(), [("RelaySet", "edge"), ("Overlay", "voice")]),
        (user_body(), [("SipUser", "alice"), ("Users", "voice")]),
        (POD, [("RelaySet", "edge"), ("Overlay", "voice")]),
    ],
)
def test_who_is_woken(body: Manifest, keys: list[tuple[str, str]]) -> None:
    assert keys_of(body) == [Key(kind, NAMESPACE, name) for kind, name in keys]


def test_an_overlay_wakes_its_sets_and_once_for_each_spec_its_users() -> None:
    objects = IndexedObjects()
    bodies = [relays_body(), user_body()]
    objects.use({slot: [body] for body in bodies for slot in slots_of(body)})
    sets = [Key("RelaySet", NAMESPACE, "edge")]
    users = [Key("SipUser", NAMESPACE, "alice"), Key("Users", NAMESPACE, "voice")]
    assert dependents_of(overlay_body(), objects) == sets + users
    assert dependents_of(overlay_body(), objects) == sets


def test_who_owns_which_field_is_not_kept() -> None:
    body = overlay_body()
    body["metadata"]["managedFields"] = [{"manager": "somebody"}]
    assert slim(body) == overlay_body()


def test_kopf_puts_a_finalizer_on_nothing() -> None:
    """Daemons, timers and handlers of changes bring one each; the API tier looks at objects."""
    used = re.findall(r"kopf\.(?:on\.)?(\w+)\(", inspect.getsource(handlers))
    assert {*used} <= {
        "OperatorSettings", "event", "index", "login", "startup",
        "login_with_kubeconfig", "login_with_service_account",
    }  # fmt: skip


def test_only_what_is_ours_is_watched_of_common_kinds() -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    assert not settings.posting.enabled
    assert len(settings.watching.label_selectors) == len(CHILDREN)
    assert {*settings.watching.label_selectors.values()} == {
        "app.kubernetes.io/managed-by=chordial-operator"
    }
    assert {"Secret", "Node"}.isdisjoint((*CUSTOM, *CHILDREN))
