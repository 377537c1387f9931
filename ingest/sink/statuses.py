"""What the replicas last said of each tenant: the tenant-status topic, read whole, once."""

import asyncio

from aiokafka import TopicPartition

from ingest.errors import StatusUnreadable
from ingest.model.report import Report, decode_report
from ingest.sink.connection import Connection, close
from ingest.sink.refusals import TROUBLE, translate

_POLL_MS = 500
_SECONDS = 60.0

Status = Report | StatusUnreadable
"""A status, or why it cannot be read."""


async def read_statuses(
    connection: Connection, *, topic: str, shards: int, seconds: float = _SECONDS
) -> dict[str, Status]:
    """Return the newest committed status of every tenant, up to the topic's present end.

    Raises:
        SinkError: it cannot be read, or not in time.
    """
    partitions = [TopicPartition(topic, number) for number in range(shards)]
    newest: dict[bytes, bytes] = {}
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
                        _take(newest, record.key, record.value)
    except TROUBLE as error:
        raise translate(error, "read", topic) from error
    finally:
        await close(consumer)
    return {key.decode(errors="replace"): _decoded(key, value) for key, value in newest.items()}


def _take(newest: dict[bytes, bytes], key: bytes | None, value: bytes | None) -> None:
    if key is None:
        return
    if value is None:
        newest.pop(key, None)
    else:
        newest[key] = value


def _decoded(key: bytes, value: bytes) -> Status:
    try:
        return decode_report(key, value)
    except StatusUnreadable as error:
        return error
