"""What a SipUser's spec says: one address of record and where its password lies (fleet 2.1).

Defaults are those of its schema; a test compares them. The password itself never comes near this
module, nor any struct of the operator that has a text form.
"""

from typing import Literal

import msgspec

from chordial_operator.spec.manifest import (
    InvalidSpecError,
    Manifest,
    NameRef,
    ObjectMeta,
    SecretKeyRef,
    parse_spec,
)


class Generate(msgspec.Struct, frozen=True, rename="camel"):
    """A password is made and written to a Secret."""

    secret_name: str = ""


class SipUser(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One user of an overlay."""

    meta: ObjectMeta
    overlay_ref: NameRef
    user: str
    domain: str = ""
    """Empty: the Overlay's first."""
    display_name: str = ""
    state: Literal["Enabled", "Disabled"] = "Enabled"
    max_contacts: int | None = None
    """None: the Overlay's `limits.maxContactsPerUser`."""
    password_secret_ref: SecretKeyRef | None = None
    """The Secret of the user's owner; None where the password is made by the operator."""
    generated: Generate | None = msgspec.field(name="generate", default=None)

    @property
    def overlay(self) -> str:
        """The name of the Overlay, in the same namespace."""
        return self.overlay_ref.name

    @property
    def generate(self) -> str | None:
        """The name of the Secret that the operator writes; None where the user's owner has one."""
        if self.generated is None:
            return None
        return self.generated.secret_name or f"{self.meta.name}-sip"


def parse_sip_user(body: Manifest) -> SipUser:
    """Return what a SipUser asks for; InvalidSpecError names the field that cannot be used."""
    user = parse_spec(body, SipUser)
    if (user.password_secret_ref is None) == (user.generated is None):
        raise InvalidSpecError(
            "spec.passwordSecretRef", "say where the password is: passwordSecretRef or generate"
        )
    return user
