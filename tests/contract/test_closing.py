"""A client whose own stop hangs or raises leaves nothing behind: no task, no connection."""

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from ingest.settings.models import Kafka
from ingest.sink import closing
from ingest.sink.closing import close
from ingest.sink.connection import Connection


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def connection(request, monkeypatch) -> Connection:
    broker = request.getfixturevalue(f"{request.param}_kafka")
    monkeypatch.setattr(closing, "_STOP_SECONDS", 0.2)
    settings = Kafka(bootstrap_servers=broker.bootstrap.split(","), replication_factor=1)
    return Connection(settings=settings, client_id="a test")


def network(client):
    return client.client if isinstance(client, AIOKafkaProducer) else client._client


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise RuntimeError("whatever it was")


async def cancelled() -> None:
    raise asyncio.CancelledError


def cut_short(client, cut):
    """Return a stop that gets nowhere."""

    async def stop():
        client._closed = True
        await cut()

    return stop


CUTS = pytest.mark.parametrize("cut", [hang, fail, cancelled])


async def left_behind(client) -> list[str]:
    """Close a client and return what is left of it."""
    others = asyncio.all_tasks()
    connections = list(network(client)._conns.values())
    assert any(one.connected() for one in connections)
    await close(client)
    await asyncio.sleep(0)
    tasks = [
        str(task.get_coro())
        for task in others - {asyncio.current_task()}
        if not task.done() and "aiokafka" in str(task.get_coro().cr_code.co_filename)
    ]
    return tasks + [str(one) for one in connections if one.connected()]


@CUTS
async def test_a_consumer_that_cannot_leave_its_group_is_closed_all_the_same(
    connection, cut, monkeypatch
):
    group = f"g{uuid.uuid4().hex}"
    member = connection.member(group, "a member")
    await member.start()
    member.subscribe([f"{group}-nothing"])
    await member.topics()
    monkeypatch.setattr(member._coordinator, "_maybe_leave_group", cut)
    assert await left_behind(member) == []


@CUTS
async def test_a_producer_that_cannot_flush_is_closed_all_the_same(connection, cut, monkeypatch):
    producer = connection.acknowledged_producer(batch_bytes=10_000)
    await producer.start()
    monkeypatch.setattr(producer, "stop", cut_short(producer, cut))
    assert await left_behind(producer) == []


@CUTS
async def test_an_admin_client_is_closed_whatever_its_close_does(connection, cut, monkeypatch):
    admin = connection.admin()
    await admin.start()
    assert isinstance(admin, AIOKafkaAdminClient)
    await admin.list_topics()
    monkeypatch.setattr(admin, "close", cut_short(admin, cut))
    assert await left_behind(admin) == []


async def test_a_client_that_stops_by_itself_is_stopped_once(connection, monkeypatch):
    producer = connection.acknowledged_producer(batch_bytes=10_000)
    await producer.start()
    called = []
    monkeypatch.setattr(closing, "_left_by", lambda client: called.append(client) or [])
    assert await left_behind(producer) == []
    assert called == []
