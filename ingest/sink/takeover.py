"""Taking a shard over: the order of these steps is the law.

Claim, initialise the transactional id (which fences the former owner and ends what it left open), claim
again, write a record of our own, read the partition up to that very record, settle, and only then serve.
Fencing alone keeps the promises; the claims keep a replica that has lost its shards, and does not know it
yet, from fencing their rightful owner.

Without transactions nothing fences. What a former owner still writes is true all the same, and what the two
overwrite of each other costs repeats: such a partition is marked, and read as pieces. Whoever takes it over
with transactions makes it whole.
"""

import asyncio
import contextlib
import json
import math
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from aiokafka import TopicPartition

from ingest.errors import CheckpointUnreadable
from ingest.model.budget import FIRST_GRANTS, grant
from ingest.model.checkpoint import mend
from ingest.model.tenant import Feed, FeedKey
from ingest.pipeline.ports import Batch, Clock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.producer import AcknowledgedProducer, ShardProducer
from ingest.sink.restore import GRANTS, OWNER, UNFENCED, Readback, read_back
from ingest.sink.topics import TopicLimits

_RESTORE_SECONDS = 60.0
_RENEWED_SHARE = 1 / 3
"""Of the time for which checkpoints are kept, after which they are written once more."""
_NOBODY = FeedKey("", Feed.MDE_ALERTS)


@dataclass(frozen=True, slots=True)
class Replica:
    """This process, as its take-over records name it; `instance` is unique, `name` for people."""

    name: str
    instance: str
    installation: str

    @classmethod
    def here(cls, installation: str) -> Self:
        """Return this process as a replica of an installation."""
        return cls(f"{socket.gethostname()}:{os.getpid()}", uuid.uuid4().hex, installation)

    def takes_over(self, *, group: str, nonce: str) -> bytes:
        """Return the value of a take-over record; by its nonce it is known again."""
        owner = {
            "v": 1,
            "replica": self.name,
            "instance": self.instance,
            "group": group,
            "installation": self.installation,
            "nonce": nonce,
        }
        return json.dumps(owner).encode()


@dataclass(slots=True)
class Taken:
    """A shard that is ours: its producer, its checkpoints by feed, and what each feed is granted.

    After `renew_seconds` it is to be taken over again: its checkpoints are kept by time.
    """

    producer: ShardProducer
    feeds: dict[str, dict[bytes, bytes]]
    granted: float
    renew_seconds: float = math.inf


class TakeOver:
    """Takes one shard over, as often as it must be.

    Args:
        number: the partition of the checkpoints topic.
        claim: returns once the group confirms that a shard is ours, or raises `NotOwner`.
        confirm: the same, by a word of the group that may be seconds old.
        is_removed: tells whether a tenant was removed, and its checkpoint is to be forgotten.
        limits: asks for the topics' present limits; an operator may change them.
        on_discard: is given the task that ends a producer which was thrown away.
    """

    def __init__(
        self,
        *,
        number: int,
        settings: Kafka,
        connection: Connection,
        names: TopicNames,
        claim: Callable[[int], Awaitable[None]],
        confirm: Callable[[int], Awaitable[None]],
        is_removed: Callable[[str], bool],
        limits: Callable[[], Awaitable[TopicLimits]],
        replica: Replica,
        clock: Clock,
        on_discard: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.number = number
        self._settings = settings
        self._connection = connection
        self._names = names
        self._claim = claim
        self._confirm = confirm
        self._is_removed = is_removed
        self._limits = limits
        self._replica = replica
        self._clock = clock
        self._on_discard = on_discard

    async def run(self) -> Taken:
        """Take the shard over.

        Raises:
            NotOwner: it is another replica's.
            TimeoutError: its checkpoints could not be read in time.
            Exception: aiokafka's; whatever it is, the producer is thrown away.
        """
        await self._claim(self.number)
        limits = await self._limits()
        producer = self._producer(limits)
        try:
            await producer.start()
            await self._claim(self.number)
            nonce = uuid.uuid4().hex
            owner = self._replica.takes_over(group=self._names.group, nonce=nonce)
            await self._write(producer, {OWNER: owner})
            found = await self._read(nonce)
            granted = await self._settle(producer, found)
            if (kept := limits.checkpoint_seconds) < math.inf:
                await self._rewrite(producer, found)
        except BaseException:
            self._on_discard(producer.discard())
            raise
        return Taken(producer, found.feeds, granted, kept * _RENEWED_SHARE)

    def _producer(self, limits: TopicLimits) -> ShardProducer:
        if self._settings.delivery == "exactly_once":
            return ShardProducer.of(
                self.number,
                settings=self._settings,
                connection=self._connection,
                names=self._names,
                limits=limits,
            )
        return AcknowledgedProducer(
            producer=self._connection.acknowledged_producer(batch_bytes=limits.batch_bytes),
            names=self._names,
            limits=limits,
            shard=self.number,
            timeout_seconds=self._settings.transaction_timeout_seconds,
            confirm=partial(self._confirm, self.number),
            paced=self._settings.request_bytes is not None,
        )

    async def last_owner(self) -> dict[str, Any]:
        """Return what the last take-over record says of who wrote it.

        Raises:
            TimeoutError: it could not be read in time.
            Exception: aiokafka's.
        """
        return (await self._read(None)).owner or {}

    async def _read(self, nonce: str | None) -> Readback:
        partition = TopicPartition(self._names.checkpoints, self.number)
        return await read_back(self._connection, partition, nonce=nonce, seconds=_RESTORE_SECONDS)

    async def _settle(self, producer: ShardProducer, found: Readback) -> float:
        """Write what is left of the grants and delete what removed tenants left; return our grant.

        It is written before anybody is served: a grant is never given twice. A tenant that was removed and
        is added again starts anew.
        """
        now = self._clock.unix()
        left, elapsed = (0.0 if found.feeds else FIRST_GRANTS), 0.0
        if found.grants is not None:
            left, elapsed = found.grants[0], now - found.grants[1]
        granted, left = grant(left, elapsed)
        records: dict[bytes, bytes | None] = {GRANTS: json.dumps([left, now]).encode()}
        for feed in [one for one in found.feeds if self._is_removed(one.partition("/")[0])]:
            records |= dict.fromkeys(found.feeds.pop(feed), None)
        if self._settings.delivery == "at_least_once":
            records[UNFENCED] = b"{}"
        elif found.unfenced:
            records |= _mended(found.feeds) | {UNFENCED: None}
        await self._write(producer, records)
        return granted

    async def _rewrite(self, producer: ShardProducer, found: Readback) -> None:
        """Write every checkpoint once more, where brokers forget by time what nobody writes again."""
        for records in found.feeds.values():
            await self._write(producer, dict(records))

    async def _write(self, producer: ShardProducer, records: dict[bytes, bytes | None]) -> None:
        await producer.transact([Batch(_NOBODY, 0, (), records)], now=self._clock.unix())


def _mended(feeds: dict[str, dict[bytes, bytes]]) -> dict[bytes, bytes | None]:
    """Return the records that make whole what may be pieces, and let `feeds` have them."""
    written: dict[bytes, bytes | None] = {}
    for name, pieces in feeds.items():
        tenant, _, feed = name.partition("/")
        # What cannot be read stays as it is, and parks its tenant.
        with contextlib.suppress(CheckpointUnreadable, ValueError):
            written |= (changes := mend(FeedKey(tenant, Feed(feed)), pieces))
            for key, value in changes.items():
                if value is None:
                    del pieces[key]
                else:
                    pieces[key] = value
    return written
