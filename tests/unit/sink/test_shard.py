"""A shard's gauge of readiness follows the shard, whatever it goes through."""

import asyncio
import random

import pytest
import structlog
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from ingest.errors import NotOwner
from ingest.model.tenant import FeedKey
from ingest.settings.models import Kafka
from ingest.sink.layout import TopicNames
from ingest.sink.shard import Shard
from ingest.sink.takeover import Taken
from ingest.telemetry.metrics import SinkMetrics
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime
FEED = FeedKey("11111111-1111-1111-1111-111111111111")


class Producer:
    def discard(self):
        return asyncio.create_task(asyncio.sleep(0))


class TakingOver:
    """Goes as it is told: a shard that is taken over, or an error."""

    number = 3

    def __init__(self, *turns) -> None:
        self._turns = list(turns)

    async def run(self):
        turn = self._turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn


class Nobody:
    principal = "nobody"


async def test_a_shard_that_is_lost_once_is_counted_out_once_though_it_cannot_be_taken_over_again():
    registry = CollectorRegistry()
    kafka = Kafka(bootstrap_servers=["kafka:9092"])
    away = KafkaConnectionError("away")
    shard = Shard(
        taking_over=TakingOver(Taken(Producer(), {}, 1.0), away, away, NotOwner("another's")),
        settings=kafka,
        connection=Nobody(),
        names=TopicNames(kafka.prefix),
        clock=LoopClock(),
        rng=random.Random(1),
        metrics=SinkMetrics(registry),
        log=structlog.get_logger(),
        on_discard=lambda _: None,
    )

    def ready():
        return registry.get_sample_value("defender_ingest_shards_ready")

    running = asyncio.create_task(shard.run())
    await shard.restore(FEED)
    assert ready() == 1
    # Asked for a second time, it goes back to its checkpoint, and the brokers are away.
    again = asyncio.create_task(shard.restore(FEED))
    await running
    assert ready() == 0
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
