"""The laws, held by the real poller on a commit log that crashes, rewinds and refuses."""

import asyncio

import structlog
from hypothesis import event, given, settings
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import SourceUnavailable
from ingest.model.instant import to_unix
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from ingest.pipeline.poller import Cycle, Poller
from ingest.pipeline.ports import Topic
from ingest.telemetry.metrics import PipelineMetrics
from tests.fakes.commit_log import MemoryCommitLog
from tests.fakes.vendor import Vendor, VendorSource, content_of
from tests.property.reader import Crash, Findings
from tests.property.worlds import BEGIN, MINUTE, REACH, SECOND, SPAN, World, worlds

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
FEED = FeedKey(TENANT.id)
ROUNDS = 10
CAPS = (None, 25, 33)
"""Below any cap of a real server the poller believes a short answer; so no cap here is that low."""


class TroubledLog(MemoryCommitLog):
    """Crashes before or after a commit, loses its answer, or refuses its first record."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._rng = world.rng("log")
        self.rate = world.crashes

    async def commit(self, batch) -> None:
        trouble = self._rng.random() < self.rate
        kind = self._rng.choice(["crash", "crashed", "before", "after", "reject"])
        if not trouble:
            return await super().commit(batch)
        if kind == "crash":
            raise Crash
        if kind == "crashed":
            await super().commit(batch)
            raise Crash
        if kind != "reject" or (batch.records and batch.records[0].topic is Topic.ALERTS):
            self.failures.append(kind)
        return await super().commit(batch)


class VendorClock:
    """A local clock that is wrong by as much as the world says; to sleep is to let time pass."""

    def __init__(self, vendor: Vendor, world: World) -> None:
        self._vendor = vendor
        self._skew = world.local_skew

    def monotonic(self) -> float:
        return to_unix(self._vendor.now)

    def unix(self) -> float:
        return to_unix(self._vendor.now + self._skew)

    async def sleep(self, seconds: float) -> None:
        self._vendor.pass_time(round(seconds * SECOND))
        await asyncio.sleep(0)


class Stand:
    """One poller after another, reading one world."""

    def __init__(self, world: World) -> None:
        versions = world.versions()
        self.vendor = Vendor(versions, world.quirks, now=BEGIN, rng=world.rng("vendor"))
        self.findings = Findings(versions)
        self.log = TroubledLog(world)
        self.cycles: list[Cycle] = []
        self.ends: list[str] = []
        self._rng = world.rng("poller")
        self._rate = world.crashes / 10
        self._clock = VendorClock(self.vendor, world)
        self._source = VendorSource(self.vendor, pace=self._pace, trouble=self._trouble)
        self._poller = self._start()

    async def run(self) -> None:
        for _ in range(ROUNDS):
            await self._turn(Tier.FAST)
            if self._rng.random() < 0.4:
                await self._turn(Tier.SLOW)
            self.vendor.pass_time(self._rng.randrange(MINUTE, 12 * MINUTE))
        self.vendor.pass_time(max(0, BEGIN + SPAN + 90 * MINUTE - self.vendor.now))
        self.log.rate = self._rate = 0.0
        for tier in (Tier.FAST, Tier.SLOW):
            await self._turn(tier)

    def _start(self) -> Poller:
        return Poller(
            tenant=TENANT,
            feed=FEED,
            reach=REACH,
            page_size=40,
            batch_bytes=2_000,
            source=self._source,
            log=self.log,
            encoder=CloudEvents(tenant=TENANT, feed=FEED),
            clock=self._clock,
            metrics=PipelineMetrics(CollectorRegistry()),
            events=structlog.get_logger(),
        )

    async def _turn(self, tier: Tier) -> None:
        cycle = Cycle(tier)
        end = "whole"
        try:
            await self._poller.sweep(tier, cycle)
        except Crash:
            end = "crash"
            self._poller = self._start()
        except SourceUnavailable:
            end = "unavailable"
        self.ends.append(end)
        self.cycles.append(cycle)
        if self._poller.watermark is not None:
            assert self._poller.watermark <= to_unix(max(self.vendor.dates))
            assert self._poller.reconciled_to <= to_unix(max(self.vendor.dates))

    def _pace(self) -> None:
        self.vendor.pass_time(self._rng.randrange(SECOND // 5, 2 * SECOND))

    def _trouble(self, ask) -> None:
        if self._rng.random() < self._rate:
            raise SourceUnavailable("a cut line", reason="network")

    @property
    def doubted(self) -> bool:
        return any(cycle.doubts for cycle in self.cycles)


def published(stand: Stand) -> list[tuple[str, int]]:
    return [content_of(r.value) for r in stand.log.published if r.topic is Topic.ALERTS]


@settings(deadline=None, max_examples=40)
@given(world=worlds(caps=CAPS, alerts=(20, 200)))
def test_the_poller_keeps_the_laws_over_crashes_rewinds_and_refusals(world):
    stand = Stand(world)
    asyncio.run(stand.run())
    event(f"ends: {sorted(set(stand.ends))}, doubts: {stand.doubted}")
    alerts = published(stand)
    aside = [content_of(r.value) for r in stand.log.published if r.topic is Topic.QUARANTINE]
    assert len(set(alerts)) == len(alerts)
    assert len(set(aside)) == len(aside)
    assert not set(alerts) & set(aside)
    for id_ in {id_ for id_, _ in alerts}:
        numbers = [number for other, number in alerts if other == id_]
        assert numbers == sorted(numbers)
    for cycle in stand.cycles:
        assert cycle.received == (
            cycle.published + cycle.duplicates + cycle.stale + cycle.quarantined
        )
        assert cycle.calls <= 2_000
    now = stand.vendor.now
    shown = {v.content for v in stand.findings.shown(now, now) if v.updated <= now}
    assert stand.doubted or shown <= {*alerts, *aside}
