"""One shard: takes over, restores, commits; after any failure it goes back to its checkpoint.

Each time round is an *epoch*; a batch that was decided on an older one is refused. How a shard is taken
over is `ingest.sink.takeover`'s.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

import structlog

from ingest.errors import IngestError, NotOwner, RecordsRejected, Recovery, Rewound, SinkError
from ingest.model.budget import FULL_GRANT, HELD_SECONDS
from ingest.model.tenant import FeedKey
from ingest.pipeline.ports import Batch, Clock, Restored
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.producer import Refusal, ShardProducer
from ingest.sink.refusals import TROUBLE, is_fenced, translate
from ingest.sink.takeover import TakeOver
from ingest.telemetry.metrics import SinkMetrics

_BACKOFF_SECONDS = 0.1
_BACKOFF_CAP_SECONDS = 3.0
_RELEASE_SECONDS = 3.0
_REPORT_SECONDS = 20.0
"""How long a status that is not urgent waits for a transaction to ride along with."""
_PATIENCE_SECONDS = 1.0
"""How long a batch that publishes nothing waits for company: in a quiet fleet most are watermarks, one for
each tenant every few minutes, and a transaction costs as much as the reading that led to it."""
_CONTESTED_FENCES = 6
_CONTESTED_SPAN_SECONDS = 60.0
_CONTESTED_PAUSE_SECONDS = 30.0
"""Fenced so often while the coordinator says that the shard is ours, it is left alone for a while."""
_RECORDS_PER_PRODUCER = 2**30
"""A producer is renewed long before its 31-bit sequence numbers run out."""


_VALUE = attrgetter("value")


@dataclass(slots=True)
class _Pending:
    batch: Batch
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(map(len, map(_VALUE, self.batch.records)))


class Shard:
    """One partition of the checkpoints topic and the transactional id that names it, while they are ours.

    Args:
        taking_over: takes it over, each time round.
        on_discard: is given the task that ends a producer which was thrown away.
    """

    def __init__(
        self,
        *,
        taking_over: TakeOver,
        settings: Kafka,
        connection: Connection,
        names: TopicNames,
        clock: Clock,
        rng: random.Random,
        metrics: SinkMetrics,
        log: structlog.stdlib.BoundLogger,
        on_discard: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.number = taking_over.number
        self.trouble = "not initialised yet"
        self._settings = settings
        self._connection = connection
        self._names = names
        self._taking_over = taking_over
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log.bind(shard=self.number)
        self._on_discard = on_discard
        self._epoch = 0
        self._ready = asyncio.Event()
        self._rewind = False
        self._feeds: dict[str, dict[bytes, bytes]] = {}
        self._handed: set[str] = set()
        self._queue: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._alone: set[FeedKey] = set()
        self._reports: dict[bytes, bytes | None] = {}
        self._tenure = 0
        self._granted = 0.0
        self._taken_at = 0.0
        self._renew_at = 0.0
        self._fenced_at: deque[float] = deque(maxlen=_CONTESTED_FENCES)
        self._closing = False
        self._busy = False
        self._fatal: IngestError | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it commits just now."""
        return self._busy

    @property
    def is_given_up(self) -> bool:
        """Whether it ended by an error that stops the process."""
        return self._fatal is not None

    async def restore(self, feed: FeedKey) -> Restored:
        """See `CommitLog.restore`."""
        while True:
            await self._ready.wait()
            if self._fatal is not None:
                raise self._fatal
            name = str(feed)
            if name not in self._handed:
                self._handed.add(name)
                held = self._clock.monotonic() - self._taken_at
                granted = FULL_GRANT if held >= HELD_SECONDS else self._granted
                records = self._feeds.pop(name, {})
                torn = self._settings.delivery == "at_least_once"
                return Restored(
                    self._epoch, records, tenure=self._tenure, granted=granted, torn=torn
                )
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
        if batch.records:
            self._wake.set()
        elif self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(_PATIENCE_SECONDS, self._wake.set)
        await pending.done

    def report(self, tenant: bytes, status: bytes | None, *, soon: bool) -> None:
        """See `CommitLog.report`; it rides along with the next transaction, and is lost with it."""
        if not self._ready.is_set() or self._closing:
            return
        if soon:
            self._wake.set()
        elif not self._reports:
            asyncio.get_running_loop().call_later(_REPORT_SECONDS, self._wake.set)
        self._reports[tenant] = status

    async def run(self) -> None:
        """Serve for as long as the shard is ours; an error that stops the process ends it too."""
        failures = 0
        self._tenure += 1
        self._closing = False
        while True:
            producer: ShardProducer | None = None
            began = self._clock.monotonic()
            pause = 0.0
            try:
                producer = await self._take_over()
                began = self._clock.monotonic()
                await self._serve(producer)
                failures = 0
            except NotOwner:
                return
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
                self._say(
                    translate(
                        error,
                        "write to",
                        self._names.checkpoints,
                        principal=self._connection.principal,
                    )
                )
                if is_fenced(error):
                    pause = await self._pause_if_contested()
            finally:
                if self._fatal is None:
                    self._back_to_checkpoint()
                if producer is not None:
                    self._on_discard(producer.discard())
            failures = 1 if self._clock.monotonic() - began > _BACKOFF_CAP_SECONDS else failures + 1
            pause = pause or min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2.0**failures)
            await self._clock.sleep(pause * (0.5 + 0.5 * self._rng.random()))

    async def close(self) -> None:
        """Take nothing more and return when the running transaction has ended, or soon after."""
        self._closing = True
        self._wake.set()
        end = self._clock.monotonic() + _RELEASE_SECONDS
        while (self._queue or self._busy) and self._clock.monotonic() < end:
            await self._clock.sleep(0.02)

    async def _take_over(self) -> ShardProducer:
        taken = await self._taking_over.run()
        self._granted, self._taken_at = taken.granted, self._clock.monotonic()
        self._renew_at = self._taken_at + taken.renew_seconds
        self._feeds, self._handed = taken.feeds, set()
        self._epoch += 1
        self.trouble = ""
        self._ready.set()
        self._metrics.shard_ready()
        self._log.debug("shard_ready", epoch=self._epoch, feeds=len(self._feeds))
        return taken.producer

    async def _serve(self, producer: ShardProducer) -> None:
        records = 0
        while (
            not self._rewind
            and records < _RECORDS_PER_PRODUCER
            and self._clock.monotonic() < self._renew_at
        ):
            await self._wake.wait()
            self._wake.clear()
            group = self._next_group()
            alone = bool(group) and group[0].batch.feed in self._alone
            reports: dict[bytes, bytes | None] = {}
            if not alone:
                reports, self._reports = self._reports, reports
            if self._queue or self._reports:
                # What is left is for the next one, and nobody else may come.
                self._wake.set()
            if group or reports:
                records += await self._commit_group(producer, group, reports, alone=alone)

    def _next_group(self) -> list[_Pending]:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
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

    async def _commit_group(
        self,
        producer: ShardProducer,
        group: list[_Pending],
        reports: dict[bytes, bytes | None],
        *,
        alone: bool,
    ) -> int:
        began = self._clock.monotonic()
        self._busy = True
        try:
            records = await producer.transact(
                [pending.batch for pending in group],
                reports=reports,
                now=self._clock.unix(),
                one_by_one=alone,
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
        # Once: it may go back again and again before it is taken over.
        self._rewind = False
        self._ready.clear()
        self._feeds.clear()
        self._reports.clear()
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

    async def _pause_if_contested(self) -> float:
        """Return how long to leave the shard alone: somebody outside the group may want it too.

        A fence now and then is a zombie's, or our own transaction's that timed out. Many, while the
        coordinator says that the shard is ours, come from an installation with the same topics.
        """
        now = self._clock.monotonic()
        self._fenced_at.append(now)
        often = len(self._fenced_at) == _CONTESTED_FENCES
        if not often or now - self._fenced_at[0] > _CONTESTED_SPAN_SECONDS:
            return 0.0
        try:
            owner = await self._taking_over.last_owner()
        except TROUBLE:
            return 0.0
        self.trouble = (
            f"shard {self.number} is taken over again and again by {owner.get('replica')} of group "
            f"{owner.get('group')}, though ours is {self._names.group}; stop one of the two"
        )
        self._log.error("shard_contested", error=self.trouble)
        return _CONTESTED_PAUSE_SECONDS
