"""The chart's first Overlay: applied at start under a manager of its own, unforced, never deleted.

A custom resource can be neither in the release that brings its definition nor a hook (fleet H4).
What somebody changed by hand afterwards stays: a conflict is told as an Event.
"""

import msgspec

from chordial_operator.cluster.errors import ConflictError, InvalidError, NotFoundError
from chordial_operator.cluster.kinds import KINDS, Ref
from chordial_operator.cluster.protocol import Cluster, Happening
from chordial_operator.names import FIRST_OVERLAY_MANAGER, GROUP
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.context import log

MANIFESTS_KEY = "manifests.json"


async def apply_first_overlay(cluster: Cluster, namespace: str, name: str) -> None:
    """Apply what the chart's ConfigMap holds; a ClusterError means: try again later."""
    try:
        found = await cluster.get(Ref("ConfigMap", namespace, name))
    except NotFoundError:
        log.info("there is no ConfigMap %s/%s: no first Overlay is made", namespace, name)
        return
    try:
        text = (found.get("data") or {}).get(MANIFESTS_KEY, "")
        manifests = msgspec.json.decode(text, type=list[Manifest])
    except msgspec.MsgspecError as error:
        note = f"{MANIFESTS_KEY} cannot be read: {error}"
        await cluster.tell(found, Happening("FirstOverlayInvalid", note, "Warning"))
        return
    for manifest in manifests:
        await _apply(cluster, found, manifest)


async def _apply(cluster: Cluster, about: Manifest, manifest: Manifest) -> None:
    kind, version = manifest.get("kind", ""), manifest.get("apiVersion", "")
    if kind not in KINDS or not str(version).startswith(f"{GROUP}/"):
        note = f"{kind or 'an object without kind'} is none of this operator's kinds"
        await cluster.tell(about, Happening("FirstOverlayInvalid", note, "Warning"))
        return
    what = f"{kind} {manifest['metadata']['name']}"
    try:
        await cluster.apply(manifest, manager=FIRST_OVERLAY_MANAGER, force=False)
    except ConflictError as error:
        note = f"{what} was changed by somebody else and stays as it is: {error}"
        await cluster.tell(about, Happening("FirstOverlayConflict", note, "Warning"))
    except InvalidError as error:
        note = f"{what} is refused: {error}"
        await cluster.tell(about, Happening("FirstOverlayInvalid", note, "Warning"))
