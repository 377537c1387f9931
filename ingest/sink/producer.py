"""One producer of one shard, with transactions and without.

aiokafka commits a transaction although a produce in it failed, and its guards are assertions. So every
future is awaited before the commit, anything but success makes the producer unusable for good, and
whoever used it throws it away.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, OutOfOrderSequenceNumber
from aiokafka.producer.message_accumulator import BatchBuilder

from ingest.pipeline.ports import Batch, Topic
from ingest.settings.models import Kafka
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.refusals import is_fenced, record_reason
from ingest.sink.topics import TopicLimits

_NO_HEADERS: list[tuple[str, bytes]] = []
_PLACES = 1 << 32
_NO_BATCH = -1
"""Where a record came from is one number, the batch's times `_PLACES` plus the place in it: a tuple for
each would be a tuple for the garbage collector to walk."""


@dataclass(slots=True)
class Refusal(Exception):
    """A transaction that was aborted for its records: of each batch, which and why."""

    positions: dict[int, list[int]] = field(default_factory=dict)
    reason: str = "refused"


def _retrieve(future: "asyncio.Future[object]") -> None:
    """Look at an outcome, so that asyncio does not complain that nobody did."""
    if not future.cancelled():
        future.exception()


_Failure = tuple[BaseException, list[int]]
"""What became of a Kafka batch that was not taken, and the origins of its records."""


def _refusal_of(failures: list[_Failure]) -> Refusal:
    """Return which records the brokers refuse for what they are.

    Raises:
        Exception: aiokafka's, where it is about something else, or about records of ours.
    """
    # That a transaction has failed already is no reason where there is another.
    failures = [one for one in failures if not isinstance(one[0], IllegalOperation)] or failures
    for error, _ in sorted(failures, key=lambda one: not is_fenced(one[0])):
        if is_fenced(error) or record_reason(error) is None:
            raise error
    refusal = Refusal(reason=record_reason(failures[0][0]) or "refused")
    for error, origins in failures:
        if _NO_BATCH in origins:
            raise error
        for origin in origins:
            number, position = divmod(origin, _PLACES)
            refusal.positions.setdefault(number, []).append(position)
    return refusal


_Piece = tuple[bytes, bytes | memoryview | None, list[tuple[str, bytes]], int]
"""Key, value, headers and origin of one record."""


@dataclass(slots=True)
class _Parcel:
    """Records for one partition: Kafka batches, each with the origins of its records."""

    batches: list[tuple[BatchBuilder, list[int]]] = field(default_factory=list)


class ShardProducer:
    """The producer of one shard, for one epoch."""

    def __init__(
        self,
        *,
        producer: AIOKafkaProducer,
        names: TopicNames,
        limits: TopicLimits,
        shard: int,
        timeout_seconds: float,
    ) -> None:
        self._producer = producer
        self._names = names
        self._limits = limits
        self._shard = shard
        self._timeout = timeout_seconds

    @classmethod
    def of(
        cls,
        shard: int,
        *,
        settings: Kafka,
        connection: Connection,
        names: TopicNames,
        limits: TopicLimits,
    ) -> Self:
        """Return the producer of a shard, not started."""
        identity = names.transactional_id(shard)
        return cls(
            producer=connection.producer(identity, batch_bytes=limits.batch_bytes),
            names=names,
            limits=limits,
            shard=shard,
            timeout_seconds=settings.transaction_timeout_seconds,
        )

    async def start(self) -> None:
        """Initialise the transactional id: fences the former owner and ends what it left open."""
        async with asyncio.timeout(self._timeout):
            await self._producer.start()

    async def transact(
        self,
        batches: Sequence[Batch],
        *,
        now: float,
        reports: Mapping[bytes, bytes | None] | None = None,
        elsewhere: Mapping[tuple[str, int], Mapping[bytes, bytes | None]] | None = None,
        one_by_one: bool = False,
    ) -> int:
        """Commit all batches together; return the number of records.

        Here in one transaction: 1. Begin. 2. Send everything. 3. Await every future. 4. Commit. On anything
        but success of the third step it is aborted; on anything else the outcome is unknown.

        Args:
            batches: what to commit.
            now: Unix seconds, the records' timestamp.
            reports: records for the status topic, by tenant.
            elsewhere: records by topic and partition, whichever shard's they are.
            one_by_one: give each record a batch of its own, so that a refusal names it.

        Raises:
            Refusal: the broker refuses records for what they are.
            Exception: aiokafka's; the producer is to be thrown away.
        """
        places = [((self._names.status, self._shard), reports or {}), *(elsewhere or {}).items()]
        parcels = self._pack(batches, places, round(now * 1000), one_by_one=one_by_one)
        async with asyncio.timeout(self._timeout):
            await self._publish(parcels)
        return sum(len(batch.records) + len(batch.checkpoint) for batch in batches)

    async def _publish(self, parcels: Mapping[tuple[str, int], _Parcel]) -> None:
        await self._producer.begin_transaction()
        if failures := await self._send_all(parcels):
            refusal = _refusal_of(failures)
            await self._producer.abort_transaction()
            raise refusal
        await self._producer.commit_transaction()

    async def _send_all(self, parcels: Mapping[tuple[str, int], _Parcel]) -> list[_Failure]:
        """Send all parcels at once and await every future; return what failed."""
        sent = await asyncio.gather(*(self._send(*one) for one in parcels.items()))
        return [failure for failures in sent for failure in failures]

    async def _send(self, place: tuple[str, int], parcel: _Parcel) -> list[_Failure]:
        topic, partition = place
        futures = []
        failures: list[_Failure] = []
        for batch, origins in parcel.batches:
            try:
                # Waits until the batch before it for this partition is on its way.
                future = await self._producer.send_batch(batch, topic, partition=partition)
            except Exception as error:
                # Perhaps the transaction has failed elsewhere: of why, others tell.
                failures.append((error, origins))
                break
            # Where all of it takes too long, nobody awaits this one any more.
            future.add_done_callback(_retrieve)
            futures.append((future, origins))
        for future, origins in futures:
            try:
                await future
            except Exception as error:
                # Once a batch is refused, those after it are out of order: that is no news.
                if not (failures and isinstance(error, OutOfOrderSequenceNumber)):
                    failures.append((error, origins))
        return failures

    def _pack(
        self,
        batches: Sequence[Batch],
        places: Sequence[tuple[tuple[str, int], Mapping[bytes, bytes | None]]],
        timestamp: int,
        *,
        one_by_one: bool,
    ) -> Mapping[tuple[str, int], _Parcel]:
        lanes: dict[tuple[str, int], list[_Piece]] = {}
        alerts, quarantine, crc = self._names.alerts, self._names.quarantine, zlib.crc32
        alert_partitions = self._limits.alert_partitions.get(alerts, 1)
        own = lanes.setdefault((self._names.checkpoints, self._shard), [])
        for number, batch in enumerate(batches):
            origin = number * _PLACES
            for record in batch.records:
                key = record.key
                if record.topic is Topic.ALERTS:
                    place = (alerts, crc(key) % alert_partitions)
                elif record.topic is not Topic.QUARANTINE:
                    place = (record.topic, crc(key) % self._limits.alert_partitions[record.topic])
                else:
                    place = (quarantine, crc(key) % self._limits.quarantine_partitions)
                lane = lanes.get(place)
                if lane is None:
                    lane = lanes[place] = []
                lane.append((key, record.value, record.headers, origin))
                origin += 1
            own += [(key, value, _NO_HEADERS, _NO_BATCH) for key, value in batch.checkpoint.items()]
        for place, values in places:
            lane = lanes.setdefault(place, [])
            lane += [(key, value, _NO_HEADERS, _NO_BATCH) for key, value in values.items()]
        # One partition after another: each buffer then grows where it is, and need not be copied to grow.
        return {
            place: self._parcel(lane, timestamp, one_by_one=one_by_one)
            for place, lane in lanes.items()
            if lane
        }

    def _parcel(self, lane: list[_Piece], timestamp: int, *, one_by_one: bool) -> _Parcel:
        """Put the records of one partition into Kafka's batches, in the order in which they come."""
        parcel = _Parcel()
        builder: BatchBuilder | None = None
        origins: list[int] = []
        for key, value, headers, origin in lane:
            if (
                builder is None
                or one_by_one
                or builder.append(key=key, value=value, timestamp=timestamp, headers=headers)
                is None
            ):
                builder, origins = self._producer.create_batch(), []
                # The first record of a batch always fits; the broker has the last word.
                builder.append(key=key, value=value, timestamp=timestamp, headers=headers)
                parcel.batches.append((builder, origins))
            origins.append(origin)
        return parcel

    def discard(self) -> "asyncio.Task[None]":
        """Throw the producer away in a task of its own: its stop can hang, or raise anything."""
        loop = asyncio.get_running_loop()
        return loop.create_task(
            close(self._producer), name=f"discard producer of shard {self._shard}"
        )


class AcknowledgedProducer(ShardProducer):
    """The same without transactions: a checkpoint is sent only after all its alerts are acknowledged.

    So whatever a checkpoint says is true, whoever wrote it and whenever it arrives. To commit is then: 1. Ask
    whether the shard is ours. 2. Send what is published, await every future. 3. Ask again. 4. Send the
    checkpoints, await every future. On anything but success what was acknowledged so far stays, and is
    published once more by whoever decides anew. `NotOwner` says that the shard is another replica's.

    Args:
        confirm: returns if the shard is still ours, or raises `NotOwner`. Nothing fences a former owner
            here; one that asks first repeats less.
        paced: whether one batch goes after another, so that a request holds no more than one.
    """

    def __init__(
        self,
        *,
        producer: AIOKafkaProducer,
        names: TopicNames,
        limits: TopicLimits,
        shard: int,
        timeout_seconds: float,
        confirm: Callable[[], Awaitable[None]],
        paced: bool,
    ) -> None:
        super().__init__(
            producer=producer,
            names=names,
            limits=limits,
            shard=shard,
            timeout_seconds=timeout_seconds,
        )
        self._confirm = confirm
        self._paced = paced

    async def _publish(self, parcels: Mapping[tuple[str, int], _Parcel]) -> None:
        checkpoint = (self._names.checkpoints, self._shard)
        for is_last in (False, True):
            stage = {at: one for at, one in parcels.items() if (at == checkpoint) is is_last}
            if stage:
                await self._confirm()
                if failures := await self._send_all(stage):
                    raise _refusal_of(failures)

    async def _send_all(self, parcels: Mapping[tuple[str, int], _Parcel]) -> list[_Failure]:
        if not self._paced:
            return await super()._send_all(parcels)
        sent = [await self._send(*one) for one in parcels.items()]
        return [failure for failures in sent for failure in failures]
