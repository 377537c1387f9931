"""One transactional producer and its transactions.

aiokafka commits a transaction although a produce in it failed, and its guards are assertions. So every
future is awaited before the commit, anything but success makes the producer unusable for good, and
whoever used it throws it away.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import OutOfOrderSequenceNumber

from ingest.pipeline.ports import Batch, Topic
from ingest.sink.connection import close
from ingest.sink.refusals import is_fenced, record_reason
from ingest.sink.topics import TopicLimits, TopicNames

_Row = tuple[bytes, bytes | None, list[tuple[str, bytes]], tuple[int, int]]
"""Key, value, headers, and where it came from: the number of the batch and the place in it."""


@dataclass(slots=True)
class Refusal(Exception):
    """A transaction that was aborted for its records: of each batch, which and why."""

    positions: dict[int, list[int]] = field(default_factory=dict)
    reason: str = "refused"


def _retrieve(future: "asyncio.Future[object]") -> None:
    """Look at an outcome, so that asyncio does not complain that nobody did."""
    if not future.cancelled():
        future.exception()


@dataclass(slots=True)
class _Parcel:
    """Records for one partition: Kafka batches, each with the places its records came from."""

    batches: list[tuple[object, list[tuple[int, int]]]] = field(default_factory=list)


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
        one_by_one: bool = False,
    ) -> int:
        """Commit all batches in one transaction; return the number of records.

        1. Begin. 2. Send everything. 3. Await every future. 4. Commit. On anything but success of the
        third step the transaction is aborted; on anything else the outcome is unknown.

        Args:
            batches: what to commit.
            now: Unix seconds, the records' timestamp.
            reports: records for the status topic, by tenant.
            one_by_one: give each record a batch of its own, so that a refusal names it.

        Raises:
            Refusal: the broker refuses records for what they are.
            Exception: aiokafka's; the producer is to be thrown away.
        """
        parcels = self._pack(batches, reports or {}, round(now * 1000), one_by_one=one_by_one)
        async with asyncio.timeout(self._timeout):
            await self._producer.begin_transaction()
            sent = await asyncio.gather(
                *(self._send(place, parcel) for place, parcel in parcels.items())
            )
            failures = [failure for failures in sent for failure in failures]
            if failures:
                await self._abort(failures)
            await self._producer.commit_transaction()
        return sum(len(batch.records) + len(batch.checkpoint) for batch in batches)

    async def _send(
        self, place: tuple[str, int], parcel: _Parcel
    ) -> list[tuple[BaseException, list[tuple[int, int]]]]:
        topic, partition = place
        futures = []
        failures: list[tuple[BaseException, list[tuple[int, int]]]] = []
        for batch, origins in parcel.batches:
            # Waits until the batch before it for this partition is on its way.
            future = await self._producer.send_batch(batch, topic, partition=partition)
            # Where the next batch cannot be sent, nobody awaits this one any more.
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

    async def _abort(self, failures: list[tuple[BaseException, list[tuple[int, int]]]]) -> None:
        errors = [error for error, _ in failures]
        others = [error for error in errors if is_fenced(error) or record_reason(error) is None]
        if others:
            raise others[0]
        await self._producer.abort_transaction()
        refusal = Refusal(reason=record_reason(errors[0]) or "refused")
        for error, origins in failures:
            if any(batch < 0 for batch, _ in origins):
                raise error
            for batch, position in origins:
                refusal.positions.setdefault(batch, []).append(position)
        raise refusal

    def _pack(
        self,
        batches: Sequence[Batch],
        reports: Mapping[bytes, bytes | None],
        timestamp: int,
        *,
        one_by_one: bool,
    ) -> Mapping[tuple[str, int], _Parcel]:
        names, limits, crc = self._names, self._limits, zlib.crc32
        rows: dict[tuple[str, int], list[_Row]] = {}
        for number, batch in enumerate(batches):
            for position, record in enumerate(batch.records):
                key = record.key
                if record.topic is Topic.ALERTS:
                    place = (names.alerts, crc(key) % limits.alert_partitions)
                else:
                    place = (names.quarantine, crc(key) % limits.quarantine_partitions)
                row = (key, record.value, record.headers, (number, position))
                rows.setdefault(place, []).append(row)
            here = rows.setdefault((names.checkpoints, self._shard), [])
            here.extend((key, value, [], (-1, -1)) for key, value in batch.checkpoint.items())
        if reports:
            rows[names.status, self._shard] = [
                (tenant, value, [], (-1, -1)) for tenant, value in reports.items()
            ]
        parcels: dict[tuple[str, int], _Parcel] = {}
        for place, some in rows.items():
            parcel = parcels[place] = _Parcel()
            builder = None
            origins: list[tuple[int, int]] = []
            for key, value, headers, origin in some:
                full = builder is None or (
                    builder.append(key=key, value=value, timestamp=timestamp, headers=headers)
                    is None
                )
                if full:
                    builder, origins = self._producer.create_batch(), []
                    parcel.batches.append((builder, origins))
                    # The first record of a batch always fits; the broker has the last word.
                    builder.append(key=key, value=value, timestamp=timestamp, headers=headers)
                origins.append(origin)
                if one_by_one:
                    builder = None
        return parcels

    def discard(self) -> "asyncio.Task[None]":
        """Throw the producer away in a task of its own: its stop can hang, or raise anything."""
        loop = asyncio.get_running_loop()
        return loop.create_task(
            close(self._producer), name=f"discard producer of shard {self._shard}"
        )
