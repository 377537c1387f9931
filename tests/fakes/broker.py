"""What Kafka guarantees of transactions, in memory; `tests.fakes.kafka_clients` has its clients.

A transactional id has an epoch: to initialise it bumps the epoch and ends what the former one left open.
A transaction is decided at once and becomes readable later, partition by partition, when its markers are
written; until then whoever wants to begin or to initialise is told to come again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.errors import InvalidTxnState, ProducerFenced

Row = tuple[bytes, bytes | None]


@dataclass(eq=False)
class Transaction:
    """`committed` is None while it is open; `unmarked` are the partitions that do not know it yet."""

    author: object
    epoch: int
    places: dict[TopicPartition, None] = field(default_factory=dict)
    committed: bool | None = None
    decided: float = 0.0
    unmarked: set[TopicPartition] = field(default_factory=set)


@dataclass(frozen=True)
class Stored:
    key: bytes
    value: bytes | None
    transaction: Transaction
    at: float


@dataclass
class TransactionalId:
    epoch: int = -1
    last: Transaction | None = None

    @property
    def is_settled(self) -> bool:
        """Whether another transaction may begin."""
        return self.last is None or (self.last.committed is not None and not self.last.unmarked)

    @property
    def is_open(self) -> bool:
        return self.last is not None and self.last.committed is None


class Broker:
    """One cluster.

    `marker_seconds` pass until each of a decided transaction's markers is written. `lag_seconds` is how
    long leaders do not show what is written, as one does that has just become it.
    """

    def __init__(self) -> None:
        self.marker_seconds = 0.0
        self.lag_seconds = 0.0
        self.ids: dict[str, TransactionalId] = defaultdict(TransactionalId)
        self.commits: list[Transaction] = []
        self._logs: dict[TopicPartition, list[Stored]] = defaultdict(list)

    def initialise(self, name: str) -> int | None:
        """Fence and end what went before; None says that this is not done yet, and to come again."""
        known = self.ids[name]
        if known.is_open:
            known.epoch += 1
            self._decide(known.last, committed=False)
        if not known.is_settled:
            return None
        known.epoch += 1
        return known.epoch

    def expire(self, name: str) -> None:
        """End a transaction that took too long; its producer is fenced."""
        known = self.ids[name]
        if known.is_open:
            known.epoch += 1
            self._decide(known.last, committed=False)

    def may_write(self, name: str, epoch: int) -> bool:
        """Tell whether a producer can write; False says to come again.

        Raises:
            ProducerFenced: somebody else has initialised the id.
        """
        return self._known(name, epoch).is_open or self.ids[name].is_settled

    def append(
        self, name: str, epoch: int, place: TopicPartition, rows: Iterable[Row], author: object
    ) -> None:
        """Write into the open transaction, which the first write begins.

        Raises:
            ProducerFenced: somebody else has initialised the id.
        """
        known = self._known(name, epoch)
        if not known.is_open:
            known.last = Transaction(author, epoch)
        known.last.places[place] = None
        now = asyncio.get_running_loop().time()
        self._logs[place] += [Stored(key, value, known.last, now) for key, value in rows]

    def write(self, place: TopicPartition, rows: Iterable[Row], author: object) -> None:
        """Write without a transaction: readable at once, whoever wrote it."""
        now = asyncio.get_running_loop().time()
        alone = Transaction(author, -1, {place: None}, committed=True, decided=now)
        self._logs[place] += [Stored(key, value, alone, now) for key, value in rows]
        self.commits.append(alone)

    def end(self, name: str, epoch: int, *, committed: bool) -> None:
        """Decide the open transaction; to say again what is decided is no error.

        Raises:
            ProducerFenced: somebody else has initialised the id.
            InvalidTxnState: it was decided otherwise.
        """
        last = self._known(name, epoch).last
        if last is None or last.epoch != epoch or last.committed not in (None, committed):
            raise InvalidTxnState
        if last.committed is None:
            self._decide(last, committed=committed)

    def end_offset(self, place: TopicPartition) -> int:
        """Return up to where a leader shows its log to a `read_committed` reader just now."""
        end = self.stable_offset(place)
        if self.lag_seconds:
            shown = asyncio.get_running_loop().time() - self.lag_seconds
            while end and self._logs[place][end - 1].at > shown:
                end -= 1
        return end

    def stable_offset(self, place: TopicPartition) -> int:
        """Return the offset of the first record that is not decided here."""
        log = self._logs[place]
        for offset, stored in enumerate(log):
            if stored.transaction.committed is None or place in stored.transaction.unmarked:
                return offset
        return len(log)

    def readable(self, place: TopicPartition, start: int, end: int) -> list[Stored]:
        """Return what a `read_committed` reader finds from one offset to another."""
        return [stored for stored in self._logs[place][start:end] if stored.transaction.committed]

    def committed(self, place: TopicPartition) -> list[Stored]:
        """Return all that a `read_committed` reader can find."""
        return self.readable(place, 0, self.stable_offset(place))

    def settle(self) -> None:
        """Write all markers now."""
        for known in self.ids.values():
            if known.last is not None and known.last.committed is not None:
                known.last.unmarked.clear()

    def _known(self, name: str, epoch: int) -> TransactionalId:
        known = self.ids[name]
        if known.epoch != epoch:
            raise ProducerFenced
        return known

    def _decide(self, transaction: Transaction, *, committed: bool) -> None:
        loop = asyncio.get_running_loop()
        transaction.committed, transaction.decided = committed, loop.time()
        if committed:
            self.commits.append(transaction)
        if not self.marker_seconds:
            return
        transaction.unmarked.update(transaction.places)
        for number, place in enumerate(transaction.places, start=1):
            loop.call_later(number * self.marker_seconds, transaction.unmarked.discard, place)
