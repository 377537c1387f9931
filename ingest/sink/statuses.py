"""What the replicas last said of each tenant: the tenant-status topic, read whole, once."""

from aiokafka import TopicPartition

from ingest.errors import StatusUnreadable
from ingest.model.report import Report, decode_report
from ingest.model.tenant import shard_of
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE
from ingest.sink.restore import read_newest

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
    try:
        found = await read_newest(connection, partitions, seconds=seconds)
    except TROUBLE as error:
        raise await connection.explain(error, "read", topic) from error
    return {
        tenant: decoded(key, value)
        for number, newest in enumerate(found)
        for key, value in newest.items()
        # One that stands elsewhere was said before the number of shards was changed.
        if shard_of(tenant := key.decode(errors="replace"), shards) == number
    }


def decoded(key: bytes, value: bytes) -> Status:
    """Return a status, or why it cannot be read."""
    try:
        return decode_report(key, value)
    except StatusUnreadable as error:
        return error
