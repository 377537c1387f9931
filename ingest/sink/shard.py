"""One shard: takes over, restores, commits; after any failure it goes back to its checkpoint.

The order on taking over is the law: initialise the transactional id (which fences the former owner and
ends what it left open), write a record of our own, read the partition up to that very record, and only
then serve. Each time round is an *epoch*; a batch that was decided on an older one is refused.
"""

import asyncio
import json
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiokafka import TopicPartition

from ingest.errors import IngestError, RecordsRejected, Recovery, Rewound, SinkError, Superseded
from ingest.model.tenant import Feed, FeedKey
from ingest.pipeline.ports import Batch, Clock, Restored
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.producer import Refusal, ShardProducer
from ingest.sink.refusals import TROUBLE, is_fenced, translate
from ingest.sink.restore import OWNER, read_back
from ingest.sink.topics import TopicLimits, TopicNames
from ingest.telemetry.metrics import SinkMetrics

_BACKOFF_SECONDS = 0.1
_BACKOFF_CAP_SECONDS = 15.0
_RESTORE_SECONDS = 60.0
_RECORDS_PER_PRODUCER = 2**30
"""A producer is renewed long before its 31-bit sequence numbers run out."""


@dataclass(frozen=True, slots=True)
class Replica:
    """This process, as its take-over records name it; `instance` is unique, `name` for people."""

    name: str
    instance: str
    started: float
    installation: str


@dataclass(slots=True)
class _Pending:
    batch: Batch
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        return sum(len(record.value) for record in self.batch.records)


class Shard:
    """Owns one partition of the checkpoints topic and the transactional id that names it.

    Args:
        number: the partition.
        limits: asks for the topics' present limits; an operator may change them.
        on_discard: is given the task that ends a producer which was thrown away.
    """

    def __init__(
        self,
        *,
        number: int,
        settings: Kafka,
        connection: Connection,
        names: TopicNames,
        limits: Callable[[], Awaitable[TopicLimits]],
        replica: Replica,
        clock: Clock,
        rng: random.Random,
        metrics: SinkMetrics,
        log: structlog.stdlib.BoundLogger,
        on_discard: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.number = number
        self.trouble = "not initialised yet"
        self._settings = settings
        self._connection = connection
        self._names = names
        self._limits = limits
        self._replica = replica
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log.bind(shard=number)
        self._on_discard = on_discard
        self._epoch = 0
        self._ready = asyncio.Event()
        self._rewind = False
        self._feeds: dict[str, dict[bytes, bytes]] = {}
        self._handed: set[str] = set()
        self._queue: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._alone: set[FeedKey] = set()
        self._closing = False
        self._busy = False
        self._fatal: IngestError | None = None

    async def restore(self, feed: FeedKey) -> Restored:
        """See `CommitLog.restore`."""
        while True:
            await self._ready.wait()
            if self._fatal is not None:
                raise self._fatal
            name = str(feed)
            if name not in self._handed:
                self._handed.add(name)
                return Restored(self._epoch, self._feeds.pop(name, {}))
            # What was handed out is not kept twice: whoever asks again has it read again.
            self._rewind = True
            self._wake.set()
            self._ready.clear()

    async def commit(self, batch: Batch) -> None:
        """See `CommitLog.commit`."""
        if self._fatal is not None:
            raise self._fatal
        if batch.epoch != self._epoch or not self._ready.is_set() or self._closing:
            raise Rewound("the shard went back to its checkpoint")
        pending = _Pending(batch)
        self._queue.append(pending)
        self._wake.set()
        await pending.done

    async def run(self) -> None:
        """Serve for ever; returns only after an error that stops the process."""
        failures = 0
        while True:
            producer: ShardProducer | None = None
            began = self._clock.monotonic()
            try:
                producer = await self._take_over()
                began = self._clock.monotonic()
                await self._serve(producer)
                failures = 0
            except Rewound as error:
                # Records were refused: no trouble of the brokers, so there is nothing to wait out.
                failures = 0
                self._say(error)
            except IngestError as error:
                if error.recovery is Recovery.STOP:
                    self._give_up(error)
                    return
                self._say(error)
            except TROUBLE as error:
                superseded = await self._superseded(error)
                if superseded is not None:
                    self._give_up(superseded)
                    return
                self._say(translate(error, "write to", self._names.checkpoints))
            finally:
                if self._fatal is None:
                    self._back_to_checkpoint()
                if producer is not None:
                    self._on_discard(producer.discard())
            failures = 1 if self._clock.monotonic() - began > _BACKOFF_CAP_SECONDS else failures + 1
            pause = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2.0**failures)
            await self._clock.sleep(pause * (0.5 + 0.5 * self._rng.random()))

    async def close(self) -> None:
        """Take nothing more and return when the running transaction has ended."""
        self._closing = True
        self._wake.set()
        while self._queue or self._busy:
            await self._clock.sleep(0.02)

    async def _take_over(self) -> ShardProducer:
        limits = await self._limits()
        size = min(512 * 1024, limits.alert_bytes, limits.quarantine_bytes)
        identity = self._names.transactional_id(self.number)
        producer = ShardProducer(
            producer=self._connection.producer(identity, batch_bytes=size),
            names=self._names,
            limits=limits,
            shard=self.number,
            timeout_seconds=self._settings.transaction_timeout_seconds,
        )
        try:
            await producer.start()
            nonce = uuid.uuid4().hex
            await producer.transact([self._claim(nonce)], now=self._clock.unix())
            partition = TopicPartition(self._names.checkpoints, self.number)
            found = await read_back(
                self._connection, partition, nonce=nonce, seconds=_RESTORE_SECONDS
            )
        except BaseException:
            self._on_discard(producer.discard())
            raise
        self._feeds, self._handed = found.feeds, set()
        self._rewind = False
        self._epoch += 1
        self.trouble = ""
        self._ready.set()
        self._metrics.shard_ready()
        self._log.debug("shard_ready", epoch=self._epoch, feeds=len(self._feeds))
        return producer

    def _claim(self, nonce: str) -> Batch:
        owner = {
            "v": 1,
            "replica": self._replica.name,
            "instance": self._replica.instance,
            "started": self._replica.started,
            "installation": self._replica.installation,
            "nonce": nonce,
        }
        nobody = FeedKey("", Feed.MDE_ALERTS)
        return Batch(nobody, self._epoch, (), {OWNER: json.dumps(owner).encode()})

    async def _serve(self, producer: ShardProducer) -> None:
        records = 0
        while not self._rewind and records < _RECORDS_PER_PRODUCER:
            await self._wake.wait()
            group = self._next_group()
            if not group:
                self._wake.clear()
                if self._queue:
                    self._wake.set()
                continue
            records += await self._commit_group(producer, group)

    def _next_group(self) -> list[_Pending]:
        group: list[_Pending] = []
        size = 0
        while self._queue:
            pending = self._queue[0]
            if pending.done.cancelled():
                self._queue.popleft()
                continue
            alone = pending.batch.feed in self._alone
            if group and (alone or size + pending.size > self._settings.batch_bytes):
                break
            size += pending.size
            group.append(self._queue.popleft())
            if alone:
                break
        return group

    async def _commit_group(self, producer: ShardProducer, group: list[_Pending]) -> int:
        began = self._clock.monotonic()
        alone = group[0].batch.feed in self._alone
        self._busy = True
        try:
            records = await producer.transact(
                [pending.batch for pending in group], now=self._clock.unix(), one_by_one=alone
            )
        except Refusal as refusal:
            self._metrics.aborted()
            self._judge_refusal(group, refusal, alone=alone)
            raise Rewound(f"the brokers refused records: {refusal.reason}") from None
        except BaseException:
            self._metrics.aborted()
            self._fail(group)
            if len(group) > 1:
                self._alone.update(pending.batch.feed for pending in group)
            raise
        finally:
            self._busy = False
        self._alone.difference_update(pending.batch.feed for pending in group)
        self._metrics.committed(records=records, seconds=self._clock.monotonic() - began)
        for pending in group:
            if not pending.done.done():
                pending.done.set_result(None)
        return records

    def _judge_refusal(self, group: list[_Pending], refusal: Refusal, *, alone: bool) -> None:
        if not alone:
            # Not known yet whose record it is, nor which: each feed is tried alone, record by record.
            self._alone.update(pending.batch.feed for pending in group)
            self._fail(group)
            return
        error = RecordsRejected(
            f"the brokers refuse {len(refusal.positions[0])} records: {refusal.reason}",
            positions=tuple(refusal.positions[0]),
            reason=refusal.reason,
        )
        group[0].done.set_exception(error)

    def _fail(self, group: list[_Pending]) -> None:
        for pending in group:
            if not pending.done.done():
                pending.done.set_exception(Rewound("the shard went back to its checkpoint"))

    def _back_to_checkpoint(self) -> None:
        if self._ready.is_set() or self._rewind:
            self._metrics.shard_lost()
        self._ready.clear()
        self._feeds.clear()
        self._fail(list(self._queue))
        self._queue.clear()

    def _say(self, error: SinkError | IngestError) -> None:
        if self.trouble != str(error):
            self.trouble = str(error)
            self._log.warning("shard_rewound", error=str(error))

    def _give_up(self, error: IngestError) -> None:
        """Let every tenant of the shard raise the error that stops the process."""
        self._fatal = error
        self.trouble = str(error)
        self._ready.set()

    async def _superseded(self, error: BaseException) -> Superseded | None:
        """Find out who fenced us: a later daemon wins, our own timed-out transaction does not."""
        if not is_fenced(error):
            return None
        partition = TopicPartition(self._names.checkpoints, self.number)
        try:
            found = await read_back(
                self._connection, partition, nonce=None, seconds=_RESTORE_SECONDS
            )
        except TROUBLE:
            # Then it is found out at the next fence.
            return None
        owner = found.owner or {}
        later = (float(owner.get("started", 0.0)), str(owner.get("instance")))
        if later > (self._replica.started, self._replica.instance):
            return Superseded(
                f"shard {self.number} was taken over by {owner.get('replica')}, which started later "
                f"on the same kafka.prefix; stop one of the two, or give it another prefix"
            )
        return None
