"""A whole world in virtual time: the simulated cloud, the real readers, a commit log, and the audit.

Nothing sleeps and nothing has a socket; hours pass in seconds.
"""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import Blame, TenantRejected
from ingest.model.instant import TICKS
from ingest.model.report import Report, decode_report
from ingest.model.roster import Registration
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach
from ingest.pipeline.fleet import Fleet
from ingest.pipeline.poller import Poller
from ingest.pipeline.ports import Record, Topic
from ingest.pipeline.schedule import Schedule
from ingest.pipeline.worker import Worker
from ingest.runtime.supervisor import Supervisor
from ingest.settings.models import Region, Source
from ingest.simulator.audit import Audit, Observed, Where
from ingest.simulator.cloud import REGION, Plan, SimulatedCloud
from ingest.simulator.verdict import Verdict
from ingest.source.client import DefenderSource, TokenSource
from ingest.telemetry.metrics import PipelineMetrics, RuntimeMetrics, SourceMetrics
from tests.fakes.clock import LoopClock
from tests.fakes.commit_log import MemoryCommitLog
from tests.fakes.placement import FixedPlacement
from tests.harness.cloud_transport import CloudTokens, CloudTransport

EPOCH = 1_700_000_000.0
HOURS = 3600 * TICKS
LIMIT = 1_000_000
UNKNOWN = "99999999-9999-9999-9999-999999999999"
SILENT = structlog.wrap_logger(
    structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
)
PLAN = Plan(tenants=4, births_per_minute=30.0, version_seconds=20.0, backlog=15, limits=False)
SOURCE = Source(calls_per_minute=10**6, calls_per_hour=10**8, page_size=50)
REACH = Reach(overlap=300 * TICKS, look_back=8 * HOURS, first=8 * HOURS)


class Clock(LoopClock):
    """Virtual time moves in steps: a shorter sleep would end before it moved, again and again."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, 0.001))


class Tokens(CloudTokens):
    """As identity would have it: a tenant that Entra ID does not know is refused for good."""

    async def get(self, tenant: Tenant, *, due: float | None = None) -> str:
        if tenant.id == UNKNOWN:
            raise TenantRejected(
                "Entra ID does not know this tenant (AADSTS90002)",
                reason="unknown_tenant",
                blame=Blame.US,
            )
        return await super().get(tenant, due=due)


class World:
    """A cloud, a commit log that outlives readers, and readers that come and go."""

    def __init__(
        self,
        key: rsa.RSAPrivateKey,
        *,
        plan: Plan = PLAN,
        source: Source = SOURCE,
        reach: Reach = REACH,
        interval: float = 10.0,
        reconcile_interval: float = 60.0,
        parked_probe: float = 30.0,
        tokens: Callable[["World"], TokenSource] | None = None,
    ) -> None:
        self.clock = Clock(epoch=EPOCH)
        self.log = MemoryCommitLog(max_record_bytes=LIMIT)
        self.registry = CollectorRegistry()
        self._settings = source
        self._reach = reach
        self._interval = interval
        self._schedule = Schedule(
            interval=interval, reconcile_interval=reconcile_interval, parked_probe=parked_probe
        )
        self._starts = 0
        self._tokens = tokens or (lambda world: Tokens(world.cloud))
        # Made before any loop runs: virtual time begins with the test, not with its fixtures.
        self.cloud = SimulatedCloud(plan=plan, clock=self._now, key=key)
        self.tenants = [Tenant(c.id, c.name, REGION) for c in self.cloud.customers.values()]
        self.bad = self.tenants[0]
        # Who is registered outlives the readers, as the tenants topic does.
        self.placement = FixedPlacement(self.tenants)
        self.fleet: Fleet | None = None
        # Of the fleet itself; its readers are silent.
        self.events: structlog.stdlib.BoundLogger = SILENT
        # Others that were seen in any state but these were hurt.
        self.seen: dict[str, set[State]] = {}

    def _now(self) -> float:
        try:
            return self.clock.unix()
        except RuntimeError:
            return EPOCH

    @asynccontextmanager
    async def reading(self):
        """Read every tenant until the context is left."""
        self._starts += 1
        rng = random.Random(self._starts)
        registry = self.registry = CollectorRegistry()
        source = DefenderSource(
            settings=self._settings,
            regions={REGION: Region(api_url="https://api.test")},
            ca_file=None,
            tokens=self._tokens(self),
            clock=self.clock,
            metrics=SourceMetrics(registry),
            log=SILENT,
            transport=CloudTransport(self.cloud),
        )
        metrics = PipelineMetrics(registry)
        runtime = RuntimeMetrics(CollectorRegistry())

        def encoder(tenant: Tenant) -> CloudEvents:
            return CloudEvents(tenant=tenant, feed=FeedKey(tenant.id))

        def worker(registration: Registration, starting: int) -> Worker:
            tenant = registration.tenant
            feed = FeedKey(tenant.id)
            poller = Poller(
                tenant=tenant,
                feed=feed,
                reach=self._reach,
                page_size=self._settings.page_size,
                batch_bytes=8 * 1024 * 1024,
                source=source,
                log=self.log,
                encoder=encoder(tenant),
                clock=self.clock,
                metrics=metrics,
                events=SILENT,
            )
            return Worker(
                tenant=tenant,
                feed=feed,
                poller=poller,
                schedule=self._schedule,
                starting=starting,
                order=registration.order,
                clock=self.clock,
                rng=rng,
                metrics=metrics,
                events=SILENT,
            )

        async with Supervisor(
            clock=self.clock, rng=rng, metrics=runtime, events=SILENT
        ) as supervisor:
            # The new readers are told all that is known, and of those who came since.
            for tenant in self.tenants:
                if tenant.id not in self.placement.roster:
                    self.placement.register(tenant)
            self.placement.tell()
            self.fleet = Fleet(
                placement=self.placement,
                log=self.log,
                make=worker,
                encoder=encoder,
                replica="here",
                former=self.former,
                clock=self.clock,
                metrics=metrics,
                events=self.events,
            )
            self.fleet.start(supervisor.spawn)
            await self.until(lambda: len(self.fleet.snapshot()) == len(self.tenants), seconds=1)
            yield self
        for restarted in runtime._restarts.collect()[0].samples:
            assert restarted.name.endswith("_created") or restarted.value == 0.0

    def former(self, tenant: str) -> Report | None:
        """Return what was last said of a tenant, as the tenant-status topic would have it."""
        value = self.log.statuses.get(tenant)
        return None if value is None else decode_report(tenant.encode(), value)

    def counted(self, name: str) -> float:
        """Return a counter of the present readers, summed over its labels."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        )

    async def run(self, seconds: float) -> None:
        """Let virtual time pass, and note every state that a tenant is in."""
        for _ in range(int(seconds)):
            await asyncio.sleep(1.0)
            assert self.fleet is not None
            for status in self.fleet.snapshot():
                self.seen.setdefault(status.feed.tenant, set()).add(status.state)

    async def until(self, holds: Callable[[], bool], *, seconds: float) -> None:
        for _ in range(int(seconds)):
            await asyncio.sleep(0)
            if holds():
                return
            await self.run(1)
        assert holds(), self.status(self.bad)

    async def settle(self, *, seconds: float = 0.0) -> None:
        """Let nothing happen any more, and everything that is there be read."""
        self.cloud.freeze()
        await self.run(seconds or 9 * self._interval)

    def kill(self) -> None:
        """Forget everything that is not in the commit log: the readers are gone already."""
        self.fleet = None

    def shorten(self, reach: Reach) -> None:
        """Let the next readers look back differently."""
        self._reach = reach

    def status(self, tenant: Tenant) -> FeedStatus:
        assert self.fleet is not None
        return next(one for one in self.fleet.snapshot() if one.feed.tenant == tenant.id)

    def fault(self, kind: str, **options: Any) -> None:
        self.cloud.add_fault(self.bad.id, {"kind": kind, **options})

    def quarantined(self) -> list[Record]:
        return [record for record in self.log.published if record.topic is Topic.QUARANTINE]

    def reasons(self) -> set[str]:
        return {dict(record.headers)["ce_reason"].decode() for record in self.quarantined()}

    def checkpoint(self, tenant: Tenant) -> bytes:
        return str(FeedKey(tenant.id)).encode()

    def verdict(
        self, *, without: Tenant | None = None, outage_seconds: float | None = None
    ) -> Verdict:
        """Judge what is published; versions that lived shorter than an outage need not be there."""
        audit = Audit(poll_interval=outage_seconds or 2 * self._interval)
        self.cloud.advance()
        for line in map(json.loads, self.cloud.record.lines()):
            if without is None or line["tenant"] != without.id:
                audit.expect(line)
        audit.excuse(
            {customer.id: customer.outages.spans for customer in self.cloud.customers.values()}
        )
        for offset, record in enumerate(self.log.published):
            if without is not None and record.key.startswith(without.id.encode()):
                continue
            where = Where.ALERTS if record.topic is Topic.ALERTS else Where.QUARANTINE
            audit.saw(Observed(where, 0, offset, record.key, record.value, record.headers))
        return audit.verdict()

    def audited(self, *, without: Tenant | None = None) -> Verdict:
        """Return a clean verdict, and hold that no other tenant was touched."""
        verdict = self.verdict(without=without)
        assert verdict.report() == []
        assert verdict.clean
        for tenant in self.tenants:
            if tenant is not self.bad:
                assert self.seen[tenant.id] <= {State.STARTING, State.HEALTHY}
                assert self.status(tenant).state is State.HEALTHY
        return verdict
