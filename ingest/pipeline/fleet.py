"""The tenants that are read here: workers come and go as shards are placed and tenants change."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from ingest.errors import Blame, SinkError
from ingest.model.report import RENEW_SECONDS, Report, encode_report
from ingest.model.roster import Registration, Standing
from ingest.model.status import KEPT_TRANSITIONS, FeedStatus, State, Transition
from ingest.model.tenant import FeedKey, Tenant
from ingest.pipeline.entering import say_entered
from ingest.pipeline.ports import Clock, CommitLog, Encoder, Placement
from ingest.pipeline.worker import Worker
from ingest.telemetry.metrics import PipelineMetrics

_LOOK_SECONDS = 1.0
_LOOKS = 5
"""In so many looks each reader is looked at; that one has changed its state is told after the next."""

_LINE_SECONDS = 60.0
_FORGET_SECONDS = 5.0

Spawn = Callable[[str, Callable[[], Awaitable[None]]], Callable[[], Awaitable[None]]]
"""Runs an eternal coroutine function under a name, and again if it ends unbidden; returns what ends it."""


@dataclass(slots=True)
class _Reader:
    """One worker, what it reads, and what ends it; `reported` is what was last said of it, and when."""

    registration: Registration
    worker: Worker
    end: Callable[[], Awaitable[None]]
    reported: tuple[int, float] = (-1, 0.0)


class Fleet:
    """The workers of this process.

    Args:
        placement: says which tenants are to be read here.
        log: takes their status.
        make: makes a worker for a registered tenant; the number says how many begin together.
        encoder: makes what encodes a tenant's alerts.
        replica: names this process in the status of its tenants.
        former: returns what was last said of a tenant, by whoever: its history goes on.
    """

    def __init__(
        self,
        *,
        placement: Placement,
        log: CommitLog,
        make: Callable[[Registration, int], Worker],
        encoder: Callable[[Tenant], Encoder],
        replica: str,
        former: Callable[[str], Report | None] = lambda _: None,
        clock: Clock,
        metrics: PipelineMetrics,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._placement = placement
        self._log = log
        self._make = make
        self._encoder = encoder
        self._replica = replica
        self._former = former
        self._clock = clock
        self._metrics = metrics
        self._events = events
        self._readers: dict[str, _Reader] = {}
        self._unread: dict[str, FeedStatus] = {}
        self._spawn: Spawn | None = None

    def start(self, spawn: Spawn) -> None:
        """Follow the placement from now on, and watch over the workers."""
        self._spawn = spawn
        spawn("placement of readers", self._follow)
        spawn("watch over the fleet", self._watch)

    def snapshot(self) -> list[FeedStatus]:
        """Return how every feed is doing, of the tenants that are not read too."""
        return [
            *(reader.worker.status for reader in list(self._readers.values())),
            *list(self._unread.values()),
        ]

    def registered(self) -> int:
        """Return how many tenants of our shards are registered and not removed."""
        standings = [one.standing for one in self._placement.registered().values()]
        return (
            len(standings) - standings.count(Standing.REMOVED) + len(self._placement.unreadable())
        )

    async def _follow(self) -> None:
        while True:
            await self._placement.changed()
            registered = self._placement.registered()
            await self._end_those_gone(registered)
            self._name_the_unread(registered)
            self._retarget(registered)
            self._begin(registered)

    async def _end_those_gone(self, registered: Mapping[str, Registration]) -> None:
        """End the workers of tenants that are another replica's, or not to be read any more."""
        gone = {
            tenant: self._readers.pop(tenant)
            for tenant in list(self._readers)
            if not (tenant in registered and registered[tenant].is_read)
        }
        # All at once: what they wait for can take a while, and the next one must not wait with them.
        await asyncio.gather(*(reader.end() for reader in gone.values()))
        removed = [
            reader
            for tenant, reader in gone.items()
            if tenant in registered and registered[tenant].standing is Standing.REMOVED
        ]
        await asyncio.gather(*map(self._forget, removed))

    async def _forget(self, reader: _Reader) -> None:
        tenant = reader.registration.tenant
        self._log.report(tenant.id, None, soon=True)
        try:
            async with asyncio.timeout(_FORGET_SECONDS):
                await reader.worker.forget()
        except (SinkError, TimeoutError):
            # Whoever takes the shard over next does it.
            return
        self._events.info("tenant_forgotten", tenant=tenant.id, tenant_name=tenant.name)

    def _name_the_unread(self, registered: Mapping[str, Registration]) -> None:
        """Give a status to whoever is registered here and not read: nobody is silently dark (law 7)."""
        before, self._unread = self._unread, {}
        for tenant, one in registered.items():
            if one.standing is Standing.PAUSED:
                why = f": {one.why}" if one.why else ""
                words = f"paused by {one.by}{why}"
                self._unread[tenant] = _unread(one, State.PAUSED, "paused", words)
            elif one.standing is Standing.AWAITING:
                words = f"{one.why}: approve of it with `defender-ingest tenants approve {tenant}`"
                self._unread[tenant] = _unread(one, State.PAUSED, "awaiting_approval", words)
        for tenant, why in self._placement.unreadable().items():
            status = FeedStatus(
                feed=FeedKey(tenant),
                name=tenant,
                state=State.PARKED,
                code="registration_unreadable",
                reason=why,
                blame=Blame.US,
                since=self._clock.unix(),
            )
            self._unread[tenant] = status
        for tenant, status in self._unread.items():
            known = before.get(tenant)
            is_known = known is not None and (known.code, known.reason) == (
                status.code,
                status.reason,
            )
            self._unread[tenant] = known if known and is_known else self._continued(status)
        for tenant, status in self._unread.items():
            if before.get(tenant) != status:
                self._report(status, soon=True)

    def _continued(self, status: FeedStatus) -> FeedStatus:
        """Return a status with the history of its tenant behind it; say so where it goes on from there."""
        former = self._former(status.feed.tenant)
        past = () if former is None else former.transitions
        blame = str(status.blame.value)
        entered = Transition(status.since, str(status.state), status.code, blame)
        is_new = not past or (past[-1].state, past[-1].code) != (entered.state, entered.code)
        if not is_new:
            entered, past = past[-1], past[:-1]
        status = status.but(
            since=entered.at,
            fresh_at=None if former is None else former.fresh_at,
            watermark=None if former is None else former.watermark,
            transitions=(*past, entered)[-KEPT_TRANSITIONS:],
        )
        if is_new:
            say_entered(
                status,
                was=past[-1].state if past else str(State.STARTING),
                metrics=self._metrics,
                events=self._events.bind(
                    tenant=status.feed.tenant, tenant_name=status.name, feed=str(status.feed.feed)
                ),
            )
        return status

    def _retarget(self, registered: Mapping[str, Registration]) -> None:
        for tenant, reader in self._readers.items():
            one = registered[tenant]
            before = reader.registration
            if (one.tenant, one.order) != (before.tenant, before.order):
                reader.worker.update(one.tenant, self._encoder(one.tenant), one.order)
            reader.registration = one

    def _begin(self, registered: Mapping[str, Registration]) -> None:
        fresh = [
            one for tenant, one in registered.items() if one.is_read and tenant not in self._readers
        ]
        if self._spawn is None:
            raise RuntimeError("a fleet was used before it was started")
        for one in fresh:
            worker = self._make(one, len(fresh))
            if (former := self._former(one.tenant.id)) is not None:
                worker.resume(former)
            end = self._spawn(f"reader of {worker.feed}", worker.run)
            self._readers[one.tenant.id] = _Reader(one, worker, end)
        if fresh:
            self._events.info("readers_started", tenants=len(fresh), reading=len(self._readers))

    async def _watch(self) -> None:
        line_at = self._clock.monotonic() + _LINE_SECONDS
        for look in itertools.count():
            await self._clock.sleep(_LOOK_SECONDS)
            now = self._clock.monotonic()
            readers = list(self._readers.values())
            for reader in readers[look % _LOOKS :: _LOOKS]:
                reader.worker.notice_lag(now)
                if now - reader.reported[1] >= RENEW_SECONDS:
                    self._report_reader(reader, now, soon=False)
            for reader in readers:
                if reader.worker.transitions != reader.reported[0]:
                    self._report_reader(reader, now, soon=True)
            if now >= line_at:
                line_at += _LINE_SECONDS
                self._say()
                for status in self._unread.values():
                    self._report(status, soon=False)

    def _report_reader(self, reader: _Reader, now: float, *, soon: bool) -> None:
        reader.reported = (reader.worker.transitions, now)
        self._report(reader.worker.status, soon=soon)

    def _report(self, status: FeedStatus, *, soon: bool) -> None:
        value = encode_report(status, replica=self._replica, now=self._clock.unix())
        self._log.report(status.feed.tenant, value, soon=soon)

    def _say(self) -> None:
        statuses = self.snapshot()
        states = Counter(status.state for status in statuses)
        now = self._clock.unix()
        ages = [now - status.fresh_at for status in statuses if status.fresh_at is not None]
        self._events.info(
            "fleet",
            tenants=len(statuses),
            oldest_reading_seconds=round(max(ages), 1) if ages else None,
            remembered=sum(status.remembered for status in statuses),
            **{str(state).replace("-", "_"): states[state] for state in State},
        )


def _unread(one: Registration, state: State, code: str, reason: str) -> FeedStatus:
    return FeedStatus(
        feed=FeedKey(one.tenant.id),
        name=one.tenant.name,
        state=state,
        code=code,
        reason=reason,
        blame=Blame.US,
        since=one.at,
    )
