"""What a transaction that fails is said to have failed of; and what asyncio is not to say again."""

import asyncio
import gc

import pytest
from aiokafka.errors import IllegalOperation, MessageSizeTooLargeError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from ingest.model.tenant import FeedKey
from ingest.pipeline.ports import Batch, Record, Topic
from ingest.sink.echoes import hush
from ingest.sink.layout import TopicNames
from ingest.sink.producer import Refusal, ShardProducer
from ingest.sink.refusals import TROUBLE
from ingest.sink.topics import TopicLimits

NAMES = TopicNames("defender")
LIMITS = TopicLimits(
    alert_partitions={NAMES.alerts: 4},
    quarantine_partitions=1,
    alert_bytes=1_000_000,
    quarantine_bytes=1_000_000,
)


class Client:
    """In the place of aiokafka's producer: what each topic's batches end in."""

    def __init__(self, *, ends=(), raises=()) -> None:
        self.ends, self.raises = dict(ends), dict(raises)
        self.ended = ""

    def create_batch(self):
        return BatchBuilder(
            1_000_000, 0, is_transactional=True, key_serializer=None, value_serializer=None
        )

    async def begin_transaction(self):
        pass

    async def commit_transaction(self):
        self.ended = "committed"

    async def abort_transaction(self):
        self.ended = "aborted"

    async def send_batch(self, batch, topic, *, partition):
        if topic in self.raises:
            raise self.raises[topic]
        future = asyncio.get_running_loop().create_future()
        if topic in self.ends:
            future.set_exception(self.ends[topic])
        else:
            future.set_result(None)
        return future


async def transact(client):
    producer = ShardProducer(
        producer=client, names=NAMES, limits=LIMITS, shard=0, timeout_seconds=5
    )
    batch = Batch(
        feed=FeedKey("11111111-2222-3333-4444-555555555555"),
        epoch=1,
        records=[Record(topic=Topic.ALERTS, key=b"t/a", value=b"{}", headers=[])],
        checkpoint={b"t/f": b"{}"},
    )
    await producer.transact([batch], now=1.0)


async def test_a_transaction_whose_sends_all_succeed_is_committed():
    client = Client()
    await transact(client)
    assert client.ended == "committed"


@pytest.mark.parametrize("first", [NAMES.alerts, NAMES.checkpoints])
async def test_who_was_fenced_is_told_so_though_aiokafka_refuses_the_next_send_in_other_words(
    first,
):
    other = NAMES.checkpoints if first == NAMES.alerts else NAMES.alerts
    client = Client(ends={first: ProducerFenced()}, raises={other: IllegalOperation("not in one")})
    with pytest.raises(ProducerFenced):
        await transact(client)
    assert client.ended == ""


async def test_a_refused_record_is_named_though_the_next_send_was_refused_for_it():
    client = Client(
        ends={NAMES.alerts: MessageSizeTooLargeError()},
        raises={NAMES.checkpoints: IllegalOperation("not in one")},
    )
    with pytest.raises(Refusal) as refusal:
        await transact(client)
    assert refusal.value.reason == "too_large"
    assert client.ended == "aborted"


async def test_a_transaction_that_failed_already_for_whatever_reason_is_trouble_and_no_defect():
    client = Client(raises={NAMES.checkpoints: IllegalOperation("not in one")})
    with pytest.raises(TROUBLE):
        await transact(client)
    assert client.ended == ""


def left_behind(error) -> list[str]:
    """Return what a loop says of a future that nobody awaits."""
    said = []

    async def leave():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        hush(loop)
        loop.create_future().set_exception(error)
        gc.collect()

    asyncio.run(leave())
    gc.collect()
    return said


def test_a_future_that_aiokafka_leaves_behind_is_not_complained_of():
    assert left_behind(ProducerFenced()) == []


def test_a_future_of_anybody_else_is():
    assert left_behind(ValueError("ours")) == ["Future exception was never retrieved"]


def test_a_task_that_kafka_ends_and_nobody_awaits_is_complained_of():
    said = []

    async def leave():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        hush(loop)

        async def fail():
            raise ProducerFenced

        task = loop.create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(leave())
    gc.collect()
    assert said == ["Task exception was never retrieved"]
