"""What becomes of a customer who has consented: is the tenant read, or does it wait for a person?

The roster itself remembers which invitations are used: each registration that came by one keeps its id.
No two of them are ever active by the same invitation, whichever replicas they came to: a newcomer is
first written as awaiting approval, then the roster is read anew, to its present end, and only who is
alone with the invitation then becomes active. Of two at the same moment the later reader sees both, so
at most one goes on. Pure: rosters in, the record to write out.
"""

from collections.abc import Container, Mapping
from dataclasses import replace
from enum import StrEnum

from ingest.model.enrolment import name_taken
from ingest.model.invitation import Invitation
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant

WHO = "the consent page"
"""Who signs what a consent registers."""


class Admission(StrEnum):
    """What a consent came to."""

    ACTIVE = "active"
    """The tenant is read from now on."""

    AWAITING = "awaiting"
    """Somebody of the partner's has to approve of it."""

    KNOWN = "known"
    """It was registered before; a consent changes nothing of that."""

    USED = "used"
    """The invitation has registered another tenant."""


def user_of(invitation: str, roster: Mapping[str, Registration]) -> Registration | None:
    """Return whoever was registered by an invitation, if anybody was."""
    return next((one for one in roster.values() if one.invitation == invitation), None)


def standing_of(
    tenant: str,
    invitation: Invitation | None,
    roster: Mapping[str, Registration],
    unreadable: Container[str] = (),
) -> Admission | None:
    """Return what a consent comes to by what is known already; None where it may register somebody."""
    known = roster.get(tenant)
    by = None if invitation is None else user_of(invitation.id, roster)
    if known is not None and by is known:
        # The same administrator looks again.
        if known.is_read:
            return Admission.ACTIVE
        return Admission.AWAITING if known.standing is Standing.AWAITING else Admission.KNOWN
    if by is not None:
        return Admission.USED
    if known is not None or tenant in unreadable:
        return Admission.KNOWN
    return None


def newcomer(
    tenant: str,
    invitation: Invitation | None,
    region: str,
    roster: Mapping[str, Registration],
    now: float,
) -> Registration:
    """Return the record of a tenant that has consented and is not read yet.

    Without an invitation nobody has said what it is called: its GUID is its name until somebody does, and
    `region` is where it is looked for.
    """
    unnamed = Tenant(tenant, tenant, region)
    why = "consented without an invitation"
    found = unnamed
    if invitation is not None:
        why = f"consented by invitation {invitation.id}"
        found = invitation.tenant_of(tenant)
        if (other := name_taken(found, roster)) is not None:
            why += f", as {found.name}, which is the name of tenant {other.tenant.id}"
            found = replace(found, name=tenant)
    return Registration(
        tenant=found,
        standing=Standing.AWAITING,
        origin=Origin.PORTAL,
        by=WHO,
        at=now,
        why=why,
        invitation=None if invitation is None else invitation.id,
    )


def promoted(
    written: Registration, invitation: Invitation | None, roster: Mapping[str, Registration]
) -> Registration | None:
    """Return the record that lets a newcomer be read, None where a person has to look.

    Args:
        written: the newcomer's record.
        invitation: which it came by.
        roster: read after that record was written, to its end.
    """
    mine = roster.get(written.tenant.id)
    if invitation is None or written.tenant.name != invitation.name:
        return None
    if mine is None or not mine.says_the_same_as(written):
        return None
    others = (one for one in roster.values() if one.tenant.id != written.tenant.id)
    if any(one.invitation == invitation.id for one in others):
        return None
    if name_taken(written.tenant, roster) is not None:
        return None
    return replace(written, standing=Standing.ACTIVE)
