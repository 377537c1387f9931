"""The commit log on Kafka: every shard that has tenants, behind the pipeline's port."""

import asyncio
import os
import random
import socket
import uuid
from types import TracebackType
from typing import Self

import structlog
from aiokafka import TopicPartition

from ingest.errors import SinkForbidden, SinkUnavailable, TopicMismatch
from ingest.model.tenant import FeedKey, shard_of
from ingest.pipeline.ports import Batch, Clock, Restored, Topic
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE, translate
from ingest.sink.restore import read_back
from ingest.sink.shard import Replica, Shard
from ingest.sink.topics import TopicLimits, Topics
from ingest.telemetry.metrics import SinkMetrics

_RETRY_SECONDS = 2.0
_LIMITS_SECONDS = 10.0
_CHECK_SECONDS = 30.0
_MARKED_SHARD = 0
"""The shard whose take-over record marks the topics as ours; it is always started."""


class KafkaCommitLog:
    """Implements `CommitLog`: in this release one process owns all shards.

    Opening it waits until the brokers answer and the topics fit; a shard is started when the first of
    its tenants is restored. An error that asks to stop the process reaches every tenant of the shard.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        client_id: str,
        metrics: SinkMetrics,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._rng = rng
        self._connection = Connection(
            settings=settings, client_id=f"defender-ingest-{socket.gethostname()}-{os.getpid()}"
        )
        self._topics = Topics(settings=settings, connection=self._connection, log=log)
        self._replica = Replica(
            name=f"{socket.gethostname()}:{os.getpid()}",
            instance=uuid.uuid4().hex,
            started=clock.unix(),
            installation=client_id,
        )
        self._limits: TopicLimits | None = None
        self._limits_at = 0.0
        self._asking = asyncio.Lock()
        self._shards: dict[int, Shard] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._discarding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Wait for the brokers, make and check the topics, refuse another installation's.

        Raises:
            TopicMismatch: a topic does not fit, or is another installation's.
        """
        said = ""
        while self._limits is None:
            try:
                self._limits = await self._topics.ensure()
                await self._refuse_a_strangers()
            except (SinkUnavailable, SinkForbidden, *TROUBLE) as error:
                self._limits = None
                trouble = str(translate(error, "read", self._topics.names.checkpoints))
                if trouble != said:
                    self._log.error("kafka_unavailable", error=trouble)
                    said = trouble
                await self._clock.sleep(_RETRY_SECONDS)
        self._limits_at = self._clock.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let running transactions end, then end the shards and their producers."""
        try:
            await asyncio.gather(*(shard.close() for shard in self._shards.values()))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            while self._discarding:
                await asyncio.wait(self._discarding)

    async def restore(self, feed: FeedKey) -> Restored:
        """See `CommitLog.restore`."""
        return await self._shard(feed).restore(feed)

    async def commit(self, batch: Batch) -> None:
        """See `CommitLog.commit`."""
        await self._shard(batch.feed).commit(batch)

    def max_record_bytes(self, topic: Topic) -> int:
        """See `CommitLog.max_record_bytes`."""
        if self._limits is None:
            raise SinkUnavailable("the topics are not known yet")
        limits = self._limits
        return limits.alert_bytes if topic is Topic.ALERTS else limits.quarantine_bytes

    def not_ready(self) -> list[str]:
        """Return, in words, what keeps shards from committing."""
        return [
            f"shard {shard.number}: {shard.trouble}"
            for shard in self._shards.values()
            if shard.trouble
        ]

    def _shard(self, feed: FeedKey) -> Shard:
        number = shard_of(feed.tenant, self._settings.shards)
        if number not in self._shards:
            self._start(number)
        return self._shards[number]

    def _start(self, number: int) -> None:
        shard = self._shards[number] = Shard(
            number=number,
            settings=self._settings,
            connection=self._connection,
            names=self._topics.names,
            limits=self._fresh_limits,
            replica=self._replica,
            clock=self._clock,
            rng=self._rng,
            metrics=self._metrics,
            log=self._log,
            on_discard=self._keep_until_done,
        )
        task = asyncio.get_running_loop().create_task(self._guard(shard), name=f"shard {number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, shard: Shard) -> None:
        """Run a shard again if Kafka's client raised a cancellation that nobody asked for."""
        while True:
            try:
                await shard.run()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._log.warning("shard_ended_unbidden", shard=shard.number)
            except Exception:
                # A defect of ours must not leave a shard dark for good.
                self._log.exception("shard_failed", shard=shard.number)
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return

    def _keep_until_done(self, task: asyncio.Task[None]) -> None:
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def _fresh_limits(self) -> TopicLimits:
        """Return the topics' limits, asked for again when they are old; one question at a time."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._limits is None or now - self._limits_at > _LIMITS_SECONDS:
                self._limits = await self._topics.limits()
                self._limits_at = now
            return self._limits

    async def _refuse_a_strangers(self) -> None:
        """Refuse topics that another application's installation has taken (by its own record)."""
        partition = TopicPartition(self._topics.names.checkpoints, _MARKED_SHARD)
        found = await read_back(self._connection, partition, nonce=None, seconds=_CHECK_SECONDS)
        owner = found.owner or {}
        installation = owner.get("installation", self._replica.installation)
        if installation != self._replica.installation:
            raise TopicMismatch(
                f"topic {partition.topic} belongs to the installation of application {installation}; "
                "choose another kafka.prefix for this one"
            )
        # Its take-over record is the mark, whether or not it has tenants.
        self._start(_MARKED_SHARD)
