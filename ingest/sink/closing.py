"""The end of a Kafka client, whatever its own stop does."""

# ruff: noqa: SLF001 - what a stop has left undone can be reached in no other way

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator

_STOP_SECONDS = 3.0


async def close(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Stop a client, bounded, in a task of its own.

    A client's stop can hang while a broker is down, and it can raise `CancelledError` into its caller,
    which would look as if the caller had been cancelled. Cut short, it leaves tasks and connections behind:
    those are ended here.
    """
    is_admin = isinstance(client, AIOKafkaAdminClient)
    if not await _ends(client.close() if is_admin else client.stop()):
        for step in _left_by(client):
            await _ends(step())


async def _ends(ending: Coroutine[Any, Any, None]) -> bool:
    """Run one step of an end, bounded; tell whether it came to its own end."""
    stopping = asyncio.get_running_loop().create_task(ending)
    _, late = await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
    if late:
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
    # Whatever it was: the client is not used again.
    is_well = stopping.done() and not stopping.cancelled() and stopping.exception() is None
    return is_well and not late


def _left_by(
    client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient,
) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Yield what a stop has still to do, wherever it was cut short; aiokafka has no other way to it."""
    match client:
        case AIOKafkaAdminClient():
            yield client._client.close
        case AIOKafkaProducer():
            if client._sender is not None:
                yield client._sender.close
            yield client.client.close
        case AIOKafkaConsumer():
            if isinstance(client._coordinator, GroupCoordinator):
                # It would go on to tell the group that all is well.
                yield client._coordinator._stop_heartbeat_task
                yield client._coordinator._stop_commit_offsets_refresh_task
            if client._fetcher is not None:
                yield client._fetcher.close
            yield client._client.close
