"""`tenants list --missing-role`: who has to consent again, with the link to send.

Asked are the tokens themselves, since they are what counts: one token for each tenant that is read.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from ingest.app import tokens_of
from ingest.commands.table import table
from ingest.errors import SourceError, TenantRejected
from ingest.identity.claims import claims_of
from ingest.identity.consent import admin_consent_url
from ingest.identity.tokens import Tokens
from ingest.model.roster import Registration
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.settings.consent import CALLBACK
from ingest.settings.models import Settings
from ingest.settings.regions import objection

_HEADER = ("NAME", "TENANT", "WHY", "LINK TO SEND")
_NO_ROLES = ("no_permission", "not_consented")


@dataclass(frozen=True, slots=True)
class Lacking:
    """A tenant whose token does not hold a role; `is_known` says whether a token was had at all."""

    tenant: Tenant
    why: str
    link: str
    is_known: bool


async def lacking(
    role: str,
    registrations: Iterable[Registration],
    settings: Settings,
    *,
    clock: Clock,
    log: structlog.stdlib.BoundLogger,
) -> list[Lacking]:
    """Return the tenants that are read and lack a role, or cannot be asked, in the order of their names."""
    asked = sorted(
        (one.tenant for one in registrations if one.is_read),
        key=lambda tenant: tenant.name.casefold(),
    )
    registry = CollectorRegistry()
    tokens = tokens_of(settings, clock=clock, rng=random.Random(), registry=registry, log=log)
    done = 0

    async def ask(tenant: Tenant) -> Lacking | None:
        nonlocal done
        why, is_known = await _why(tokens, tenant, role, settings)
        done += 1
        _progress(done, len(asked))
        return None if why is None else Lacking(tenant, why, _link(tenant, settings), is_known)

    async with tokens:
        found = await asyncio.gather(*map(ask, asked))
    return [one for one in found if one is not None]


def as_json(found: Iterable[Lacking], role: str) -> Iterator[str]:
    """Yield one JSON object for each."""
    for one in found:
        named = {"tenant": one.tenant.id, "name": one.tenant.name, "role": role}
        document = {**named, "lacks": one.is_known, "why": one.why, "link": one.link}
        yield json.dumps(document, ensure_ascii=False)


def as_table(found: list[Lacking], role: str, asked: int) -> Iterator[str]:
    """Yield the lines of a table, and one that counts."""
    if found:
        rows = [(one.tenant.name, one.tenant.id, one.why, one.link) for one in found]
        # However narrow the terminal is: a link that is cut is none.
        yield from table(_HEADER, rows, None)
    unknown = sum(not one.is_known for one in found)
    more = f"; {unknown} could not be asked" if unknown else ""
    yield f"{len(found) - unknown} of {asked} tenants that are read lack {role}{more}"


async def _why(
    tokens: Tokens, tenant: Tenant, role: str, settings: Settings
) -> tuple[str | None, bool]:
    """Return why a tenant has no token with a role, None where it has; and whether that is known."""
    if why := objection(tenant.region, settings.logins, settings.entra.login_url):
        return f"its region {tenant.region} {why}", False
    try:
        claims = claims_of(await tokens.get(tenant))
    except TenantRejected as error:
        lacks = error.reason in _NO_ROLES
        return (f"lacks {role}: {error.reason}" if lacks else str(error)), lacks
    except SourceError as error:
        return str(error), False
    roles = None if claims is None else claims.get("roles", [])
    if not isinstance(roles, list):
        return "its token cannot be read", False
    return (None if role in roles else f"lacks {role}"), True


def _link(tenant: Tenant, settings: Settings) -> str:
    region, url = settings.served.get(tenant.region), settings.consent.url
    if region is None:
        return ""
    return admin_consent_url(
        login_url=settings.entra.login_url,
        client_id=settings.entra.client_id,
        resource=region.resource,
        tenant=tenant.id,
        redirect_url=None if url is None else f"{url}{CALLBACK}",
    )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} tokens", end=end, file=sys.stderr, flush=True)  # noqa: T201 - a terminal
