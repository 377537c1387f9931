"""What the brokers say of themselves: whether every partition has all its replicas again."""

import asyncio
import time
from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

_LOOK_SECONDS = 0.5


async def whole(bootstrap: str, *, at_most: float) -> int:
    """Wait until no partition lacks a replica; return how many do after `at_most` seconds.

    Before that the next broker that goes could be the second of three, where Kafka's promise ends.
    """
    deadline = time.monotonic() + at_most
    lacking = -1
    while lacking and time.monotonic() < deadline:
        with suppress(KafkaError, OSError, TimeoutError):
            lacking = await asyncio.wait_for(_lacking(bootstrap), 10)
        if lacking:
            await asyncio.sleep(_LOOK_SECONDS)
    return lacking


async def _lacking(bootstrap: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    await admin.start()
    try:
        topics = await admin.describe_topics(await admin.list_topics())
    finally:
        await admin.close()
    return sum(
        len(partition["isr"]) < len(partition["replicas"])
        for topic in topics
        for partition in topic["partitions"]
    )
