"""Does a directory's consent hold? Said by a token and one page of alerts, not by an address line."""

from collections.abc import Callable

import structlog

from ingest.errors import Blame, CredentialRejected, SourceError, TenantRejected
from ingest.model.instant import TICKS, from_unix
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock, Source
from ingest.portal.consent_words import Outcome

_PAUSES = (2.0, 4.0)
"""Seconds between attempts: a consent takes a moment to show at every place of Entra ID."""

_TENURE, _GRANTED = -1, 1.0
"""Nobody of ours reads a directory that is not registered, so nothing of its budget is spent: one call need
not wait until it has filled, while an administrator looks at an empty page. Once it is read, its reader has
a tenure of its own, and a budget that counts as spent."""

_LOOK_BACK = 3600 * TICKS

_OUTCOMES = {
    "not_consented": Outcome.NOT_VISIBLE,
    "unknown_tenant": Outcome.NOT_VISIBLE,
    "app_disabled": Outcome.BLOCKED,
    "blocked_by_policy": Outcome.BLOCKED,
    "no_permission": Outcome.NO_ROLE,
    "forbidden": Outcome.NO_SERVICE,
    "unauthorized": Outcome.NO_SERVICE,
    "service_missing": Outcome.NO_SERVICE,
}
_MAY_PASS = frozenset((Outcome.NOT_VISIBLE, Outcome.NO_ROLE))


class Confirmation:
    """Asks Microsoft about one directory.

    Args:
        source: gives the page, and gets the token for it.
        clock: between attempts.
        log: for what stands in the way; the page shows none of it.
    """

    def __init__(self, *, source: Source, clock: Clock, log: structlog.stdlib.BoundLogger) -> None:
        self._source = source
        self._clock = clock
        self._log = log

    async def of(self, tenant: Tenant, may_ask: Callable[[], bool]) -> Outcome | None:
        """Return why a consent does not hold, None where it does.

        `may_ask` is asked before each attempt.
        """
        outcome = Outcome.BUSY
        for pause in (*_PAUSES, None):
            if not may_ask():
                return outcome
            error = await self._error(tenant)
            if error is None:
                return None
            outcome = _outcome(error)
            if outcome not in _MAY_PASS or pause is None:
                self._log.warning(
                    "consent_not_confirmed",
                    tenant=tenant.id,
                    reason=error.reason,
                    error=str(error),
                )
                return outcome
            await self._clock.sleep(pause)
        return outcome

    async def _error(self, tenant: Tenant) -> SourceError | None:
        now = self._clock.unix()
        ask = Ask(Box(from_unix(now) - _LOOK_BACK), top=1)
        try:
            # The token first: of a directory that has not consented, nothing is kept.
            await self._source.prepare(tenant, due=now)
            self._source.begin(tenant, tenure=_TENURE, granted=_GRANTED)
            async with self._source.fetch(tenant, ask):
                return None
        except SourceError as error:
            return error


def _outcome(error: SourceError) -> Outcome:
    if isinstance(error, CredentialRejected):
        return Outcome.OURS
    customers = isinstance(error, TenantRejected) and error.blame is Blame.CUSTOMER
    return _OUTCOMES.get(error.reason, Outcome.NO_SERVICE if customers else Outcome.OURS)
