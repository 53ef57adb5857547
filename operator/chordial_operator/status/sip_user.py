"""The status of a SipUser: whether the overlay has its record, and whether a phone is there.

Pure (fleet 2.1, H20). Nothing secret ever comes here: of a password only the name of its Secret.
"""

from collections.abc import Mapping

import msgspec

from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.sip_user import SipUser
from chordial_operator.status.conditions import Condition, Reason, holds, set_conditions
from chordial_operator.status.slow_numbers import DEBOUNCE_SECONDS, SlowNumber, slowed


class UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a user besides its spec; a problem is a sentence, or empty."""

    realm: str = ""
    """The domain of its address; empty while its Overlay is not there."""
    overlay_problem: str = ""
    secret_name: str = ""
    secret_version: str = ""
    """Of the Secret that the stored record was made from."""
    secret_problem: str = ""
    older_user: str = ""
    """The SipUser that has the same address and is older."""
    record_problem: str = ""
    """Why the overlay has not acknowledged the record."""
    contacts: int | None = None
    """Phones registered, as the overlay said last; None: it was not asked."""
    tells_registered: bool = True
    """Whether the status says so; an operator can be told to leave that to metrics."""


def user_contacts(
    facts: UserFacts, before: SlowNumber | None, previous: Manifest | None, now: float
) -> SlowNumber | None:
    """Return the contacts as they are to be told now; the caller hands them back next time."""
    if facts.contacts is None:
        return before
    shown = (previous or {}).get("contacts")
    return slowed(before, shown, facts.contacts, now, period=DEBOUNCE_SECONDS, least_change=0.0)


def user_status(
    user: SipUser,
    facts: UserFacts,
    contacts: SlowNumber | None,
    previous: Manifest | None,
    now: float,
) -> Manifest:
    """Return the whole status of a SipUser."""
    shown = contacts.value if contacts is not None else (previous or {}).get("contacts")
    status: Manifest = {"observedGeneration": user.meta.generation}
    told: Mapping[str, object] = {
        "address": f"sip:{user.user}@{facts.realm}" if facts.realm else "",
        "secretName": facts.secret_name,
        "observedSecretVersion": facts.secret_version,
    }
    status |= {name: value for name, value in told.items() if value}
    if shown is not None and facts.tells_registered:
        status["contacts"] = shown
    status["conditions"] = set_conditions(
        previous, user_conditions(user, facts, shown), user.meta.generation, now
    )
    return status


def user_conditions(user: SipUser, facts: UserFacts, contacts: int | None) -> list[Condition]:
    """Return all conditions of a SipUser, `Ready` first."""
    secret = facts.secret_name or "the Secret"
    taken = f"SipUser {facts.older_user} is older and has this address too: delete one of them."
    registered = [_registered(contacts)] if facts.tells_registered else []
    return [
        _ready(user, facts, taken),
        holds(
            "CredentialsReady",
            not facts.secret_problem,
            (Reason.SECRET_FOUND, f"The password was read from {secret}."),
            (Reason.SECRET_NOT_FOUND, facts.secret_problem),
        ),
        *registered,
        holds(
            "Conflict",
            bool(facts.older_user),
            (Reason.USER_TAKEN, taken),
            (Reason.UNIQUE, "No other SipUser has this address."),
        ),
    ]


def _ready(user: SipUser, facts: UserFacts, taken: str) -> Condition:
    for problem, reason in (
        (facts.overlay_problem, Reason.OVERLAY_NOT_FOUND),
        (taken if facts.older_user else "", Reason.USER_TAKEN),
        (facts.secret_problem, Reason.SECRET_NOT_FOUND),
        (facts.record_problem, Reason.NOT_STORED),
    ):
        if problem:
            return Condition("Ready", "False", reason, problem)
    if user.state == "Disabled":
        message = "The overlay has the user, disabled: its phones are refused."
        return Condition("Ready", "True", Reason.DISABLED, message)
    return Condition("Ready", "True", Reason.STORED, "The overlay has acknowledged the user.")


def _registered(contacts: int | None) -> Condition:
    if contacts is None:
        message = "The overlay has not been asked yet."
        return Condition("Registered", "Unknown", Reason.NOT_HEARD, message)
    return holds(
        "Registered",
        contacts > 0,
        (Reason.REGISTERED, "A phone is registered."),
        (Reason.NOT_REGISTERED, "No phone is registered."),
    )
