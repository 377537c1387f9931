"""A compacted topic, read whole and then followed live, by no group: who follows it knows all of it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from ingest.pipeline.ports import Clock
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE

_POLL_MS = 500
_WAIT_MS = 500
"""A broker answers at once where there is news; to be asked more often costs it and us, for nothing."""

_START_SECONDS = 30.0
_RETRY_SECONDS = 1.0


class Follower:
    """Follows some partitions of one topic while its context is entered.

    Entering waits until all is read that was there, but not for longer than patience lasts.

    Args:
        patience_seconds: how long entering waits; None is for as long as it takes.
        min_bytes: news of fewer bytes waits for more, half a second at most.
        name: of the topic, in log events.
        take: takes one record; tells whether it says anything new.
        tell: called after something changed, and once when all is read that was there.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        partitions: Sequence[TopicPartition],
        name: str,
        take: Callable[[ConsumerRecord], bool],
        tell: Callable[[], None],
        patience_seconds: float | None = None,
        min_bytes: int = 1,
        clock: Clock,
        rng: random.Random,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._connection = connection
        self._partitions = partitions
        self._name = name
        self._take = take
        self._tell = tell
        self._patience = patience_seconds
        self._min_bytes = min_bytes
        self._clock = clock
        self._rng = rng
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self.read_whole = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Begin to read, and wait."""
        name = self._name.replace("_", " ")
        self._task = asyncio.get_running_loop().create_task(self._follow(), name=name)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self.read_whole.wait()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        """Follow for ever; whatever goes wrong, a new consumer reads it all again."""
        said = ""
        while True:
            consumer = self._connection.consumer(wait_ms=_WAIT_MS, min_bytes=self._min_bytes)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await consumer.start()
                await self._read(consumer)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            except TROUBLE as error:
                topic = self._partitions[0].topic
                trouble = str(await self._connection.explain(error, "read", topic))
                if trouble != said:
                    self._log.warning(f"{self._name}_unavailable", error=trouble)
                    said = trouble
            except Exception:
                # A defect must not leave this replica deaf to changes for good.
                self._log.exception(f"{self._name}_failed")
            finally:
                await close(consumer)
            await self._clock.sleep(_RETRY_SECONDS * (0.5 + self._rng.random()))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign(self._partitions)
        async with asyncio.timeout(_START_SECONDS):
            await consumer.seek_to_beginning(*self._partitions)
            ends = await consumer.end_offsets(self._partitions)
        while True:
            polled = await consumer.getmany(timeout_ms=_POLL_MS)
            changed = False
            for records in polled.values():
                for record in records:
                    changed |= self._take(record)
            if ends:
                behind = [at for at, end in ends.items() if await consumer.position(at) < end]
                if behind:
                    continue
                ends = {}
                self.read_whole.set()
                changed = True
            if changed:
                self._tell()
