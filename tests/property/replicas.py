"""Replicas that publish numbers through the real shard, on a broker in memory.

Each reader restores the last number that Kafka has and publishes the next ones, each with a checkpoint that
says so: what is lost, doubled or out of order shows in the numbers.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator

import structlog
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from ingest.errors import NotOwner, Rewound
from ingest.model.tenant import FeedKey
from ingest.pipeline.ports import Batch, Record, Topic
from ingest.settings.models import Kafka
from ingest.sink.layout import TopicNames
from ingest.sink.shard import Shard
from ingest.sink.takeover import Replica as Identity
from ingest.sink.takeover import TakeOver
from ingest.sink.topics import TopicLimits
from ingest.telemetry.metrics import SinkMetrics
from tests.fakes.broker import Broker
from tests.fakes.kafka_clients import MemoryConnection
from tests.fakes.process import Process, ProcessClock

NAMES = TopicNames("defender")
SHARD = 0
FEEDS = tuple(FeedKey(f"{n}{n}111111-1111-1111-1111-111111111111") for n in range(2))
ALERT_PARTITIONS = 3
_HEARTBEAT_SECONDS = 1.0
_THINK_SECONDS = 1.0


def _drop(*_: object) -> dict:
    raise structlog.DropEvent


SILENT = structlog.wrap_logger(None, processors=[_drop], wrapper_class=structlog.stdlib.BoundLogger)


class Group:
    """The coordinator's view: whose the shard is, and since when."""

    def __init__(self, owner: str) -> None:
        self.moves: list[tuple[float, str]] = [(0.0, owner)]
        self.initialised: dict[tuple[Process, str, int], float] = {}

    @property
    def owner(self) -> str:
        return self.moves[-1][1]

    def move(self, owner: str) -> None:
        self.moves.append((asyncio.get_running_loop().time(), owner))

    def note(self, process: Process, transactional_id: str, epoch: int) -> None:
        """Note that a process has fenced whoever was there before."""
        now = asyncio.get_running_loop().time()
        self.initialised[process, transactional_id, epoch] = now

    def placed(self, name: str, since: float, until: float) -> bool:
        """Tell whether the shard was a replica's at any time of a span."""
        ends = [at for at, _ in self.moves[1:]] + [float("inf")]
        return any(
            owner == name and start <= until and end >= since
            for (start, owner), end in zip(self.moves, ends, strict=True)
        )


class Replica:
    """One process: the shard while it is placed here, and its readers."""

    shard_class: type[Shard] = Shard
    delivery = "exactly_once"
    names = NAMES

    def __init__(self, name: str, *, group: Group, broker: Broker, rng: random.Random) -> None:
        self.process = Process(name, rng)
        self.connection = MemoryConnection(broker, self.process, group.note)
        self.defects: list[BaseException] = []
        self._group = group
        self._clock = ProcessClock(self.process)
        kafka = Kafka(
            bootstrap_servers=["memory:9092"],
            transaction_timeout_seconds=5,
            delivery=self.delivery,
        )
        taking_over = TakeOver(
            number=SHARD,
            settings=kafka,
            connection=self.connection,
            names=self.names,
            claim=self.claim,
            confirm=self.claim,
            is_removed=lambda _: False,
            limits=self._limits,
            replica=Identity(name=name, instance=name, installation="app"),
            clock=self._clock,
            on_discard=self.process.keep,
        )
        self.shard = self.shard_class(
            taking_over=taking_over,
            settings=kafka,
            connection=self.connection,
            names=self.names,
            clock=self._clock,
            rng=rng,
            metrics=SinkMetrics(CollectorRegistry()),
            log=SILENT,
            on_discard=self.process.keep,
        )
        self.process.spawn(self._belong())
        for feed in FEEDS:
            self.process.spawn(self._publish(feed))

    async def claim(self, _: int) -> None:
        await self.process.gate()
        owner = self._group.owner
        await self.process.gate()
        if owner != self.process.name:
            raise NotOwner("the coordinator says so")

    async def _limits(self) -> TopicLimits:
        await self.process.gate()
        return TopicLimits({NAMES.alerts: ALERT_PARTITIONS}, 1, 1_000_000, 1_000_000)

    async def _belong(self) -> None:
        """Start and end the shard as the group has placed it, heartbeat by heartbeat."""
        running: asyncio.Task[None] | None = None
        while True:
            await self._clock.sleep(_HEARTBEAT_SECONDS)
            if running is not None and running.done():
                if not running.cancelled() and (defect := running.exception()):
                    self.defects.append(defect)
                running = None
            placed = self._group.owner == self.process.name
            if placed and running is None:
                running = self.process.spawn(self.shard.run())
            elif running is not None and not placed:
                await self.shard.close()
                running.cancel()
                await asyncio.wait({running})

    async def _publish(self, feed: FeedKey) -> None:
        key = str(feed).encode()
        while True:
            restored = await self.shard.restore(feed)
            number = int(restored.records.get(key, b"0"))
            try:
                while True:
                    number += 1
                    value = b"%d" % number
                    record = Record(Topic.ALERTS, key, value, [])
                    await self.shard.commit(Batch(feed, restored.epoch, [record], {key: value}))
                    await self._clock.sleep(_THINK_SECONDS)
            except Rewound:
                continue


def numbers(broker: Broker) -> dict[bytes, list[int]]:
    """Return what a `read_committed` consumer of the alerts sees, by feed."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for place in _alert_places():
        for stored in broker.committed(place):
            found[stored.key].append(int(stored.value))
    return found


def publications(broker: Broker) -> Iterator[tuple[Process, int, float]]:
    """Return who committed alerts, with which epoch, and when."""
    places = set(_alert_places())
    for transaction in broker.commits:
        if places & transaction.places.keys():
            yield transaction.author, transaction.epoch, transaction.decided


def checkpoints(broker: Broker) -> Iterator[tuple[bytes, int, float]]:
    """Return each checkpoint that was ever written: whose, what it says, and when."""
    keys = {str(feed).encode() for feed in FEEDS}
    for stored in broker.committed(TopicPartition(NAMES.checkpoints, SHARD)):
        if stored.key in keys and stored.value is not None:
            yield stored.key, int(stored.value), stored.at


def written(broker: Broker) -> dict[bytes, list[tuple[int, float]]]:
    """Return each number of an alert and when it was written, by feed."""
    found: dict[bytes, list[tuple[int, float]]] = defaultdict(list)
    for place in _alert_places():
        for stored in broker.committed(place):
            found[stored.key].append((int(stored.value), stored.at))
    return found


def _alert_places() -> list[TopicPartition]:
    return [TopicPartition(NAMES.alerts, number) for number in range(ALERT_PARTITIONS)]
