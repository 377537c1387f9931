"""The alert API of all tenants: one question, one call, one page."""

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec
import structlog

from ingest.errors import (
    AnswerTooLarge,
    Blame,
    QueryRefused,
    SourceError,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.model.alert import Alert, Malformed
from ingest.model.budget import Budget
from ingest.model.instant import from_http_date, from_unix, to_unix
from ingest.model.sweep import Ask
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock, Page
from ingest.settings.models import Source
from ingest.settings.proxy import ProxyOf, environment_proxy
from ingest.settings.regions import Region
from ingest.source.budgets import Budgets
from ingest.source.desk import Desk
from ingest.source.memory import SMALL_BYTES, Lease, Room
from ingest.source.query import followed_link, url_of
from ingest.source.records import canonical, read, split
from ingest.source.transport import AiohttpTransport, Reply, Transport
from ingest.source.turns import Turns
from ingest.telemetry.metrics import SourceMetrics

_PAUSE_CAP_SECONDS = 3600.0
"""No `Retry-After` is obeyed for longer: after an hour one call asks whether it still holds."""

_ERROR_BYTES = 16 * 1024

_RECORDS_AT_ONCE = 500
"""Records read before the loop is given to others."""

_Split = tuple[list[msgspec.Raw], object]

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")

_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_TOO_MANY, _SERVER_ERRORS = 429, 500


class TokenSource(Protocol):
    """What the source needs of identity."""

    async def get(self, tenant: Tenant, *, due: float | None = None) -> str:
        """Return a token for the tenant's API; where many wait, those first who are due first."""
        ...

    async def refresh(self, tenant: Tenant, rejected: str) -> str:
        """Return another one, since the API refused this."""
        ...


class _Error(msgspec.Struct):
    code: str = ""


class _Envelope(msgspec.Struct):
    error: _Error


class DefenderSource:
    """Implements `ingest.pipeline.ports.Source`.

    Args:
        settings: of the source.
        regions: API hosts by name; a token goes to no other.
        ca_file: certificate authorities in place of the system's.
        tokens: gives tokens.
        clock: local time.
        metrics: are told of every call.
        log: for what an operator should know.
        proxy_of: which proxy a host is reached through.
        transport: in place of real HTTP.
    """

    def __init__(
        self,
        *,
        settings: Source,
        regions: Mapping[str, Region],
        ca_file: Path | None,
        tokens: TokenSource,
        clock: Clock,
        metrics: SourceMetrics,
        log: structlog.stdlib.BoundLogger,
        proxy_of: ProxyOf = environment_proxy,
        transport: Transport | None = None,
    ) -> None:
        self._settings = settings
        self._regions = regions
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._transport = transport or AiohttpTransport(
            settings=settings, ca_file=ca_file, proxy_of=proxy_of
        )
        self._room = Room(
            capacity=settings.memory_bytes, largest=settings.page_bytes, tell=metrics.memory
        )
        self._desk = Desk(largest=settings.page_bytes, clock=clock)
        # Whoever waits for a connection must hold no room that those who have one need; and a call's time
        # does not run while it waits for its turn.
        self._turns = Turns(settings.connections, is_enough=lambda: self._desk.is_busy)
        self._budgets = Budgets(settings=settings, clock=clock, metrics=metrics)
        self._links_refused: set[str] = set()

    async def __aenter__(self) -> Self:
        """Open the transport."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._transport.__aexit__(kind, error, traceback)

    def canonical(self, alert: Alert) -> int:
        """See `Source.canonical`."""
        return canonical(alert)

    def calls_left(self, tenant: Tenant) -> int | None:
        """See `Source.calls_left`."""
        return self._budgets.left(tenant.id)

    def begin(self, tenant: Tenant, *, tenure: int, granted: float) -> None:
        """See `Source.begin`."""
        self._budgets.begin(tenant.id, tenure=tenure, granted=granted)

    async def prepare(self, tenant: Tenant, *, due: float) -> None:
        """See `Source.prepare`."""
        self._region(tenant)
        await self._tokens.get(tenant, due=due)

    @asynccontextmanager
    async def fetch(self, tenant: Tenant, ask: Ask) -> AsyncIterator[Page]:
        """See `Source.fetch`."""
        region = self._region(tenant)
        token = await self._tokens.get(tenant)
        page = None
        for token_is_fresh in (False, True):
            budget = await self._budgets.spend(tenant.id)
            async with self._room.lease() as lease, self._desk.place() as place:
                # Only now: who waits for a token or a budget must not have a turn that others need.
                async with self._turns:
                    # What most answers need is taken before they are asked for.
                    await lease.cover(SMALL_BYTES)
                    page = await self._call(tenant, region, ask, token, lease, place, budget)
                if page is not None:
                    yield page
                    return
            if not token_is_fresh:
                token = await self._tokens.refresh(tenant, token)
        raise TenantRejected(
            "the alert API refuses fresh tokens of this tenant (401): check that its region "
            "is the right one and that Defender for Endpoint is licensed",
            reason="unauthorized",
            blame=Blame.CUSTOMER,
        )

    def _region(self, tenant: Tenant) -> Region:
        region = self._regions.get(tenant.region)
        if region is None:
            raise TenantRejected(
                f"the tenant is registered in the region {tenant.region!r}, which this configuration does "
                f"not serve (regions, entra.login_url): one of {', '.join(sorted(self._regions))} is needed",
                reason="unknown_region",
                blame=Blame.US,
            )
        return region

    async def _call(
        self,
        tenant: Tenant,
        region: Region,
        ask: Ask,
        token: str,
        lease: Lease,
        place: Lease,
        budget: Budget,
    ) -> Page | None:
        """Make one call; None says that the token was refused."""
        began, ended = self._clock.monotonic(), None
        headers = {"Authorization": f"Bearer {token}"}
        outcome, size, records = "cancelled", 0, 0
        try:
            async with self._transport.get(url_of(region.api_url, ask), headers) as reply:
                if reply.status == _UNAUTHORIZED:
                    outcome = "unauthorized"
                    return None
                if reply.status != _OK:
                    raise await self._refusal(reply, budget)
                body = await self._body(reply, lease)
                size, ended = len(body), self._clock.monotonic()
                await self._desk.take(place, size)
                page = await self._page(tenant, region, reply, body)
                outcome, records = "ok", len(page.records)
                return page
        except SourceError as error:
            outcome = error.reason
            raise
        finally:
            self._metrics.request(
                outcome=outcome,
                seconds=(ended or self._clock.monotonic()) - began,
                size=size,
                records=records,
            )

    async def _body(self, reply: Reply, lease: Lease) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in reply.pieces():
            size += len(piece)
            if size > self._settings.page_bytes:
                raise AnswerTooLarge(
                    f"the answer is larger than {self._settings.page_bytes} bytes "
                    "(source.page_bytes); a smaller question is asked",
                    reason="too_large",
                )
            await lease.cover(size)
            pieces.append(piece)
        return b"".join(pieces)

    async def _page(self, tenant: Tenant, region: Region, reply: Reply, body: bytes) -> Page:
        try:
            raws, link = await _in_turns(split(body))
        except ValueError as error:
            raise SourceUnavailable(
                f"the alert API's answer is {error}", reason="unreadable"
            ) from None
        next_link = None
        if link is not None:
            next_link = followed_link(region.api_url, link)
            if next_link is None:
                self._refuse_link(tenant)
        records: list[Alert | Malformed] = []
        for start in range(0, len(raws), _RECORDS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            records += map(read, raws[start : start + _RECORDS_AT_ONCE])
        return Page(
            records=tuple(records),
            server_time=self._server_time(reply),
            next_link=next_link,
            linked=link is not None,
            body_bytes=len(body),
        )

    def _refuse_link(self, tenant: Tenant) -> None:
        self._metrics.link_refused()
        if tenant.id not in self._links_refused:
            self._links_refused.add(tenant.id)
            self._log.warning("next_link_refused", tenant=tenant.id, tenant_name=tenant.name)

    def _server_time(self, reply: Reply) -> int:
        try:
            return _date(reply.header("Date"))
        except (ValueError, TypeError, OverflowError):
            return from_unix(self._clock.unix())

    async def _refusal(self, reply: Reply, budget: Budget) -> SourceError:
        """Return the error that an answer other than 200 stands for."""
        status = reply.status
        code = await _error_code(reply)
        said = f"{status} {code}".strip()
        if status == _TOO_MANY:
            wait = self._retry_after(reply)
            if wait is not None:
                budget.pause(self._clock.monotonic() + min(wait, _PAUSE_CAP_SECONDS))
                self._metrics.throttled(min(wait, _PAUSE_CAP_SECONDS))
            asked = "" if wait is None else f" and asks for {wait:.0f} s of silence"
            return Throttled(f"the alert API throttles this tenant{asked}", retry_after=wait)
        if status == _BAD_REQUEST:
            return QueryRefused(f"the alert API refuses a query ({said})", reason="http_400")
        if status == _FORBIDDEN:
            return TenantRejected(
                f"the alert API refuses this tenant ({said}): the application lacks the permission "
                "Alert.Read.All there, or Defender for Endpoint is off; its administrator must consent",
                reason="forbidden",
                blame=Blame.CUSTOMER,
            )
        if status == _NOT_FOUND:
            return TenantRejected(
                f"the alert API does not know this tenant or this path ({said}): "
                "check the tenant's region and the region's api_url",
                reason="not_found",
                blame=Blame.US,
            )
        if status >= _SERVER_ERRORS and (wait := self._retry_after(reply)):
            budget.pause(self._clock.monotonic() + min(wait, _PAUSE_CAP_SECONDS))
        return SourceUnavailable(f"the alert API answers {said}", reason=f"http_{status}")

    def _retry_after(self, reply: Reply) -> float | None:
        """Return the seconds of a `Retry-After` in either of its forms."""
        text = reply.header("Retry-After").strip()
        if text.isascii() and text.isdigit():
            # An absurd one is long, however long its digits are.
            return float(text[:12])
        try:
            until = from_http_date(text)
        except (ValueError, TypeError, OverflowError):
            return None
        return max(0.0, to_unix(until - self._server_time(reply)))


@lru_cache(maxsize=64)
def _date(text: str) -> int:
    """Read a `Date`, whose seconds many answers share."""
    return from_http_date(text)


async def _in_turns(steps: Generator[None, None, _Split]) -> _Split:
    """Work something off; others get their turn between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            done: _Split = end.value
            return done
        await asyncio.sleep(0)


async def _error_code(reply: Reply) -> str:
    """Return the code of an error envelope; its message is free text and stays where it is."""
    body = b""
    try:
        async for piece in reply.pieces():
            body += piece
            if len(body) > _ERROR_BYTES:
                return ""
        code = msgspec.json.decode(body, type=_Envelope).error.code
    except (SourceError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return code if _CODE.fullmatch(code) else ""
