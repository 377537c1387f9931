"""What aiokafka says a second time: kept out of the log, which has heard of it already."""

import asyncio
from typing import Any

from aiokafka.errors import KafkaError


def hush(loop: asyncio.AbstractEventLoop) -> None:
    """Keep a loop from complaining of futures that aiokafka leaves behind with Kafka's errors.

    Where a producer fails, as each does whose shard moves, every batch of it that had not left yet keeps a
    future that nobody can await, with the error that its other future told us. asyncio would log each, with
    a traceback, when it is collected. Futures of ours are looked at; errors in tasks, and all else, are said.
    """
    former = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        future = context.get("future")
        is_left = isinstance(future, asyncio.Future) and not isinstance(future, asyncio.Task)
        if is_left and isinstance(context.get("exception"), KafkaError):
            return
        if former is None:
            loop.default_exception_handler(context)
        else:
            former(loop, context)

    loop.set_exception_handler(handle)
