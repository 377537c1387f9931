"""The tenant-status topic as its readers find it: on the embedded broker and on Apache Kafka."""

import asyncio
import random
import uuid

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.errors import Blame, SinkUnavailable, StatusUnreadable
from ingest.model.report import encode_report
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, Tenant, shard_of
from ingest.portal.fleet_view import FleetView, Query
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.simulator.broker import free_port
from ingest.sink.board import StatusBoard
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.log import KafkaCommitLog
from ingest.sink.statuses import read_statuses
from ingest.sink.topics import Topics
from ingest.telemetry.metrics import SinkMetrics

SHARDS = 4
TENANTS = [str(uuid.UUID(int=n)) for n in range(1, 9)]


def value(tenant, state=State.HEALTHY):
    status = FeedStatus(FeedKey(tenant), "contoso", state, "ok", "read", Blame.NOBODY, since=1e9)
    return encode_report(status, replica="host:1", now=1e9)


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def settings(request):
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    broker = request.getfixturevalue(fixture)
    return Kafka(
        bootstrap_servers=broker.bootstrap.split(","),
        prefix=f"t{uuid.uuid4().hex[:8]}",
        shards=SHARDS,
        alert_partitions=1,
        replication_factor=1,
    )


def writer(settings):
    return KafkaCommitLog(
        settings=settings,
        client_id="app-1",
        metrics=SinkMetrics(CollectorRegistry()),
        clock=SystemClock(),
        log=structlog.get_logger(),
        rng=random.Random(1),
    )


async def read(settings, **changes):
    connection = Connection(settings=settings, client_id="reader")
    topic = TopicNames(settings.prefix).status
    return await read_statuses(connection, topic=topic, shards=settings.shards, **changes)


async def until(settings, holds):
    async with asyncio.timeout(30):
        while not holds(found := await read(settings)):
            await asyncio.sleep(0.05)
    return found


async def test_the_newest_status_of_every_tenant_is_read_and_a_forgotten_one_is_not(settings):
    log = writer(settings)
    async with asyncio.timeout(60), log, log.membership:
        for tenant in TENANTS:
            await log.restore(FeedKey(tenant))
            log.report(tenant, value(tenant), soon=True)
        await until(settings, lambda found: set(found) == set(TENANTS))
        log.report(TENANTS[0], value(TENANTS[0], State.FAILING), soon=True)
        log.report(TENANTS[1], None, soon=True)
        log.report(TENANTS[2], b'{"v": 2}', soon=True)
        changed = {TENANTS[0]: "failing", TENANTS[1]: None, TENANTS[2]: None}
        found = await until(
            settings,
            lambda found: (
                {tenant: getattr(found.get(tenant), "state", None) for tenant in changed} == changed
            ),
        )
    assert set(found) == set(TENANTS) - {TENANTS[1]}
    assert isinstance(found[TENANTS[2]], StatusUnreadable)
    assert found[TENANTS[7]].state == "healthy"


async def test_a_board_follows_every_status_and_hands_on_the_last_word_of_each(settings):
    log = writer(settings)
    board = StatusBoard(
        settings=settings,
        clock=SystemClock(),
        rng=random.Random(1),
        log=structlog.get_logger(),
    )

    async def until_said(said):
        async with asyncio.timeout(30):
            while said != [getattr(board.get(one), "state", None) for one in TENANTS[:3]]:
                await asyncio.sleep(0.05)

    async with asyncio.timeout(90), log, log.membership:
        for tenant in TENANTS[:3]:
            await log.restore(FeedKey(tenant))
            log.report(tenant, value(tenant), soon=True)
        await until(settings, lambda found: len(found) == 3)
        async with board:
            # What was there is known from the first moment on.
            assert board.is_whole
            assert board.former(TENANTS[2]).state == "healthy"
            log.report(TENANTS[0], value(TENANTS[0], State.FAILING), soon=True)
            log.report(TENANTS[1], None, soon=True)
            log.report(TENANTS[2], b'{"v": 2}', soon=True)
            await until_said(["failing", None, None])
            assert board.former(TENANTS[0]).state == "failing"
            assert board.former(TENANTS[1]) is board.former(TENANTS[2]) is None
            assert isinstance(board.get(TENANTS[2]), StatusUnreadable)


async def test_replicas_that_are_gone_for_good_leave_every_tenant_unread_since(settings):
    log = writer(settings)
    async with asyncio.timeout(90), log, log.membership:
        for tenant in TENANTS:
            await log.restore(FeedKey(tenant))
            log.report(tenant, value(tenant), soon=True)
        await until(settings, lambda found: len(found) == len(TENANTS))
    board = StatusBoard(
        settings=settings, clock=SystemClock(), rng=random.Random(1), log=structlog.get_logger()
    )
    roster = {
        tenant: Registration(
            Tenant(tenant, f"customer {number}", "eu"),
            Standing.ACTIVE,
            Origin.COMMAND,
            by="a test",
            at=0.0,
        )
        for number, tenant in enumerate(TENANTS)
    }
    # Nobody reads them any more; another process shows what the topic has.
    async with asyncio.timeout(60), board:
        view = FleetView(
            roster=lambda: roster,
            unreadable=dict,
            status=board.get,
            is_told=lambda: board.is_whole,
            clock=SystemClock(),
            late_after=240,
        )
        seen = view.look(Query(), view.registered())
    assert seen.states == {"unread": len(TENANTS)}
    assert all("no replica has reported on it since" in one.reason for one in seen.rows)


async def test_what_stands_in_a_partition_that_is_not_the_tenants_says_nothing(settings):
    log = structlog.get_logger()
    connection = Connection(settings=settings, client_id="writer")
    topics = Topics(settings=settings, connection=connection, log=log)
    async with asyncio.timeout(30):
        while await topics.absent():
            try:
                await topics.ensure()
            except SinkUnavailable:
                await asyncio.sleep(0.05)
    producer = connection.plain_producer()
    await producer.start()
    try:
        for number in range(SHARDS):
            for tenant in TENANTS:
                own = shard_of(tenant, SHARDS) == number
                said = value(tenant, State.HEALTHY if own else State.FAILING)
                # Those of the first tenant were taken back when it was moved.
                stale = None if tenant == TENANTS[0] else said
                await producer.send_and_wait(
                    topics.names.status, said if own else stale, tenant.encode(), partition=number
                )
    finally:
        await producer.stop()
    assert {tenant: one.state for tenant, one in (await read(settings)).items()} == dict.fromkeys(
        TENANTS, "healthy"
    )


async def test_brokers_that_cannot_be_reached_are_named_as_such():
    settings = Kafka(bootstrap_servers=[f"127.0.0.1:{free_port()}"])
    with pytest.raises(SinkUnavailable, match=r"could not read defender\.tenant-status"):
        await read(settings)
