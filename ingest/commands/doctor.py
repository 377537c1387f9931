"""`defender-ingest doctor TENANT`: every step from DNS to the checkpoint, and where it goes wrong."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable

from ingest.commands.acts import Acts
from ingest.commands.calling import call
from ingest.commands.customer import owner_of, region_of
from ingest.commands.findings import Finding, Result, failed, passed, skipped
from ingest.commands.kept import Kept, findings, look_up
from ingest.commands.paint import Paint
from ingest.commands.reach import reach
from ingest.errors import CommandRefused, SourceUnavailable
from ingest.identity.directory import domain_of
from ingest.model.tenant import Tenant
from ingest.pipeline.trouble import trouble_of
from ingest.settings.models import Settings
from ingest.settings.regions import objection

_LONGEST_NAME = 200


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Examine a tenant; return 0 where all is well, and 1 where a step failed.

    Raises:
        CommandRefused: nobody knows whom the words mean.
    """
    return asyncio.run(_Doctor(settings, arguments, say).perform())


class _Doctor(Acts):
    """One examination: nothing is written, and the alert API is called twice at most."""

    async def perform(self) -> int:
        """Tell each finding as it comes."""
        paint, failures = Paint.of_terminal(), []
        async for finding in self._examine():
            self._say(finding.as_json() if self._words.json else finding.as_line(paint))
            if finding.result is Result.FAILED:
                failures.append(finding.step)
        if not self._words.json:
            first = f"something is wrong, and first: {failures[0]}" if failures else ""
            self._say(f"{self._words.tenant}: {first or 'nothing is wrong'}")
        return int(bool(failures))

    async def _examine(self) -> AsyncIterator[Finding]:
        settings, clock = self._settings, self._clock
        kept = await look_up(self._words.tenant, settings.kafka, clock=clock, log=self._log)
        region = self._region(kept)
        login = await self._reach(settings.entra.login_url, "login", "entra.login_url")
        for one in login:
            yield one
        guid = None
        if _are_well(login):
            finding, guid = await self._tenant(kept.guid)
            yield finding
        api = await self._reach_api(region)
        if guid is None:
            for step in ("token", "claims"):
                yield skipped(step, "not tried: see above")
            for one in api:
                yield one
            yield skipped("alerts", "not asked for: there is no token")
        else:
            name = self._words.tenant[:_LONGEST_NAME]
            instead = self._instead(kept, are_well=_are_well(api))
            if region in settings.served:
                tenant = Tenant(guid, name, region)
                called = await call(settings, tenant, clock=clock, instead=instead)
                for one in (called.token, called.claims, *api, called.alerts):
                    yield one
            else:
                for one in api:
                    yield one
        async for one in findings(kept, settings.kafka, now=clock.unix()):
            yield one

    def _instead(self, kept: Kept, *, are_well: bool) -> Finding | None:
        """Return what is told of the alerts where they cannot be asked for, or must not be."""
        if not are_well:
            return skipped("alerts", "not asked for: the API cannot be reached")
        if kept.is_spent:
            words = "not asked for: its budget of calls is spent for now; try again in a minute"
            return skipped("alerts", words)
        return None

    def _region(self, kept: Kept) -> str:
        wanted: str | None = self._words.region
        if wanted is None and kept.registration is not None:
            return kept.registration.tenant.region
        return region_of(wanted, self._settings)

    async def _reach_api(self, region: str) -> list[Finding]:
        settings = self._settings
        if why := objection(region, settings.logins, settings.entra.login_url):
            return [failed("region", f"{region!r} {why}: give --region, or `tenants change` it")]
        url = settings.regions[region].api_url
        return await self._reach(url, "API", f"regions.{region}.api_url")

    async def _reach(self, url: str, label: str, setting: str) -> list[Finding]:
        ca_file, proxy_of = self._settings.ca_file, self._settings.http.proxy_of
        return await asyncio.to_thread(
            lambda: list(
                reach(url, label=label, setting=setting, ca_file=ca_file, proxy_of=proxy_of)
            )
        )

    async def _tenant(self, guid: str | None) -> tuple[Finding, str | None]:
        """Ask Entra ID's public configuration whether there is such a tenant, in this cloud."""
        name = guid or domain_of(self._words.tenant) or ""
        try:
            found = await owner_of(name, self._settings)
        except CommandRefused as error:
            return failed("tenant", str(error)), None
        except SourceUnavailable as error:
            return failed("tenant", str(error), trouble_of(error, was_read=False).blame.value), None
        return passed("tenant", f"{found} is one of {self._settings.entra.login_url}"), found


def _are_well(steps: list[Finding]) -> bool:
    return all(one.result is Result.PASSED for one in steps)
