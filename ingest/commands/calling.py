"""What Entra ID and the alert API answer for one tenant: a token, its claims, and one page."""

import random
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from ingest.app import source_of, tokens_of
from ingest.commands.findings import Finding, failed, passed, skipped
from ingest.errors import SourceError
from ingest.identity.claims import claims_of
from ingest.model.budget import FULL_GRANT
from ingest.model.instant import from_unix
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.pipeline.trouble import trouble_of
from ingest.settings.models import Settings
from ingest.source.client import DefenderSource

_DAY = 86_400.0
_RECORDS = 10
_CLAIMS = frozenset(("wrong_tenant", "wrong_audience", "no_permission"))
"""Reasons for which a token that was given is refused by ourselves."""

_FOR_WANT_OF_AUDIENCE = frozenset(
    ("service_missing", "bad_resource", "no_permission", "forbidden", "unauthorized")
)
"""What a resource that is none of Defender's ends in, wherever it does."""

_AUDIENCES = (
    "https://api.securitycenter.microsoft.com",
    "https://api.securitycenter.windows.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://securitycenter.onmicrosoft.us/windowsatpservice",
)
"""Resources whose tokens the alert API is known to take."""


@dataclass(frozen=True, slots=True)
class Called:
    """What became of each step."""

    token: Finding
    claims: Finding
    alerts: Finding


async def call(
    settings: Settings, tenant: Tenant, *, clock: Clock, instead: Finding | None
) -> Called:
    """Ask for a token and for one page of alerts: one call to the API, two where it refuses the token.

    Args:
        settings: whose application it is.
        tenant: whose alerts are asked for.
        clock: local time.
        instead: what is told of the alerts where the API is not to be called.
    """
    registry = CollectorRegistry()
    log: structlog.stdlib.BoundLogger = structlog.get_logger("doctor")
    tokens = tokens_of(settings, clock=clock, rng=random.Random(), registry=registry, log=log)
    source = source_of(settings, tokens, clock=clock, registry=registry, log=log)
    resource = settings.regions[tenant.region].resource
    given = passed("token", "Entra ID gives one")
    async with tokens, source:
        try:
            token = await tokens.get(tenant)
        except SourceError as error:
            refusal = _refusal(error, tenant, resource, step="token")
            skip = skipped("alerts", "not asked for: there is no token that will do")
            if refusal.step == "claims":
                return Called(given, refusal, skip)
            return Called(refusal, skipped("claims", "not read: there is no token"), skip)
        claims = _read(token, now=clock.unix())
        if instead is not None:
            return Called(given, claims, instead)
        # As after a take-over: what its owner spends of the budget is known to its owner alone.
        source.begin(tenant, tenure=0, granted=FULL_GRANT)
        try:
            return Called(given, claims, await _page(source, tenant, clock))
        except SourceError as error:
            refusal = _refusal(error, tenant, resource, step="alerts")
            if refusal.step == "claims":
                return Called(given, refusal, skipped("alerts", f"refused: {error.reason}"))
            return Called(given, claims, refusal)


def _read(token: str, *, now: float) -> Finding:
    claims = claims_of(token) or {}
    expires = claims.get("exp")
    if not isinstance(expires, int | float):
        return passed("claims", "they cannot be read, which is no fault: the API decides")
    if expires <= now:
        return failed("claims", "the token has expired already: set this machine's clock right")
    roles = claims.get("roles")
    held = ", ".join(map(str, roles)) if isinstance(roles, list) else "none"
    audience, minutes = str(claims.get("aud"))[:100], (expires - now) / 60
    words = f"tid is the tenant's, aud {audience}, roles {held[:200]}, ends in {minutes:.0f} min"
    return passed("claims", words)


async def _page(source: DefenderSource, tenant: Tenant, clock: Clock) -> Finding:
    began = clock.monotonic()
    ask = Ask(Box(from_unix(clock.unix() - _DAY)), top=_RECORDS)
    async with source.fetch(tenant, ask) as page:
        count, seconds = len(page.records), clock.monotonic() - began
    more = " or more" if count >= _RECORDS else ""
    return passed("alerts", f"{count}{more} changed within a day; answered in {seconds:.1f} s")


def _refusal(error: SourceError, tenant: Tenant, resource: str, *, step: str) -> Finding:
    """Return what a refusal says; one for want of the right audience is told as that."""
    if error.reason in _FOR_WANT_OF_AUDIENCE and resource.rstrip("/") not in _AUDIENCES:
        return failed(
            "claims",
            f"wrong audience: tokens are asked for {resource}, which is none that the alert API is known "
            f"to take ({error.reason}): set regions.{tenant.region}.resource to {_AUDIENCES[0]}",
        )
    trouble = trouble_of(error, was_read=False)
    where = "claims" if error.reason in _CLAIMS else step
    return failed(where, trouble.reason, trouble.blame.value)
