"""The brokers that other tests stand on do what those tests assume of them."""

import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.simulator.broker import EmbeddedBroker, brokers_known, free_port
from tests.kafka.apache import ApacheKafka, jars


async def _seen_by_a_committed_reader(bootstrap: str) -> list[bytes | None]:
    topic = f"t-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    for word in (b"first", b"second"):
        await producer.begin_transaction()
        await (await producer.send(topic, word, partition=0))
        await producer.commit_transaction()
    await producer.begin_transaction()
    await (await producer.send(topic, b"open", partition=0))
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    seen: list[bytes | None] = []
    while len(seen) < 2:
        seen += [r.value for rs in (await consumer.getmany(timeout_ms=200)).values() for r in rs]
    rest = await consumer.getmany(timeout_ms=300)
    await consumer.stop()
    await producer.abort_transaction()
    await producer.stop()
    return [*seen, *rest]


@pytest.mark.kafka
async def test_apache_kafka_hides_an_open_transaction(apache_kafka: ApacheKafka) -> None:
    assert await _seen_by_a_committed_reader(apache_kafka.bootstrap) == [b"first", b"second"]


async def test_the_embedded_broker_hides_an_open_transaction(
    embedded_kafka: EmbeddedBroker,
) -> None:
    assert await _seen_by_a_committed_reader(embedded_kafka.bootstrap) == [b"first", b"second"]


@pytest.mark.kafka
def test_the_jars_are_those_of_one_version() -> None:
    assert (jars() / "kafka_2.13-4.3.1.jar").is_file()


def test_nobody_at_a_port_is_no_broker() -> None:
    assert brokers_known("127.0.0.1", free_port()) == 0
