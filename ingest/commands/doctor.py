"""`defender-ingest doctor TENANT`: every step from DNS to the checkpoint, and where it goes wrong."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from difflib import get_close_matches

from ingest.commands.acts import Acts
from ingest.commands.calling import call
from ingest.commands.findings import Finding, Result, failed, passed, skipped
from ingest.commands.kept import Kept, findings, look_up
from ingest.commands.paint import Paint
from ingest.commands.reach import reach
from ingest.errors import CommandRefused, SourceUnavailable
from ingest.identity.directory import domain_of, tenant_of_domain
from ingest.identity.http import TokenHttp
from ingest.model.tenant import Tenant
from ingest.pipeline.trouble import trouble_of
from ingest.settings.models import Settings

_DEFAULT_REGION = "commercial"
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
            if region in settings.regions:
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
        known = sorted(self._settings.regions)
        wanted: str | None = self._words.region
        if wanted is None and kept.registration is not None:
            return kept.registration.tenant.region
        if wanted is None:
            return _DEFAULT_REGION if _DEFAULT_REGION in known or len(known) > 1 else known[0]
        if wanted in known:
            return wanted
        meant = get_close_matches(wanted, known, 1)
        hint = f"did you mean {meant[0]}?" if meant else f"one of {', '.join(known)}"
        raise CommandRefused(f"--region {wanted}: is not a key of regions; {hint}", usage=True)

    async def _reach_api(self, region: str) -> list[Finding]:
        api = self._settings.regions.get(region)
        if api is None:
            named = ", ".join(sorted(self._settings.regions))
            words = f"{region!r} is not one of the regions of this configuration ({named})"
            return [failed("region", f"{words}: give --region, or `tenants change` it")]
        return await self._reach(api.api_url, "API", f"regions.{region}.api_url")

    async def _reach(self, url: str, label: str, setting: str) -> list[Finding]:
        ca_file = self._settings.ca_file
        return await asyncio.to_thread(
            lambda: list(reach(url, label=label, setting=setting, ca_file=ca_file))
        )

    async def _tenant(self, guid: str | None) -> tuple[Finding, str | None]:
        """Ask Entra ID's public configuration whether there is such a tenant, in this cloud."""
        entra = self._settings.entra
        http = TokenHttp(
            threads=1,
            ca_file=self._settings.ca_file,
            timeout_seconds=entra.timeout_seconds,
            monotonic=self._clock.monotonic,
        )
        name = guid or domain_of(self._words.tenant) or ""
        try:
            found = await asyncio.to_thread(
                tenant_of_domain, name, login_url=entra.login_url, http=http
            )
        except CommandRefused as error:
            return failed("tenant", str(error)), None
        except SourceUnavailable as error:
            return failed("tenant", str(error), trouble_of(error, was_read=False).blame.value), None
        finally:
            http.close()
        return passed("tenant", f"{found} is one of {entra.login_url}"), found


def _are_well(steps: list[Finding]) -> bool:
    return all(one.result is Result.PASSED for one in steps)
