"""Which shards are ours: membership in Kafka's consumer group over the tenants topic.

Kafka places the shards, notices the dead and moves what must move; this only asks and obeys. On
revocation nothing is done: shards go on through a rebalance, and whoever is assigned one fences its
former owner. Where nothing fences, running commits are let end first, and none begins until the group is
stable again. A `claim` asks the coordinator itself, since a process that was frozen believes its old
assignment until its next heartbeat, and must not fence the rightful owner.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from ingest.errors import NotOwner
from ingest.pipeline.ports import Clock
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE
from ingest.telemetry.metrics import SinkMetrics

_POLL_MS = 1000
_RETRY_SECONDS = 1.0
_LEAVE_SECONDS = 3.0
_WATCH_SECONDS = 2.0
_ASK_SECONDS = 5.0
_FIRST_DOUBT_SECONDS, _LAST_DOUBT_SECONDS = 0.05, 1.0
_NEVER = float("-inf")
_STRANGE_OBSERVATIONS = 7
"""Times running that the coordinator must see us otherwise before the membership is replaced. Counted,
not timed: a process that wakes from a freeze has seen nothing meanwhile."""


class Membership:
    """One member of the group; entered, it joins, and it leaves first of all when it ends.

    Args:
        connection: makes clients.
        group: the group's id.
        topic: the topic whose partitions are the shards.
        instance: unique to this process; the coordinator knows the member by it.
        tell: called after `owned` changed.
        fresh_seconds: how long the coordinator's word holds for `confirm`: less than it takes to expel a
            member, by as much as a commit needs.
        settle: what has to end before a rebalance may go on, bounded; None where nothing has to.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        group: str,
        topic: str,
        instance: str,
        clock: Clock,
        rng: random.Random,
        metrics: SinkMetrics,
        log: structlog.stdlib.BoundLogger,
        tell: Callable[[], None],
        fresh_seconds: float,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.owned: frozenset[int] = frozenset()
        self._connection = connection
        self._group = group
        self._topic = topic
        self._client_id = f"defender-ingest-{instance}"
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log
        self._tell = tell
        self._fresh = fresh_seconds
        self._settle = settle
        self._confirmed_at = _NEVER
        self._stable = asyncio.Event()
        self._epoch = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._replace = asyncio.Event()
        self._coordinator = _Coordinator(connection, group, topic, self._client_id)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Join in the background: a group that rebalances can take its time."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._belong(), name="membership"),
            loop.create_task(self._watch(), name="watch over the membership"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the group, bounded, so that the others take over at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=_LEAVE_SECONDS)
        await self._coordinator.close()

    @property
    def trouble(self) -> str:
        """What keeps this replica from its first shards, in words; a later rebalance is no trouble."""
        return "" if self._epoch else f"not a member of the group {self._group} yet"

    async def claim(self, shard: int) -> None:
        """Return once the coordinator confirms that the shard is ours.

        Nothing can make InitProducerId itself ask; so it is asked before and after. A rebalance and a
        coordinator that does not answer are waited for.

        Raises:
            NotOwner: it is not ours.
        """
        doubt = _FIRST_DOUBT_SECONDS
        while True:
            await self._stable.wait()
            if shard not in self.owned:
                raise NotOwner(f"shard {shard} is another replica's")
            epoch, asked_at = self._epoch, self._clock.monotonic()
            placed = await self._coordinator.assignment()
            same = epoch == self._epoch and self._stable.is_set()
            if same and placed is not None and shard in placed:
                self._confirmed_at = asked_at
                return
            await self._clock.sleep(doubt * (0.5 + self._rng.random()))
            doubt = min(_LAST_DOUBT_SECONDS, doubt * 2)

    async def confirm(self, shard: int) -> None:
        """Return at once if the coordinator has confirmed our shards lately, else as `claim` does.

        Raises:
            NotOwner: it is not ours.
        """
        lately = self._clock.monotonic() - self._confirmed_at < self._fresh
        if not (lately and self._stable.is_set() and shard in self.owned):
            await self.claim(shard)

    async def revoked(self) -> None:
        """Take that a rebalance has begun; the shards go on, unless nothing fences them."""
        self._stable.clear()
        if self._settle is not None:
            await self._settle()

    def assigned(self, shards: frozenset[int]) -> None:
        """Take what the group has placed here."""
        gained, lost = shards - self.owned, self.owned - shards
        self.owned = shards
        self._epoch += 1
        self._confirmed_at = _NEVER
        self._stable.set()
        self._metrics.placed(len(shards))
        self._log.info("shards_placed", owned=len(shards), gained=len(gained), lost=len(lost))
        self._tell()

    async def _belong(self) -> None:
        """Be a member for ever; whatever a membership dies of, a new one takes its place."""
        said = ""
        while True:
            consumer = self._connection.member(self._group, self._client_id)
            self._consumer = consumer
            self._replace.clear()
            try:
                consumer.subscribe([self._topic], listener=_Listener(self, consumer))
                await _first(consumer.start(), self._replace.wait())
                await _first(self._poll(consumer), self._replace.wait())
                self._log.warning("membership_replaced", group=self._group)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            except TROUBLE as error:
                found = await self._connection.explain(error, "be a member of group", self._group)
                trouble = str(found)
                if trouble != said:
                    self._log.warning("membership_lost", error=trouble)
                    said = trouble
            except Exception:
                # A defect must not leave this replica outside the group for good.
                self._log.exception("membership_failed")
            finally:
                self._stable.clear()
                await close(consumer)
            await self._clock.sleep(_RETRY_SECONDS * (0.5 + self._rng.random()))

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """Ask for nothing, again and again: it brings the errors, and without it the member leaves."""
        while True:
            await consumer.getmany(timeout_ms=_POLL_MS)

    async def _watch(self) -> None:
        """Replace a membership that is silently dead: stable without us, several times running."""
        strange = 0
        while True:
            await self._clock.sleep(_WATCH_SECONDS)
            epoch, asked_at = self._epoch, self._clock.monotonic()
            placed = await self._coordinator.assignment()
            if placed is None or epoch != self._epoch:
                continue
            if self._stable.is_set() and placed == self.owned:
                strange, self._confirmed_at = 0, asked_at
            else:
                strange += 1
            if strange >= _STRANGE_OBSERVATIONS:
                strange = 0
                self._replace.set()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka's callbacks; they return soon, since no heartbeat is sent meanwhile."""

    def __init__(self, membership: Membership, consumer: AIOKafkaConsumer) -> None:
        self._membership = membership
        self._consumer = consumer

    async def on_partitions_revoked(self, _: set[TopicPartition]) -> None:
        await self._membership.revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if assigned:
            self._consumer.pause(*assigned)
            for place in assigned:
                # Nothing is ever read; without a position it asks the leaders for one, again and again.
                self._consumer.seek(place, 0)
        self._membership.assigned(frozenset(place.partition for place in assigned))


class _Coordinator:
    """The coordinator's view of the group, on a connection of its own; one question at a time.

    Whoever asks while a question is under way waits for the next one: its answer must be younger than
    the asking.
    """

    def __init__(self, connection: Connection, group: str, topic: str, client_id: str) -> None:
        self._connection = connection
        self._group = group
        self._topic = topic
        self._client_id = client_id
        self._admin: AIOKafkaAdminClient | None = None
        self._asking = asyncio.Lock()
        self._sent = 0
        self._answer: frozenset[int] | None = None

    async def assignment(self) -> frozenset[int] | None:
        """Return the shards that a stable group has placed on us; None says nothing about us."""
        sent = self._sent
        async with self._asking:
            # One that was sent after we came, for somebody else, answers us too.
            if self._sent == sent:
                self._sent += 1
                self._answer = await self._ask()
            return self._answer

    async def close(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await close(admin)

    async def _ask(self) -> frozenset[int] | None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                if self._admin is None:
                    self._admin = self._connection.admin()
                    await self._admin.start()
                answers = await self._admin.describe_consumer_groups([self._group])
        except TROUBLE:
            # A broker that hangs, or moved: a new connection finds another.
            await self.close()
            return None
        for answer in answers:
            for error_code, group, state, _type, _assignor, members, *_ in answer.groups:
                if (error_code, group, state) == (0, self._group, "Stable"):
                    return self._placed(members)
        return None

    def _placed(self, members: Iterable[tuple[str, str, str, bytes, bytes]]) -> frozenset[int]:
        placed: set[int] = set()
        for _member_id, client_id, _host, _metadata, assignment in members:
            if client_id == self._client_id and assignment:
                decoded = ConsumerProtocolMemberAssignment.decode(assignment)
                places = decoded.partitions()
                placed.update(at.partition for at in places if at.topic == self._topic)
        return frozenset(placed)


async def _first(work: Coroutine[Any, Any, None], stop: Coroutine[Any, Any, object]) -> None:
    """Wait for one of the two and cancel the other; raise what the work raised.

    aiokafka's start and its polling can take longer than they were allowed: neither holds up a stop.
    """
    loop = asyncio.get_running_loop()
    working, stopping = loop.create_task(work), loop.create_task(stop)
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not working.cancelled():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping}, timeout=_LEAVE_SECONDS)
        if working.done() and not working.cancelled():
            # Whatever it was, it was told above or comes too late.
            working.exception()
