"""A process with the real poller, which can be killed or frozen at any await, and a log that it shares."""

import asyncio
import random
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import SourceUnavailable
from ingest.model.instant import to_unix
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from ingest.pipeline.poller import Cycle, Poller
from ingest.pipeline.ports import Batch, Topic
from ingest.telemetry.metrics import PipelineMetrics
from tests.fakes.commit_log import MemoryCommitLog
from tests.fakes.process import Process
from tests.fakes.vendor import Vendor, VendorSource
from tests.property.replicas import SILENT
from tests.property.worlds import REACH, SECOND, World

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
FEED = FeedKey(TENANT.id)


class Kafka(MemoryCommitLog):
    """Serves one process at a time; whoever comes later is the owner, and the one before can only wait."""

    owner: Process | None = None

    def take_over(self, process: Process) -> None:
        self.owner = process
        self._epochs[str(FEED)] = self._epochs.get(str(FEED), 0) + 1


class Daemon:
    """One process with its poller; it is source, log and clock to it, each behind the gate."""

    poller_class = Poller

    def __init__(self, kafka: Kafka, vendor: Vendor, world: World, rng: random.Random) -> None:
        self.process = Process("daemon", rng)
        self.cycles: list[Cycle] = []
        self.reading: asyncio.Task[None] | None = None
        self.trouble = 0
        self._kafka, self._vendor, self._skew = kafka, vendor, world.local_skew
        self._source = VendorSource(
            vendor, pace=lambda: vendor.pass_time(rng.randrange(SECOND // 5, 2 * SECOND))
        )
        self.canonical, self.begin = self._source.canonical, self._source.begin
        self.max_record_bytes = kafka.max_record_bytes
        self.poller = self.poller_class(
            tenant=TENANT,
            feed=FEED,
            reach=REACH,
            page_size=40,
            batch_bytes=2_000,
            source=self,
            log=self,
            encoder=CloudEvents(tenant=TENANT, feed=FEED),
            clock=self,
            metrics=PipelineMetrics(CollectorRegistry()),
            events=SILENT,
        )
        kafka.take_over(self.process)

    def read(self, tier: Tier) -> None:
        self.cycles.append(Cycle(tier))
        self.reading = self.process.spawn(self._read(tier, self.cycles[-1]))

    async def _read(self, tier: Tier, cycle: Cycle) -> None:
        try:
            await self.poller.sweep(tier, cycle)
        except SourceUnavailable:
            return

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def unix(self) -> float:
        return to_unix(self._vendor.now + self._skew)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._vendor.pass_time(round(seconds * SECOND))
        await self.process.gate()

    @asynccontextmanager
    async def fetch(self, tenant, ask):
        await self.process.gate()
        if self.trouble:
            self.trouble -= 1
            raise SourceUnavailable("a cut line", reason="network")
        async with self._source.fetch(tenant, ask) as page:
            await self.process.gate()
            yield page

    async def restore(self, feed: FeedKey):
        await self.process.gate()
        restored = None
        while restored is None or self._kafka.owner is not self.process:
            await self.process.patience(lambda: self._kafka.owner is self.process)
            restored = await self._kafka.restore(feed)
        await self.process.gate()
        return restored

    async def commit(self, batch: Batch) -> None:
        await self.process.gate()
        refusable = bool(batch.records) and batch.records[0].topic is Topic.ALERTS
        if not refusable and "reject" in self._kafka.failures:
            self._kafka.failures.clear()
        await self._kafka.commit(batch)
        await self.process.gate()
