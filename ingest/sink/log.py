"""The commit log on Kafka: the shards that the group has placed here, behind the pipeline's ports."""

import asyncio
import math
import os
import random
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import structlog

from ingest.errors import SinkForbidden, SinkUnavailable
from ingest.model.roster import Registration, Standing
from ingest.model.tenant import FeedKey, is_guid, shard_of
from ingest.pipeline.ports import Batch, Clock, Restored, Topic
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.delivery import Transactions, needed, transactions
from ingest.sink.echoes import hush
from ingest.sink.membership import Membership
from ingest.sink.refusals import TROUBLE
from ingest.sink.restore import refuse_a_strangers
from ingest.sink.roster import Roster
from ingest.sink.shard import Shard
from ingest.sink.takeover import Replica, TakeOver
from ingest.sink.topics import TopicLimits, Topics
from ingest.telemetry.metrics import SinkMetrics

_RETRY_SECONDS = 2.0
LIMITS_SECONDS = 10.0
"""For so long a replica goes by what it was told of the topics."""


class KafkaCommitLog:
    """Implements `CommitLog` and `Placement`: shards come and go as the group places them.

    Opening it waits until the brokers answer, the topics fit and the tenants are known. Enter `membership`
    after it, and last of all, so that leaving the group comes first at the end. An error that asks to
    stop the process reaches every tenant of the shard.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        client_id: str,
        metrics: SinkMetrics,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._rng = rng
        self._connection = Connection(
            settings=settings, client_id=f"defender-ingest-{socket.gethostname()}-{os.getpid()}"
        )
        self._topics = Topics(settings=settings, connection=self._connection, log=log)
        self._replica = Replica.here(client_id)
        self.membership = Membership(
            connection=self._connection,
            group=self._topics.names.group,
            topic=self._topics.names.tenants,
            instance=self._replica.instance,
            clock=clock,
            rng=rng,
            metrics=metrics,
            log=log,
            tell=self._place,
            fresh_seconds=settings.session_timeout_seconds / 2,
            settle=None if settings.delivery == "exactly_once" else self._settle,
        )
        self.roster = Roster(
            connection=self._connection,
            topic=self._topics.names.tenants,
            shards=settings.shards,
            clock=clock,
            rng=rng,
            log=log,
            tell=self._tell,
        )
        self._route = settings.routing
        self._limits: TopicLimits | None = None
        self._limits_at = 0.0
        self._asking = asyncio.Lock()
        self._shards: dict[int, Shard] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ending: dict[int, asyncio.Task[None]] = {}
        self._discarding: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self.transactions: Transactions | None = None

    @property
    def name(self) -> str:
        """What this replica is called in records, for people."""
        return self._replica.name

    async def __aenter__(self) -> Self:
        """Wait for the brokers, make and check the topics, refuse another installation's.

        Raises:
            TopicMismatch: a topic does not fit, or is another installation's.
        """
        hush(asyncio.get_running_loop())
        said = ""
        while self._limits is None:
            try:
                self._limits = await self._topics.ensure()
                await self._refuse_a_strangers()
                await self._try_transactions()
            except (SinkUnavailable, SinkForbidden, *TROUBLE) as error:
                self._limits = None
                topic = self._topics.names.checkpoints
                trouble = str(await self._connection.explain(error, "read", topic))
                if trouble != said:
                    self._log.error("kafka_unavailable", error=trouble)
                    said = trouble
                await self._clock.sleep(_RETRY_SECONDS)
        self._limits_at = self._clock.monotonic()
        self._log.info("delivery", **self.delivery)
        await self.roster.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let running transactions end, then end the shards and their producers."""
        self._closed = True
        try:
            for number in list(self._running):
                self._release(number)
            await asyncio.gather(*self._ending.values())
        finally:
            await self.roster.__aexit__(None, None, None)
            while self._discarding:
                await asyncio.wait(self._discarding)

    @property
    def delivery(self) -> dict[str, str]:
        """What is promised, and what the brokers can do, in the words of the settings."""
        kept = math.inf if self._limits is None else self._limits.checkpoint_seconds
        return {
            "delivery": self._settings.delivery,
            "transactions": self.transactions or "unknown",
            "checkpoints": "compacted" if kept == math.inf else f"kept for {kept:.0f} s",
        }

    async def _try_transactions(self) -> None:
        """Find out whether the brokers have transactions for us; only `exactly_once` insists."""
        names, seconds = self._topics.names, self._settings.transaction_timeout_seconds
        found = await transactions(self._connection, names, seconds=seconds)
        self.transactions = found
        if self._settings.delivery == "exactly_once":
            needed(found, names, principal=self._connection.principal)

    async def restore(self, feed: FeedKey) -> Restored:
        """See `CommitLog.restore`."""
        return await self._shard(shard_of(feed.tenant, self._settings.shards)).restore(feed)

    async def commit(self, batch: Batch) -> None:
        """See `CommitLog.commit`."""
        await self._shard(shard_of(batch.feed.tenant, self._settings.shards)).commit(batch)

    def report(self, tenant: str, status: bytes | None, *, soon: bool) -> None:
        """See `CommitLog.report`."""
        number = shard_of(tenant, self._settings.shards)
        if number in self._running:
            self._shards[number].report(tenant.encode(), status, soon=soon)

    def max_record_bytes(self, topic: Topic) -> int:
        """See `CommitLog.max_record_bytes`."""
        if self._limits is None:
            raise SinkUnavailable("the topics are not known yet")
        limits = self._limits
        return limits.alert_bytes if topic is Topic.ALERTS else limits.quarantine_bytes

    async def changed(self) -> None:
        """See `Placement.changed`."""
        await self._changed.wait()
        self._changed.clear()

    def registered(self) -> Mapping[str, Registration]:
        """See `Placement.registered`."""
        registered = self.roster.of(self.membership.owned)
        if self._route.is_fixed:
            return registered
        return {tenant: one for tenant, one in registered.items() if self._refusal(one) is None}

    def unreadable(self) -> Mapping[str, str]:
        """See `Placement.unreadable`."""
        owned = self.membership.owned
        unreadable = {
            tenant: why
            for tenant, why in self.roster.unreadable().items()
            if is_guid(tenant) and shard_of(tenant, self._settings.shards) in owned
        }
        if not self._route.is_fixed:
            for tenant, one in self.roster.of(owned).items():
                if (why := self._refusal(one)) is not None:
                    unreadable[tenant] = why
        return unreadable

    def not_ready(self) -> list[str]:
        """Return, in words, what keeps this replica from doing its part; to own no shard is well."""
        if self.membership.trouble:
            return [self.membership.trouble]
        return [
            f"shard {number}: {self._shards[number].trouble}"
            for number in self._running
            if self._shards[number].trouble
        ]

    def _tell(self) -> None:
        self._changed.set()

    def _place(self) -> None:
        """Start and end shards as the group has placed them."""
        if self._closed:
            return
        owned = self.membership.owned
        for number in self._running.keys() - owned:
            self._release(number)
        for number in owned - self._running.keys():
            self._start(number)
        self._changed.set()

    async def _settle(self) -> None:
        """Let running commits end, bounded: nothing fences them once their shard is another replica's."""
        end = self._clock.monotonic() + self._settings.session_timeout_seconds / 4
        while self._clock.monotonic() < end and any(
            self._shards[number].is_busy for number in self._running
        ):
            await self._clock.sleep(0.02)

    def _shard(self, number: int) -> Shard:
        """Return a shard's object; it outlives its being placed here, and serves only then."""
        shard = self._shards.get(number)
        if shard is None:
            names = self._topics.names
            taking_over = TakeOver(
                number=number,
                settings=self._settings,
                connection=self._connection,
                names=names,
                claim=self.membership.claim,
                confirm=self.membership.confirm,
                is_removed=self._is_removed,
                limits=self._fresh_limits,
                replica=self._replica,
                clock=self._clock,
                on_discard=self._keep_until_done,
            )
            shard = self._shards[number] = Shard(
                taking_over=taking_over,
                settings=self._settings,
                connection=self._connection,
                names=names,
                clock=self._clock,
                rng=self._rng,
                metrics=self._metrics,
                log=self._log,
                on_discard=self._keep_until_done,
            )
        return shard

    def _start(self, number: int) -> None:
        guard = self._guard(self._shard(number), self._ending.get(number))
        task = asyncio.get_running_loop().create_task(guard, name=f"shard {number}")
        self._running[number] = task
        task.add_done_callback(lambda ended: self._ended(number, ended))

    def _release(self, number: int) -> None:
        task = self._running.pop(number)
        ending = asyncio.get_running_loop().create_task(
            self._end(self._shards[number], task), name=f"end of shard {number}"
        )
        self._ending[number] = ending
        ending.add_done_callback(lambda _: self._forget_ending(number, ending))

    def _forget_ending(self, number: int, ending: asyncio.Task[None]) -> None:
        if self._ending.get(number) is ending:
            del self._ending[number]

    async def _end(self, shard: Shard, task: asyncio.Task[None]) -> None:
        await shard.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        """Start a shard again that ended though it is placed here; its claim says whether it may."""
        if self._running.get(number) is task and not task.cancelled():
            del self._running[number]
            if not self._shards[number].is_given_up:
                self._place()

    async def _guard(self, shard: Shard, former: asyncio.Task[None] | None) -> None:
        """Run a shard, again if Kafka's client raised a cancellation that nobody asked for."""
        if former is not None:
            await asyncio.wait({former})
        while True:
            try:
                await shard.run()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._log.warning("shard_ended_unbidden", shard=shard.number)
            except Exception:
                # A defect of ours must not leave a shard dark for good.
                self._log.exception("shard_failed", shard=shard.number)
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return

    def _refusal(self, one: Registration) -> str | None:
        """Return why a tenant's alerts have nowhere to go: it keeps its checkpoint, and waits."""
        return self._route.refusal(one.tenant) if one.is_read else None

    def _is_removed(self, tenant: str) -> bool:
        registration = self.roster.get(tenant)
        return registration is not None and registration.standing is Standing.REMOVED

    def _keep_until_done(self, task: asyncio.Task[None]) -> None:
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def _fresh_limits(self) -> TopicLimits:
        """Return the topics' limits, asked for again when they are old; one question at a time."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._limits is None or now - self._limits_at > LIMITS_SECONDS:
                self._limits = await self._topics.limits()
                self._limits_at = now
            return self._limits

    async def _refuse_a_strangers(self) -> None:
        """Refuse topics that another application's installation has taken (by its own record)."""
        await refuse_a_strangers(
            self._connection, self._topics.names.checkpoints, self._replica.installation
        )
