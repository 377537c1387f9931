"""Access tokens of all tenants: one request in flight per tenant, renewed ahead of time."""

import asyncio
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ingest.errors import CredentialRejected, SourceError
from ingest.identity.claims import advise
from ingest.identity.credential import Credential
from ingest.identity.entra import EntraId, Granted
from ingest.identity.http import TokenHttp
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.settings.models import Entra, Region
from ingest.telemetry.metrics import IdentityMetrics

_RENEW_FROM, _RENEW_SPREAD = 0.7, 0.2
"""A token is renewed after 70 to 90 % of its life, so that a fleet does not renew in step."""

_MARGIN_SECONDS = 60.0
"""A token is not used in its last minute, or last tenth where it lives shortly."""

_RETRY_SECONDS = 60.0


@dataclass(slots=True)
class _Held:
    token: str = field(repr=False)
    renew_at: float
    ends_at: float


class Tokens:
    """Gives each tenant its token; see `ingest.source.client.TokenSource`.

    Args:
        settings: of Entra.
        regions: say which resource a tenant's token is for.
        ca_file: certificate authorities in place of the system's.
        clock: local time.
        rng: jitter.
        metrics: are told of every request.
        log: for renewals that failed while the old token still holds.
    """

    def __init__(
        self,
        *,
        settings: Entra,
        regions: Mapping[str, Region],
        ca_file: Path | None,
        clock: Clock,
        rng: random.Random,
        metrics: IdentityMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._regions = regions
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log
        self._http = TokenHttp(
            threads=settings.token_threads,
            ca_file=ca_file,
            timeout_seconds=settings.timeout_seconds,
            monotonic=clock.monotonic,
        )
        self._entra = EntraId(settings=settings, http=self._http, clock=clock)
        self._credential = Credential(
            settings=settings, monotonic=clock.monotonic, metrics=metrics, log=log
        )
        self._threads = ThreadPoolExecutor(settings.token_threads, "token")
        self._held: dict[str, _Held] = {}
        self._flights: dict[str, asyncio.Task[str]] = {}

    async def __aenter__(self) -> Self:
        """Nothing is asked for before somebody needs it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give up what is in flight; its thread ends by its timeout at the latest."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    async def get(self, tenant: Tenant) -> str:
        """Return a token that holds for at least another minute.

        Raises:
            SourceError: as its class says.
        """
        now = self._clock.monotonic()
        held = self._held.get(tenant.id)
        if held is None or now >= held.ends_at:
            return await self._fly(tenant)
        if now >= held.renew_at and tenant.id not in self._flights:
            # The old one still holds, so nobody has to wait; nor is it lost if this fails.
            held.renew_at = now + _RETRY_SECONDS * (0.5 + self._rng.random())
            self._start(tenant).add_done_callback(lambda flight: self._note(tenant, flight))
        return held.token

    async def refresh(self, tenant: Tenant, rejected: str) -> str:
        """Return another token than the one that the API refused; asks for one unless there is one.

        Raises:
            SourceError: as its class says.
        """
        held = self._held.get(tenant.id)
        if held is not None and held.token != rejected:
            return held.token
        self._held.pop(tenant.id, None)
        return await self._fly(tenant)

    async def _fly(self, tenant: Tenant) -> str:
        """Wait for the tenant's one request; whoever stops waiting does not stop it."""
        flight = self._flights.get(tenant.id) or self._start(tenant)
        return await asyncio.shield(flight)

    def _start(self, tenant: Tenant) -> "asyncio.Task[str]":
        flight = asyncio.get_running_loop().create_task(
            self._acquire(tenant), name=f"token of {tenant.id}"
        )
        self._flights[tenant.id] = flight
        flight.add_done_callback(lambda done: self._land(tenant, done))
        return flight

    def _land(self, tenant: Tenant, flight: "asyncio.Task[str]") -> None:
        if self._flights.get(tenant.id) is flight:
            del self._flights[tenant.id]
        if not flight.cancelled():
            # Seen, also where nobody waits any more.
            flight.exception()

    def _note(self, tenant: Tenant, flight: "asyncio.Task[str]") -> None:
        error = None if flight.cancelled() else flight.exception()
        if error is not None:
            self._log.warning(
                "token_renewal_failed",
                tenant=tenant.id,
                tenant_name=tenant.name,
                error=str(error) if isinstance(error, SourceError) else type(error).__name__,
            )

    async def _acquire(self, tenant: Tenant) -> str:
        secret = self._credential.take()
        began = self._clock.monotonic()
        outcome = "cancelled"
        try:
            granted = await self._ask(tenant, secret)
            outcome = "ok"
        except SourceError as error:
            outcome = error.reason
            # What is said of a former secret, while a new one is there already, is no news.
            if isinstance(error, CredentialRejected) and self._credential.holds(secret):
                self._credential.refused(tenant.id, error)
            raise
        finally:
            self._metrics.request(outcome=outcome, seconds=self._clock.monotonic() - began)
        self._hold(tenant, granted)
        return granted.token

    async def _ask(self, tenant: Tenant, secret: str) -> Granted:
        resource = self._regions[tenant.region].resource
        granted = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._entra.acquire(tenant, resource=resource, secret=secret),
        )
        self._credential.accepted()
        advise(
            granted.token,
            tenant=tenant,
            resource=resource,
            consent_url=self._entra.consent_url(tenant),
        )
        return granted

    def _hold(self, tenant: Tenant, granted: Granted) -> None:
        now = self._clock.monotonic()
        life = granted.lifetime
        share = _RENEW_FROM + _RENEW_SPREAD * self._rng.random()
        self._held[tenant.id] = _Held(
            token=granted.token,
            renew_at=now + life * share,
            ends_at=now + life - min(_MARGIN_SECONDS, life / 10),
        )
