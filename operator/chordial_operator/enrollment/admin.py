"""The Secret `OVERLAY-admin`: what the command shows to the peers of an overlay in a cluster.

It lies in the overlay's namespace: whoever may read Secrets there is the overlay's admin. Built
from what there is, so that nothing changes until the certificate must be made anew. Pure.
"""

from collections.abc import Mapping

from chordial_operator.enrollment.authority import (
    AuthorityError,
    Draw,
    OverlayIdentity,
    OverlaySecrets,
)
from chordial_operator.enrollment.authority_secret import decode_data, encode_data
from chordial_operator.enrollment.issuing import admin_files
from chordial_operator.names import (
    API_VERSION,
    APPLICATION,
    COMPONENT_LABEL,
    FIELD_MANAGER,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OVERLAY_LABEL,
    admin_secret_name,
)
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay


def admin_secret(
    overlay: Overlay,
    identity: OverlayIdentity,
    secrets: OverlaySecrets,
    present: Mapping[str, object] | None,
    *,
    now: float,
    draw: Draw,
) -> Manifest:
    """Return the Secret with an admin's certificate; the present one's while that is young."""
    files = admin_files(identity, secrets, _files_of(present), now=now, draw=draw)
    name = overlay.meta.name
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": admin_secret_name(name),
            "namespace": overlay.meta.namespace,
            "labels": {
                NAME_LABEL: APPLICATION,
                COMPONENT_LABEL: "admin",
                INSTANCE_LABEL: name,
                MANAGED_BY_LABEL: FIELD_MANAGER,
                OVERLAY_LABEL: name,
            },
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "Overlay",
                    "name": name,
                    "uid": overlay.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": encode_data(files),
    }


def _files_of(secret: Mapping[str, object] | None) -> dict[str, bytes]:
    try:
        return decode_data(secret) if secret is not None else {}
    except AuthorityError:
        return {}  # somebody broke it: it is made anew
