"""States on real parts: MSAL, TLS, the simulated cloud and real readers; only Kafka is in memory."""

import asyncio
import random
import time
from contextlib import asynccontextmanager

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.identity.tokens import Tokens
from ingest.model.instant import TICKS
from ingest.model.status import State
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach
from ingest.pipeline.poller import Poller
from ingest.pipeline.schedule import Schedule
from ingest.pipeline.worker import Worker
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Entra, Region, Source
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import REGION, Plan, SimulatedCloud
from ingest.simulator.server import SimulatorServer
from ingest.simulator.token_endpoint import DEFENDER
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import IdentityMetrics, PipelineMetrics, SourceMetrics
from tests.fakes.commit_log import MemoryCommitLog

PROBE = 0.5
SCHEDULE = Schedule(interval=0.2, reconcile_interval=3600, parked_probe=PROBE, quiet_after=60)
DAYS = 86_400 * TICKS


@asynccontextmanager
async def read(tmp_path, signing_key, **plan):
    """Read the first tenant of a cloud until the context is left; give the cloud and its worker."""
    plan = Plan(**{"tenants": 1, "births_per_minute": 0.0, "backlog": 3, **plan})
    cloud = SimulatedCloud(plan=plan, clock=time.time, key=signing_key)
    customer = next(iter(cloud.customers.values()))
    tenant = Tenant(customer.id, customer.name, customer.region)
    context, ca_file = server_context(tmp_path, "127.0.0.1")
    clock, registry, events = SystemClock(), CollectorRegistry(), structlog.get_logger()
    rng = random.Random(1)
    async with SimulatorServer(cloud=cloud, context=context, host="127.0.0.1", port=0) as server:
        regions = {REGION: Region(api_url=server.url, resource=DEFENDER)}
        tokens = Tokens(
            settings=Entra(
                client_id=cloud.client_id,
                client_secret=cloud.plan.client_secret,
                login_url=server.url,
            ),
            regions=regions,
            ca_file=ca_file,
            clock=clock,
            rng=rng,
            metrics=IdentityMetrics(registry),
            log=events,
        )
        source = DefenderSource(
            settings=Source(calls_per_minute=10**6, calls_per_hour=10**8),
            regions=regions,
            ca_file=ca_file,
            tokens=tokens,
            clock=clock,
            metrics=SourceMetrics(registry),
            log=events,
        )
        async with tokens, source:
            feed, metrics = FeedKey(tenant.id), PipelineMetrics(registry)
            poller = Poller(
                tenant=tenant,
                feed=feed,
                reach=Reach(overlap=300 * TICKS, look_back=DAYS, first=DAYS),
                page_size=100,
                batch_bytes=8 * 1024 * 1024,
                source=source,
                log=MemoryCommitLog(),
                encoder=CloudEvents(tenant=tenant, feed=feed),
                clock=clock,
                metrics=metrics,
                events=events,
            )
            worker = Worker(
                tenant=tenant,
                feed=feed,
                poller=poller,
                schedule=SCHEDULE,
                starting=1,
                clock=clock,
                rng=rng,
                metrics=metrics,
                events=events,
            )
            task = asyncio.get_running_loop().create_task(worker.run())
            try:
                yield cloud, worker
            finally:
                task.cancel()
                await asyncio.wait([task])


async def until(worker, holds):
    async with asyncio.timeout(30):
        while not holds(worker.status):
            await asyncio.sleep(0.02)
    return worker.status


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    # A machine's own proxy is not for loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def test_consent_that_is_taken_back_and_given_again_needs_no_restart(tmp_path, signing_key):
    # Tokens live for two seconds: what Entra ID says of consent is heard that soon.
    async with read(tmp_path, signing_key, token_seconds=2) as (cloud, worker):
        await until(worker, lambda status: status.state is State.HEALTHY)
        tenant = worker.feed.tenant
        cloud.add_fault(tenant, {"kind": "consent_revoked", "seconds": 2})
        parked = await until(worker, lambda status: status.state is State.PARKED)
        assert (parked.code, parked.blame.value) == ("consent_revoked", "customer")
        assert f"/{tenant}/adminconsent?client_id={cloud.client_id}" in parked.reason
        assert parked.next_attempt is not None
        again = await until(worker, lambda status: status.state is State.HEALTHY)
        probes = [one.outcome for one in again.polls]
        assert "not_consented" in probes
        entered = [(one.state, one.code) for one in again.transitions]
        assert entered == [
            ("healthy", "healthy"),
            ("parked", "consent_revoked"),
            ("healthy", "healthy"),
        ]
        # MSAL would have repeated the refusal for a minute.
        assert again.since - parked.since < 30


async def test_a_tenant_without_any_alert_is_asked_for_one_by_no_time(tmp_path, signing_key):
    async with read(tmp_path, signing_key, backlog=0) as (_, worker):
        poller = worker._poller
        await until(worker, lambda status: status.state is State.HEALTHY)
        worker._reconcile_at = 0.0
        status = await until(worker, lambda status: status.looked_at is not None)
        assert status.state is State.HEALTHY
        assert [one.calls for one in status.polls if one.tier == "slow"] == [2]
        glance = await poller.glance()
        assert (glance.found.name, glance.updated) == ("NOTHING", None)


async def test_the_api_answers_for_any_alert_at_all_with_one_that_is_known(tmp_path, signing_key):
    async with read(tmp_path, signing_key) as (_, worker):
        await until(worker, lambda status: status.state is State.HEALTHY and status.remembered)
        glance = await worker._poller.glance()
        assert glance.found.name == "KNOWN"
        assert glance.updated is not None
