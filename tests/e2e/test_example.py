"""The example consumer, killed again and again while alerts come and transactions are aborted."""

import asyncio
import random
import sqlite3
import sys
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.encode.cloudevents import CloudEvents
from ingest.model.alert import Alert
from ingest.model.memory import Kind, Reason, Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.simulator.processes import Child

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "once.py"
TENANTS = [Tenant(str(uuid.UUID(int=n)), f"Customer {n}, Ltd", "eu") for n in range(5)]
MOST_ROUNDS, ALERTS, PARTITIONS, KILLS = 1500, 40, 3, 6

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]


def records(number, rng):
    """Encode one transaction's alerts as the daemon does."""
    tenant = rng.choice(TENANTS)
    encoder = CloudEvents(tenant=tenant, feed=FeedKey(tenant.id))
    for at in range(ALERTS):
        name = f"da{number}_{at}"
        alert = Alert(name, number, 0, False, b'{ "id": "%b" }' % name.encode(), at)
        yield encoder.alert(Verdict(alert, Reason.NEW, Kind.CREATED, False, False))


async def publish(bootstrap, topic, expected, done):
    """Publish until told that it is enough, and one transaction more."""
    rng = random.Random(4)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    for number in range(MOST_ROUNDS):
        enough = done.is_set()
        sent = list(records(number, rng))
        await producer.begin_transaction()
        for one in sent:
            await producer.send(topic, one.value, one.key, headers=one.headers)
        await producer.flush()
        if not enough and rng.random() < 0.3:
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()
            for one in sent:
                headers = {name: value.decode() for name, value in one.headers}
                row = (headers["ce_tenantid"], headers["ce_tenantname"], one.value)
                expected[headers["ce_source"], headers["ce_id"]] = row
        if enough:
            break
        await asyncio.sleep(0.1)
    await producer.stop()


def found(database):
    with sqlite3.connect(database) as connection:
        try:
            rows = connection.execute("SELECT source, id, tenant, tenant_name, alert FROM alerts")
            return {(row[0], row[1]): row[2:] for row in rows.fetchall()}
        except sqlite3.OperationalError:
            return {}


async def test_each_alert_is_kept_once_with_its_tenant_whenever_the_example_is_killed(
    apache_kafka, tmp_path
):
    bootstrap, topic = apache_kafka.bootstrap, f"t{uuid.uuid4().hex[:8]}.alerts"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    database = tmp_path / "alerts.db"
    command = [sys.executable, str(EXAMPLE), "--brokers", bootstrap, "--topic", topic]
    reader = Child(
        name="once",
        command=[*command, "--database", str(database), "--idle", "8"],
        folder=tmp_path,
    )
    expected, progress, done = {}, [0], asyncio.Event()
    publishing = asyncio.create_task(publish(bootstrap, topic, expected, done))
    rng = random.Random(1)
    try:
        for _ in range(KILLS):
            reader.start()
            await asyncio.to_thread(
                reader.wait_until,
                lambda: len(found(database)) > progress[-1],
                what="new alert",
                timeout=30,
            )
            await asyncio.sleep(rng.uniform(0, 1))
            assert reader.running, reader.tail()
            reader.kill()
            progress.append(len(found(database)))
        done.set()
        await publishing
        reader.start()
        assert await asyncio.to_thread(reader.wait, timeout=90) == 0, reader.tail()
    finally:
        reader.kill()
        publishing.cancel()
    assert found(database) == expected
    assert 0 < progress[1] < progress[-1] < len(expected)
