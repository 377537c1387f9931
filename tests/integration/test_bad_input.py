"""The issue's list of bad input, in virtual time, through the real readers: clear, whole, contained.

Each test lets one tenant of several meet something bad. Then the simulator's own audit says whether
anything of anybody is lost, twice or in the wrong place, and the other tenants were well all along.
"""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import Blame, TenantRejected
from ingest.model.instant import TICKS
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
from ingest.simulator.content import MALFORMED_FORMS
from ingest.simulator.verdict import Verdict
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import PipelineMetrics, RuntimeMetrics, SourceMetrics
from tests.fakes.clock import LoopClock
from tests.fakes.commit_log import MemoryCommitLog
from tests.harness.cloud_transport import CloudTokens, CloudTransport

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

TENANTS = 4
INTERVAL = 10.0
EPOCH = 1_700_000_000.0
HOURS = 3600 * TICKS
REACH = Reach(overlap=300 * TICKS, look_back=8 * HOURS, first=8 * HOURS)
LIMIT = 1_000_000
SILENT = structlog.wrap_logger(
    structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
)
UNKNOWN = "99999999-9999-9999-9999-999999999999"


class Clock(LoopClock):
    """Virtual time moves in steps: a shorter sleep would end before it moved, again and again."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, 0.001))


class Tokens(CloudTokens):
    """As identity would have it: a tenant that Entra ID does not know is refused for good."""

    async def get(self, tenant: Tenant) -> str:
        if tenant.id == UNKNOWN:
            raise TenantRejected(
                "Entra ID does not know this tenant (AADSTS90002)",
                reason="unknown_tenant",
                blame=Blame.US,
            )
        return await super().get(tenant)


class World:
    """A cloud, a commit log that outlives readers, and readers that come and go."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.clock = Clock(epoch=EPOCH)
        self.log = MemoryCommitLog(max_record_bytes=LIMIT)
        plan = Plan(
            tenants=TENANTS, births_per_minute=30.0, version_seconds=20.0, backlog=15, limits=False
        )
        # Made before any loop runs: virtual time begins with the test, not with its fixtures.
        self.cloud = SimulatedCloud(plan=plan, clock=self._now, key=key)
        self.tenants = [Tenant(c.id, c.name, REGION) for c in self.cloud.customers.values()]
        self.bad = self.tenants[0]
        self.fleet: Fleet | None = None
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
        rng = random.Random(1)
        registry = CollectorRegistry()
        source = DefenderSource(
            settings=Source(calls_per_minute=10**6, calls_per_hour=10**8, page_size=50),
            regions={REGION: Region(api_url="https://api.test")},
            ca_file=None,
            tokens=Tokens(self.cloud),
            clock=self.clock,
            metrics=SourceMetrics(registry),
            log=SILENT,
            transport=CloudTransport(self.cloud),
        )
        metrics = PipelineMetrics(registry)
        runtime = RuntimeMetrics(CollectorRegistry())

        def worker(tenant: Tenant) -> Worker:
            feed = FeedKey(tenant.id)
            poller = Poller(
                tenant=tenant,
                feed=feed,
                reach=REACH,
                page_size=50,
                batch_bytes=8 * 1024 * 1024,
                source=source,
                log=self.log,
                encoder=CloudEvents(tenant=tenant, feed=feed),
                clock=self.clock,
                metrics=metrics,
                events=SILENT,
            )
            return Worker(
                tenant=tenant,
                feed=feed,
                poller=poller,
                schedule=Schedule(interval=INTERVAL, reconcile_interval=60.0, parked_probe=30.0),
                fleet=len(self.tenants),
                clock=self.clock,
                rng=rng,
                metrics=metrics,
                events=SILENT,
            )

        async with Supervisor(
            clock=self.clock, rng=rng, metrics=runtime, events=SILENT
        ) as supervisor:
            self.fleet = Fleet(workers=map(worker, self.tenants), clock=self.clock, events=SILENT)
            self.fleet.start(supervisor.spawn)
            yield self
        for restarted in runtime._restarts.collect()[0].samples:
            assert restarted.name.endswith("_created") or restarted.value == 0.0

    async def run(self, seconds: float) -> None:
        """Let virtual time pass, and note every state that a tenant is in."""
        for _ in range(int(seconds)):
            await asyncio.sleep(1.0)
            for tenant in self.tenants:
                self.seen.setdefault(tenant.id, set()).add(self.status(tenant).state)

    async def until(self, holds: Callable[[], bool], *, seconds: float) -> None:
        for _ in range(int(seconds)):
            if holds():
                return
            await self.run(1)
        assert holds(), self.status(self.bad)

    async def settle(self) -> None:
        """Let nothing happen any more, and everything that is there be read."""
        self.cloud.freeze()
        await self.run(90)

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

    def verdict(self, *, without: Tenant | None = None) -> Verdict:
        audit = Audit(poll_interval=2 * INTERVAL)
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


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def world(signing_key) -> World:
    return World(signing_key)


async def test_without_bad_input_everything_is_published_and_nothing_set_aside(world):
    async with world.reading():
        await world.run(90)
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 0
    assert verdict.published > 15 * TENANTS


async def test_the_audit_of_this_world_can_fail(world):
    async with world.reading():
        await world.settle()
        world.log.published.append(world.log.published.pop(3))
        lost = world.log.published.pop(0)
        world.log.published.append(world.log.published[5])
        faults = world.verdict().faults
    assert lost.topic is Topic.ALERTS
    assert (faults["lost"], faults["twice"]) == (1, 1)


async def test_an_unknown_tenant_is_parked_with_words_for_us(world):
    world.bad = Tenant(UNKNOWN, "nobody", REGION)
    world.tenants.append(world.bad)
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited()
    assert (status.state, status.code, status.blame) == (State.PARKED, "unknown_tenant", Blame.US)
    assert "does not know this tenant" in status.reason
    assert not [record for record in world.log.published if UNKNOWN.encode() in record.key]


async def test_a_page_that_is_no_json_is_asked_for_again(world):
    async with world.reading():
        await world.run(30)
        for _ in range(5):
            world.fault("non_json")
            await world.run(20)
        assert world.cloud.book.counts["non_json"] == 5
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        world.audited()


async def test_pages_that_stay_no_json_are_a_state_and_lose_nothing(world):
    async with world.reading():
        await world.run(30)
        # From here on every version stays: one that came and went in an outage is not the reader's.
        world.cloud.customers[world.bad.id].population.freeze()
        world.fault("non_json", seconds=180)
        world.fault("late", by=1.0, count=20)
        await world.until(lambda: world.status(world.bad).state is State.FAILING, seconds=120)
        failing = world.status(world.bad)
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=900)
        await world.settle()
        world.audited()
    assert (failing.code, failing.blame) == ("unreadable", Blame.MICROSOFT)
    assert "not an object with an array of records" in failing.reason


@pytest.mark.parametrize("form", MALFORMED_FORMS)
async def test_a_record_that_is_no_alert_is_set_aside_once_whole_and_stops_nobody(world, form):
    async with world.reading():
        await world.run(30)
        world.fault("malformed", record=form)
        await world.run(30)
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 1
    reason = {
        "no_id": "no_id",
        "empty_id": "no_id",
        "number_id": "bad_id",
        "newline_id": "bad_id",
        "giant_id": "bad_id",
        "no_time": "no_time",
        "null_time": "no_time",
        "unreadable_time": "bad_time",
        "string": "not_an_object",
        "list": "not_an_object",
    }[form]
    assert world.reasons() == {reason}
    assert {record.key for record in world.quarantined()} == {world.bad.id.encode()}


async def test_an_id_of_a_megabyte_is_set_aside_in_parts_that_the_broker_takes(world):
    async with world.reading():
        world.fault("malformed", record="giant_id")
        await world.settle()
        world.audited()
    parts = world.quarantined()
    assert len(parts) > 1
    for record in parts:
        headers = sum(len(name) + len(value) for name, value in record.headers)
        assert len(record.key) + len(record.value) + headers <= LIMIT
    whole = json.loads(b"".join(record.value for record in parts))
    assert len(whole["id"]) > 1024 * 1024


async def test_an_alert_over_the_brokers_limit_is_set_aside_whole(world):
    async with world.reading():
        await world.run(30)
        world.fault("huge")
        await world.run(30)
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 1
    assert world.reasons() == {"too_large"}
    assert len(b"".join(record.value for record in world.quarantined())) > LIMIT


async def test_all_that_is_bad_on_one_page_does_not_keep_its_alerts(world):
    for form in MALFORMED_FORMS:
        world.fault("malformed", record=form)
    world.fault("huge", count=2)
    async with world.reading():
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == len(MALFORMED_FORMS) + 2


@pytest.mark.parametrize(
    "garbage",
    [b"garbage", b'{"v":2}', b"\xff\xfe", b"[" * 100_000, b'{"v":1,"fast":"x"}'],
    ids=["text", "newer", "binary", "deep", "words"],
)
async def test_a_checkpoint_that_cannot_be_decoded_parks_its_tenant_untouched(world, garbage):
    key = world.checkpoint(world.bad)
    world.log.checkpoints[key] = garbage
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited(without=world.bad)
    assert (status.state, status.code) == (State.PARKED, "checkpoint_unreadable")
    assert status.blame is Blame.US
    assert key.decode() in status.reason
    # Left as it was, for the person who has to look; and nothing was published on a guess.
    assert world.log.checkpoints[key] == garbage
    assert not [r for r in world.log.published if r.key.startswith(world.bad.id.encode())]


async def test_a_checkpoint_that_lost_a_part_parks_its_tenant(world):
    async with world.reading():
        await world.run(60)
    prefix = world.checkpoint(world.bad) + b"/j/"
    journal = next(key for key in world.log.checkpoints if key.startswith(prefix))
    del world.log.checkpoints[journal]
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited(without=world.bad)
    assert (status.state, status.code) == (State.PARKED, "checkpoint_unreadable")


async def test_a_checkpoint_that_was_mended_is_gone_on_from_with_nothing_lost_or_twice(world):
    async with world.reading():
        await world.run(60)
    key = world.checkpoint(world.bad)
    good, world.log.checkpoints[key] = world.log.checkpoints[key], b"garbage"
    async with world.reading():
        await world.until(lambda: world.status(world.bad).state is State.PARKED, seconds=30)
        # As it is now, it stays: what came and went while nobody read is not the reader's.
        world.cloud.freeze()
        world.log.checkpoints[key] = good
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=600)
        await world.settle()
        world.audited()


async def test_a_checkpoint_that_was_deleted_is_begun_anew(world):
    world.log.checkpoints[world.checkpoint(world.bad)] = b"garbage"
    async with world.reading():
        await world.until(lambda: world.status(world.bad).state is State.PARKED, seconds=30)
        world.cloud.freeze()
        del world.log.checkpoints[world.checkpoint(world.bad)]
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=600)
        await world.settle()
        world.audited()
