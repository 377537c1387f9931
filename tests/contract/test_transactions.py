"""What the sink relies on of transactions: on the broker in memory, the embedded one and Apache Kafka."""

import asyncio
import random
import uuid
from contextlib import asynccontextmanager

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from ingest.errors import SinkUnavailable
from ingest.settings.models import Kafka
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.restore import read_back
from ingest.sink.topics import Topics
from tests.fakes.broker import Broker
from tests.fakes.kafka_clients import MemoryConnection
from tests.fakes.process import Process

FEED = "tenant/feed"


class Place:
    """A connection, and one partition of the checkpoints."""

    def __init__(self, connection, topic: str) -> None:
        self.connection = connection
        self.partition = TopicPartition(topic, 0)
        self.id = f"{topic}-0"

    @asynccontextmanager
    async def producer(self):
        producer = self.connection.producer(self.id, batch_bytes=10_000)
        await producer.start()
        try:
            yield producer
        finally:
            await close(producer)

    async def write(self, producer, key: str, value: str) -> None:
        """Begin a transaction, and write into it."""
        await producer.begin_transaction()
        batch = producer.create_batch()
        batch.append(key=f"{FEED}/{key}".encode(), value=value.encode(), timestamp=1, headers=[])
        topic, partition = self.partition
        await (await producer.send_batch(batch, topic, partition=partition))

    async def publish(self, producer, key: str, value: str) -> None:
        await self.write(producer, key, value)
        await producer.commit_transaction()

    async def read(self, *, until: str) -> dict[str, str]:
        """Read until a value is there, as whoever takes a shard over does."""
        while True:
            found = await read_back(self.connection, self.partition, nonce=None, seconds=20)
            rows = found.feeds.get(FEED, {})
            read = {key.decode().rpartition("/")[2]: rows[key].decode() for key in rows}
            if until in read.values():
                return read
            await asyncio.sleep(0.05)


@pytest.fixture(params=["memory", "embedded", pytest.param("apache", marks=pytest.mark.kafka)])
async def place(request):
    if request.param == "memory":
        process = Process("a test", random.Random(1))
        return Place(MemoryConnection(Broker(), process), "checkpoints")
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    settings = Kafka(
        bootstrap_servers=request.getfixturevalue(fixture).bootstrap.split(","),
        prefix=f"t{uuid.uuid4().hex[:8]}",
        shards=1,
        replication_factor=1,
    )
    connection = Connection(settings=settings, client_id="a-test")
    topics = Topics(settings=settings, connection=connection, log=structlog.get_logger())
    while True:
        try:
            await topics.ensure()
            break
        except SinkUnavailable:
            # Just made, and not known everywhere.
            await asyncio.sleep(0.1)
    return Place(connection, topics.names.checkpoints)


async def test_what_is_committed_is_there_and_the_newest_value_of_a_key_counts(place):
    async with place.producer() as producer:
        await place.publish(producer, "a", "1")
        await place.publish(producer, "a", "2")
        await place.publish(producer, "b", "3")
        assert await place.read(until="3") == {"a": "2", "b": "3"}


async def test_what_is_aborted_is_never_there(place):
    async with place.producer() as producer:
        await place.write(producer, "a", "1")
        await producer.abort_transaction()
        await place.publish(producer, "b", "2")
        assert await place.read(until="2") == {"b": "2"}


async def test_whoever_initialises_an_id_ends_what_was_left_open(place):
    async with place.producer() as former:
        await place.publish(former, "a", "1")
        await place.write(former, "a", "2")
        async with place.producer() as later:
            await place.publish(later, "b", "3")
            assert await place.read(until="3") == {"a": "1", "b": "3"}


async def test_a_fenced_producer_can_neither_commit_nor_begin(place):
    async with place.producer() as idle, place.producer() as former:
        await place.write(former, "a", "1")
        async with place.producer() as later:
            with pytest.raises(ProducerFenced):
                await former.commit_transaction()
            with pytest.raises(ProducerFenced):
                await place.publish(idle, "a", "2")
            await place.publish(later, "b", "3")
            assert await place.read(until="3") == {"b": "3"}


async def test_a_reader_waits_before_what_is_open(place):
    async with place.producer() as producer:
        await place.publish(producer, "a", "1")
        await place.write(producer, "a", "2")
        assert await place.read(until="1") == {"a": "1"}
        await producer.commit_transaction()
        assert await place.read(until="2") == {"a": "2"}
