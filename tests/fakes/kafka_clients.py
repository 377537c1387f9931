"""Producers and a consumer of one process on the broker in memory, as far as the sink uses aiokafka's."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from types import SimpleNamespace

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, ProducerFenced, RequestTimedOutError

from tests.fakes.broker import Broker, Row
from tests.fakes.process import Process

_BATCH_ROWS = 3


class Loss(StrEnum):
    """What a client hears of a commit that was made, and whose answer was lost."""

    ERROR = "error"
    NOTHING = "nothing"


class Batch:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def append(self, *, key, value, timestamp, headers) -> object | None:
        if len(self.rows) == _BATCH_ROWS:
            return None
        self.rows.append((key, value))
        return self


class MemoryProducer:
    """A transactional one. Whatever fails, it is of no use any more."""

    def __init__(self, connection: "MemoryConnection", transactional_id: str) -> None:
        self._connection = connection
        self._broker = connection.broker
        self._process = connection.process
        self._id = transactional_id
        self._epoch = -1
        self._failure: Exception | None = None
        self._open = False
        self._written = False
        self._sending: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._process.gate()
        while (epoch := self._broker.initialise(self._id)) is None:
            await asyncio.sleep(0.05)
            await self._process.gate()
        self._epoch = epoch
        self._connection.on_initialised(self._process, self._id, epoch)
        await self._process.gate()

    async def begin_transaction(self) -> None:
        self._raise_what_failed()
        await self._process.gate()
        self._open, self._written = True, False

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Task[None]:
        self._raise_what_failed()
        if not self._open:
            raise IllegalOperation("not in a transaction")
        await self._process.gate()
        self._written = True
        task = self._process.spawn(self._deliver(batch, TopicPartition(topic, partition)))
        self._sending.append(task)
        return task

    async def commit_transaction(self) -> None:
        await self._end(committed=True)
        loss, self._connection.loss = self._connection.loss, None
        if loss is Loss.ERROR:
            self._failure = RequestTimedOutError()
            raise self._failure
        if loss is Loss.NOTHING:
            await asyncio.get_running_loop().create_future()
        await self._process.gate()

    async def abort_transaction(self) -> None:
        await self._end(committed=False)
        await self._process.gate()

    async def stop(self) -> None:
        """Send what is left and disconnect; what is open stays open."""
        await self._process.gate()
        for task in self._sending:
            task.cancel()

    async def _deliver(self, batch: Batch, place: TopicPartition) -> None:
        await self._process.gate()
        try:
            await self._process.patience(lambda: self._broker.may_write(self._id, self._epoch))
            self._broker.append(self._id, self._epoch, place, batch.rows, self._process)
        except ProducerFenced as error:
            self._failure = error
            raise
        await self._process.gate()

    async def _end(self, *, committed: bool) -> None:
        self._raise_what_failed()
        await self._process.gate()
        self._open = False
        self._sending.clear()
        if self._written:
            try:
                self._broker.end(self._id, self._epoch, committed=committed)
            except Exception as error:
                self._failure = error
                raise

    def _raise_what_failed(self) -> None:
        if self._failure is not None:
            raise self._failure


class MemoryPlainProducer:
    """One without transactions: each batch is there once it is acknowledged, and may be there before."""

    def __init__(self, connection: "MemoryConnection") -> None:
        self._connection = connection
        self._process = connection.process
        self._sending: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._process.gate()

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Task[None]:
        await self._process.gate()
        place = TopicPartition(topic, partition)
        former = self._sending[-1] if self._sending else None
        task = self._process.spawn(self._deliver(batch, place, former))
        self._sending.append(task)
        return task

    async def stop(self) -> None:
        await self._process.gate()
        for task in self._sending:
            task.cancel()

    async def _deliver(
        self, batch: Batch, place: TopicPartition, former: asyncio.Task[None] | None
    ) -> None:
        if former is not None:
            await asyncio.wait({former})
        await self._process.gate()
        self._connection.broker.write(place, batch.rows, self._process)
        loss, self._connection.loss = self._connection.loss, None
        if loss is Loss.ERROR:
            raise RequestTimedOutError
        if loss is Loss.NOTHING:
            await asyncio.get_running_loop().create_future()
        await self._process.gate()


class MemoryConsumer:
    """A `read_committed` one of no group."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process
        self._offsets: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        await self._process.gate()

    def assign(self, places: list[TopicPartition]) -> None:
        self._offsets = dict.fromkeys(places, 0)

    async def seek_to_beginning(self, *places: TopicPartition) -> None:
        self._offsets |= dict.fromkeys(places, 0)

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._process.gate()
        found = {place: self._broker.end_offset(place) for place in places}
        await self._process.gate()
        return found

    async def position(self, place: TopicPartition) -> int:
        return self._offsets[place]

    async def getmany(self, place: TopicPartition, *, timeout_ms: int) -> dict:
        await self._process.gate()
        start, end = self._offsets[place], self._broker.end_offset(place)
        if start == end:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        rows = self._broker.readable(place, start, end)
        self._offsets[place] = end
        await self._process.gate()
        return {place: [SimpleNamespace(key=row.key, value=row.value) for row in rows]}

    async def stop(self) -> None:
        await self._process.gate()


class MemoryConnection:
    """Makes the clients of one process; `loss` is what becomes of the answer to what it writes next."""

    principal = "User:memory"

    def __init__(
        self,
        broker: Broker,
        process: Process,
        on_initialised: Callable[[Process, str, int], None] = lambda *_: None,
    ) -> None:
        self.broker = broker
        self.process = process
        self.on_initialised = on_initialised
        self.loss: Loss | None = None

    def producer(self, transactional_id: str, *, batch_bytes: int) -> MemoryProducer:
        return MemoryProducer(self, transactional_id)

    def acknowledged_producer(self, *, batch_bytes: int) -> MemoryPlainProducer:
        return MemoryPlainProducer(self)

    def consumer(self, **_: int) -> MemoryConsumer:
        return MemoryConsumer(self.broker, self.process)
