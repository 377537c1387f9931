"""Reading compacted partitions: a shard's checkpoints back, or what is newest in some."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from ingest.errors import TopicMismatch
from ingest.sink.closing import close
from ingest.sink.connection import Connection

OWNER = b"_owner"
"""The key of the take-over record, one in each partition."""

GRANTS = b"_grants"
"""The key of what take-overs may still grant: `[calls, Unix seconds]`, one in each partition."""

UNFENCED = b"_unfenced"
"""The key of the record that says, in each partition, that it was written without transactions: what it
holds may be pieces of several commits."""

_POLL_MS = 500
_CHECK_SECONDS = 30.0
_MARKED_SHARD = 0
"""The shard whose take-over record marks the topics as an installation's."""


@dataclass(slots=True)
class Readback:
    """A shard's checkpoint records by feed (`tenant/feed`), who took it over last, what may be granted."""

    feeds: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    owner: dict[str, Any] | None = None
    grants: tuple[float, float] | None = None
    unfenced: bool = False

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take one record; a later one of the same key replaces it, None removes it."""
        if key == OWNER:
            self.owner = _owner(value)
            return
        if key == GRANTS:
            self.grants = _grants(value)
            return
        if key == UNFENCED:
            self.unfenced = value is not None
            return
        feed = "/".join(key.decode(errors="replace").split("/", 2)[:2])
        records = self.feeds.setdefault(feed, {})
        if value is None:
            records.pop(key, None)
            if not records:
                del self.feeds[feed]
        else:
            records[key] = value


def _owner(value: bytes | None) -> dict[str, Any] | None:
    try:
        owner = json.loads(value or b"null")
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _grants(value: bytes | None) -> tuple[float, float] | None:
    try:
        left, at = json.loads(value or b"null")
        return float(left), float(at)
    except (ValueError, TypeError):
        return None


async def read_back(
    connection: Connection, partition: TopicPartition, *, nonce: str | None, seconds: float
) -> Readback:
    """Read a checkpoint partition from its beginning, as a `read_committed` reader.

    Args:
        connection: makes the consumer.
        partition: the shard's partition.
        nonce: of our own take-over record, up to which to read: then nothing committed before it can be
            missed, whatever a leader's high watermark says. None reads to the present end.
        seconds: the bound on all of it.

    Raises:
        SinkForbidden: we may not read it.
        TimeoutError: if it takes longer.
        Exception: aiokafka's.
    """
    found = Readback()
    consumer = connection.consumer()
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end = (await consumer.end_offsets([partition]))[partition]
            while True:
                if nonce is None and await consumer.position(partition) >= end:
                    return found
                polled = await consumer.getmany(partition, timeout_ms=_POLL_MS)
                for record in polled.get(partition, ()):
                    found.take(record.key, record.value)
                    if record.key == OWNER and nonce and (found.owner or {}).get("nonce") == nonce:
                        return found
    except TopicAuthorizationFailedError as error:
        # Whoever asks goes on to write, and would name another right.
        raise await connection.explain(error, "read", partition.topic) from error
    finally:
        await close(consumer)


async def refuse_a_strangers(connection: Connection, checkpoints: str, installation: str) -> None:
    """Refuse topics that another application's installation has taken (by its own record).

    Raises:
        TopicMismatch: they are not `installation`'s.
        TimeoutError: if it takes too long.
        Exception: aiokafka's.
    """
    partition = TopicPartition(checkpoints, _MARKED_SHARD)
    found = await read_back(connection, partition, nonce=None, seconds=_CHECK_SECONDS)
    owner = found.owner or {}
    theirs = owner.get("installation", installation)
    if theirs != installation:
        raise TopicMismatch(
            f"topic {checkpoints} belongs to the installation of application {theirs}; "
            "choose another kafka.prefix for this one"
        )


async def read_newest(
    connection: Connection, partitions: Sequence[TopicPartition], *, seconds: float
) -> list[dict[bytes, bytes]]:
    """Return of each partition the newest committed value of every key, up to its present end.

    Raises:
        TimeoutError: if it takes longer.
        Exception: aiokafka's.
    """
    newest: dict[TopicPartition, dict[bytes, bytes]] = {at: {} for at in partitions}

    def take(record: ConsumerRecord) -> None:
        _take(newest[TopicPartition(record.topic, record.partition)], record.key, record.value)

    await read_through(connection, partitions, take, seconds=seconds)
    return [newest[at] for at in partitions]


async def read_through(
    connection: Connection,
    partitions: Sequence[TopicPartition],
    take: Callable[[ConsumerRecord], None],
    *,
    seconds: float,
) -> None:
    """Give every committed record of some partitions to `take`, from their beginning to their present end.

    Raises:
        SinkForbidden: we may not read them.
        TimeoutError: if it takes longer.
        Exception: aiokafka's.
    """
    consumer = connection.consumer()
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            while [at for at in partitions if await consumer.position(at) < ends[at]]:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        take(record)
    except TopicAuthorizationFailedError as error:
        topics = ", ".join(sorted({at.topic for at in partitions}))
        raise await connection.explain(error, "read", topics) from error
    finally:
        await close(consumer)


def _take(newest: dict[bytes, bytes], key: bytes | None, value: bytes | None) -> None:
    if key is None:
        return
    if value is None:
        newest.pop(key, None)
    else:
        newest[key] = value
