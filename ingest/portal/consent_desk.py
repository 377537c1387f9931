"""What a consent comes to: which texts of a browser are believed, who is asked, and who is registered.

A state that we did not sign, that is too old, or that began in another browser, ends here: nobody is asked
about it and nothing is written. Nor is what Microsoft sends back believed by itself, the tenant least of
all: the directory's own token and a page of its alerts say whether it has consented.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from ingest.errors import IngestError, SettingsError
from ingest.model.admission import Admission, standing_of, user_of
from ingest.model.invitation import (
    Invitation,
    Visit,
    browser_mark,
    keys_of,
    open_invitation,
    open_visit,
    seal_invitation,
    seal_visit,
)
from ingest.model.roster import Registration
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.portal.confirmation import Confirmation
from ingest.portal.consent_words import Outcome
from ingest.portal.visitors import Allowance
from ingest.settings.consent import Consent
from ingest.settings.regions import Region, usual

VISIT_SECONDS = 3600
"""A consent has to end so long after it began."""

_ADMITTED = {
    Admission.ACTIVE: Outcome.ACTIVE,
    Admission.AWAITING: Outcome.AWAITING,
    Admission.KNOWN: Outcome.KNOWN,
    Admission.USED: Outcome.USED,
}


class Admits(Protocol):
    """What registers a directory that has consented."""

    async def admit(self, tenant: str, invitation: Invitation | None, *, region: str) -> Admission:
        """Register it, unless it may not be.

        Raises:
            SinkError: Kafka did not take it.
        """
        ...


class Knows(Protocol):
    """Who is registered, as far as this replica has heard."""

    def everybody(self) -> Mapping[str, Registration]:
        """Return all registrations, by tenant."""
        ...

    def unreadable(self) -> Mapping[str, str]:
        """Return the tenants whose record cannot be read, each with why."""
        ...


class ConsentDesk:
    """Everything of the consent page but its HTTP.

    Args:
        settings: of the page.
        regions: that may be looked in.
        key: returns what the key file holds now.
        roster: who is registered.
        admissions: registers.
        confirmation: asks Microsoft.
        clock: local time.
        log: for what an operator has to mend.

    Raises:
        SettingsError: the key is none.
    """

    def __init__(
        self,
        *,
        settings: Consent,
        regions: Mapping[str, Region],
        key: Callable[[], str],
        roster: Knows,
        admissions: Admits,
        confirmation: Confirmation,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._regions = regions
        self._key = key
        self._roster = roster
        self._admissions = admissions
        self._confirmation = confirmation
        self._clock = clock
        self._log = log
        self._invited = Allowance(settings.confirmations_per_minute)
        # Whoever has no invitation cannot spend what those need who have one.
        self._uninvited = Allowance(settings.confirmations_per_minute)
        try:
            self._keys = keys_of(key())
        except ValueError as error:
            raise SettingsError([f"consent.key_file: {settings.key_file} {error}"]) from None

    def invitation(self, text: str) -> tuple[Invitation | None, Outcome | None]:
        """Return what a link says, as far as it is ours, and why it cannot be used, if it cannot."""
        invitation = open_invitation(text, self._signing())
        if invitation is None:
            return None, Outcome.FORGED
        if invitation.expires <= self._clock.unix():
            return invitation, Outcome.EXPIRED
        used = user_of(invitation.id, self._roster.everybody())
        return invitation, None if used is None else Outcome.USED

    def link_text(self, invitation: Invitation) -> str:
        """Return an invitation as its link has it."""
        return seal_invitation(invitation, self._signing())

    def state(self, cookie: str, invitation: Invitation | None) -> str:
        """Return the state of a visit that begins in the browser with this cookie."""
        visit = Visit(
            browser=browser_mark(cookie),
            expires=round(self._clock.unix()) + VISIT_SECONDS,
            invitation=invitation,
        )
        return seal_visit(visit, self._signing())

    def visit(self, state: str, cookie: str) -> tuple[Visit | None, Outcome]:
        """Return the visit that a browser comes back from; or None, and why not."""
        if not state:
            return None, Outcome.NOT_BEGUN
        visit = open_visit(state, self._signing())
        if visit is None:
            return None, Outcome.FORGED
        now = self._clock.unix()
        if visit.browser != browser_mark(cookie) or visit.expires <= now:
            return None, Outcome.OTHER_BROWSER
        if visit.invitation is not None and visit.invitation.expires <= now:
            return None, Outcome.EXPIRED
        return visit, Outcome.BEGUN

    async def outcome(self, tenant: str, invitation: Invitation | None) -> Outcome:
        """Return what a consent comes to that a visit of ours says a directory has given."""
        if invitation is not None and invitation.tenant not in (None, tenant):
            return Outcome.OTHER_DIRECTORY
        roster, unreadable = self._roster.everybody(), self._roster.unreadable()
        known = standing_of(tenant, invitation, roster, unreadable)
        if known is not None:
            return _ADMITTED[known]
        region = self.region(invitation)
        if region is None:
            return Outcome.OURS
        allowance = self._uninvited if invitation is None else self._invited
        trouble = await self._confirmation.of(
            Tenant(tenant, tenant, region), lambda: allowance.take(self._clock.monotonic())
        )
        if trouble is not None:
            return trouble
        try:
            return _ADMITTED[await self._admissions.admit(tenant, invitation, region=region)]
        except IngestError as error:
            self._log.error("consent_not_registered", tenant=tenant, error=str(error))
            return Outcome.OURS

    def region(self, invitation: Invitation | None) -> str | None:
        """Return the region to look in; None where the configuration does not name it."""
        region = usual(self._regions) if invitation is None else invitation.region
        if region in self._regions:
            return region
        self._log.error("consent_region_unknown", region=region, known=sorted(self._regions))
        return None

    def _signing(self) -> list[bytes]:
        """Return the keys as the file has them; where it has none, the former ones serve."""
        try:
            self._keys = keys_of(self._key())
        except ValueError as error:
            self._log.error("consent_key_unusable", error=f"the key file {error}")
        return self._keys
