"""What the brokers can do of what exactly-once needs, found out by trying it at start."""

import asyncio
from typing import Literal

from aiokafka import errors as kafka

from ingest.errors import SinkForbidden, SinkUnavailable
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.refusals import translate

Transactions = Literal["available", "forbidden", "absent"]

_ABSENT = (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError)
REMEDY = "or, where brokers have no transactions for us, set kafka.delivery: at_least_once"


async def transactions(
    connection: Connection, names: TopicNames, *, seconds: float
) -> Transactions:
    """Initialise a transactional id of ours that is no shard's, and say what came of it.

    Args:
        connection: makes the producer.
        names: of the installation.
        seconds: the bound on it.

    Raises:
        TimeoutError: if it takes longer.
        Exception: aiokafka's, where the brokers cannot be asked.
    """
    producer = connection.producer(f"{names.transactional_ids}probe", batch_bytes=1024)
    try:
        async with asyncio.timeout(seconds):
            await producer.start()
    except kafka.TransactionalIdAuthorizationFailed:
        return "forbidden"
    except _ABSENT:
        return "absent"
    finally:
        await close(producer)
    return "available"


def needed(found: Transactions, names: TopicNames, *, principal: str) -> None:
    """Refuse to go on without transactions.

    Raises:
        SinkForbidden: naming the right that lacks, and the setting that does without.
        SinkUnavailable: the brokers have none.
    """
    if found == "forbidden":
        error = kafka.TransactionalIdAuthorizationFailed(names.transactional_ids)
        words = translate(error, "write to", names.transactional_ids, principal=principal)
        raise SinkForbidden(f"{words}; {REMEDY}")
    if found == "absent":
        raise SinkUnavailable(f"the brokers do not know transactions: use others, {REMEDY}")
