"""Access tokens of all tenants: one request in flight per tenant, renewed ahead of time."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ingest.errors import CredentialRejected, SourceError
from ingest.identity.claims import advise
from ingest.identity.credential import Credential
from ingest.identity.entra import EntraId, Granted
from ingest.identity.expiry import Expiry
from ingest.identity.http import LoginHttp
from ingest.identity.keeper import Keeper
from ingest.identity.proof import Proof
from ingest.identity.turns import Turns
from ingest.model.credential import CredentialStatus
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.settings.models import Entra
from ingest.settings.proxy import ProxyOf, environment_proxy
from ingest.settings.regions import Region
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


@dataclass(slots=True)
class _Flight:
    """One request, from its asking on; `wanted` counts who waits for it, `is_sent` that it has left."""

    task: "asyncio.Task[str]" = field(init=False)
    wanted: int = 0
    is_sent: bool = False


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
        proxy_of: which proxy a host is reached through.
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
        proxy_of: ProxyOf = environment_proxy,
    ) -> None:
        self._regions = regions
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log
        self._http = LoginHttp(
            connections=settings.token_requests,
            ca_file=ca_file,
            timeout_seconds=settings.timeout_seconds,
            proxy_of=proxy_of,
        )
        keeper = Keeper(settings=settings, log=log)
        self._entra = EntraId(
            settings=settings, http=self._http, clock=clock, credential=keeper.setting
        )
        self._credential = Credential(
            keeper=keeper, monotonic=clock.monotonic, metrics=metrics, log=log
        )
        self._expiry = Expiry(
            keeper=keeper,
            warn_days=settings.expiry_warning_days,
            unix=clock.unix,
            metrics=metrics,
            log=log,
        )
        self._held: dict[str, _Held] = {}
        most = settings.token_requests
        self._turns = Turns(lambda: min(self._credential.at_once or most, most))
        self._flights: dict[str, _Flight] = {}

    async def __aenter__(self) -> Self:
        """Nothing is asked for before somebody needs it."""
        self._expiry.look()
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give up what is in flight."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.__aexit__(None, None, None)

    def credential(self) -> CredentialStatus:
        """Return how the application's credential is doing."""
        return self._expiry.status(is_rejected=self._credential.is_rejected)

    async def get(self, tenant: Tenant, *, due: float | None = None) -> str:
        """Return a token that holds for at least another minute.

        Where more are asked for than may be at once, those who are due first come first: `due` is in
        Unix seconds, None says now.

        Raises:
            SourceError: as its class says.
        """
        now = self._clock.monotonic()
        held = self._held.get(tenant.id)
        if held is None or now >= held.ends_at:
            return await self._fly(tenant, due)
        if now >= held.renew_at and tenant.id not in self._flights:
            # The old one still holds, so nobody has to wait; nor is it lost if this fails.
            held.renew_at = now + _RETRY_SECONDS * (0.5 + self._rng.random())
            flight = self._start(tenant, self._clock.unix() + held.ends_at - now)
            flight.wanted = 1
            flight.task.add_done_callback(lambda done: self._note(tenant, done))
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
        return await self._fly(tenant, None)

    async def _fly(self, tenant: Tenant, due: float | None) -> str:
        """Wait for the tenant's one request; once it is sent, whoever stops waiting does not stop it."""
        flight = self._flights.get(tenant.id)
        if flight is None:
            flight = self._start(tenant, self._clock.unix() if due is None else due)
        flight.wanted += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.wanted -= 1
            if not flight.wanted and not flight.is_sent:
                # Its tenant is read elsewhere by now: others wait for their turn.
                self._forget(tenant, flight)
                flight.task.cancel()

    def _start(self, tenant: Tenant, due: float) -> _Flight:
        flight = self._flights[tenant.id] = _Flight()
        flight.task = asyncio.get_running_loop().create_task(
            self._acquire(tenant, flight, due), name=f"token of {tenant.id}"
        )
        flight.task.add_done_callback(lambda done: self._land(tenant, flight, done))
        return flight

    def _land(self, tenant: Tenant, flight: _Flight, done: "asyncio.Task[str]") -> None:
        self._forget(tenant, flight)
        if not done.cancelled():
            # Seen, also where nobody waits any more.
            done.exception()

    def _forget(self, tenant: Tenant, flight: _Flight) -> None:
        if self._flights.get(tenant.id) is flight:
            del self._flights[tenant.id]

    def _note(self, tenant: Tenant, done: "asyncio.Task[str]") -> None:
        error = None if done.cancelled() else done.exception()
        is_said = isinstance(error, CredentialRejected) and error.is_confirmed
        if error is not None and not is_said:
            self._log.warning(
                "token_renewal_failed",
                tenant=tenant.id,
                tenant_name=tenant.name,
                error=str(error) if isinstance(error, SourceError) else type(error).__name__,
            )

    async def _acquire(self, tenant: Tenant, flight: _Flight, due: float) -> str:
        async with self._turns.turn(due):
            flight.is_sent = True
            return await self._request(tenant)

    async def _request(self, tenant: Tenant) -> str:
        proof = self._credential.take()
        self._expiry.look(proof)
        while True:
            try:
                return await self._attempt(tenant, proof)
            except CredentialRejected as error:
                # What is said of a former one, while another is there already, is no news.
                successor = self._credential.successor(proof)
                if successor is None:
                    error.is_confirmed = self._credential.refused(tenant.id, error)
                    raise
                proof = successor

    async def _attempt(self, tenant: Tenant, proof: Proof) -> str:
        began = self._clock.monotonic()
        outcome = "cancelled"
        try:
            granted = await self._ask(tenant, proof)
            outcome = "ok"
        except SourceError as error:
            outcome = error.reason
            raise
        finally:
            self._metrics.request(outcome=outcome, seconds=self._clock.monotonic() - began)
        self._hold(tenant, granted)
        return granted.token

    async def _ask(self, tenant: Tenant, proof: Proof) -> Granted:
        resource = self._regions[tenant.region].resource
        granted = await self._entra.acquire(tenant, resource=resource, proof=proof)
        self._credential.accepted(proof)
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
