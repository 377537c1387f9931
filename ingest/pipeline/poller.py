"""One feed of one tenant: ask, decide, commit, advance; and nothing is remembered before the commit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import structlog

from ingest.errors import (
    AnswerTooLarge,
    QueryRefused,
    RecordsRejected,
    Rewound,
    SourceUnavailable,
)
from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState, Step
from ingest.model.instant import from_unix, to_unix
from ingest.model.memory import Judgement
from ingest.model.roster import Order
from ingest.model.sweep import Answer, Ask, Box, Sweep, Yardstick
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach, Tier
from ingest.pipeline.held import HeldFeed
from ingest.pipeline.orders import Orders
from ingest.pipeline.ports import Clock, CommitLog, Encoder, Page, Record, Source, Topic
from ingest.pipeline.retry import passing_trouble
from ingest.pipeline.silence import Found, Glance
from ingest.telemetry.metrics import PipelineMetrics

_BATCH_RECORDS = 2_000
"""Records decided and committed at once: bounds what one tenant holds of the loop (law 4)."""

_RAW = attrgetter("raw")

_SPLIT_AFTER_FAILURES = 3
"""Readings that failed in a row before a query that fails is cut into smaller ones."""


@dataclass(slots=True)
class Cycle:
    """What one reading did: the canonical log line and the metrics are made of it."""

    tier: Tier
    received: int = 0
    published: int = 0
    duplicates: int = 0
    stale: int = 0
    quarantined: int = 0
    late: int = 0
    calls: int = 0
    doubts: int = 0
    whole: bool = False
    started: float = field(default=0.0, repr=False)


class Poller:
    """Reads one feed; a `FeedState` changes only after Kafka has what it says."""

    def __init__(
        self,
        *,
        tenant: Tenant,
        feed: FeedKey,
        reach: Reach,
        page_size: int,
        batch_bytes: int,
        source: Source,
        log: CommitLog,
        encoder: Encoder,
        clock: Clock,
        metrics: PipelineMetrics,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._reach = reach
        self._page_size = page_size
        self._batch_bytes = batch_bytes
        self._source = source
        self._log = log
        self._encoder = encoder
        self._clock = clock
        self._metrics = metrics
        self._events = events
        self._held = HeldFeed(
            tenant=tenant, feed=feed, reach=reach, source=source, log=log, clock=clock
        )
        self._orders = Orders(held=self._held, feed=feed, reach=reach, source=source, events=events)
        self._rejected: dict[int, str] = {}
        self._yardstick = Yardstick()
        self._failed_in_a_row = dict.fromkeys(Tier, 0)

    @property
    def watermark(self) -> float | None:
        """The fast watermark in Unix seconds, None before the first restore."""
        return None if self._held.state is None else to_unix(self._held.state.fast)

    @property
    def reconciled_to(self) -> float | None:
        """The slow watermark in Unix seconds, None before the first restore."""
        return None if self._held.state is None else to_unix(self._held.state.slow)

    @property
    def remembered(self) -> int:
        """How many alerts are remembered."""
        return 0 if self._held.state is None else self._held.state.remembered

    def retarget(self, tenant: Tenant, encoder: Encoder) -> None:
        """Go on under another name, or in another region, from the next reading on."""
        self._held.tenant = tenant
        self._encoder = encoder

    async def forget(self) -> None:
        """Delete the feed's checkpoint, since its tenant was removed; nothing may be read any more.

        Raises:
            Rewound: it may be there still; whoever takes the shard over next deletes it.
        """
        await self._held.forget()

    async def prepare(self, due: float) -> None:
        """Have at hand what a reading that is due at this Unix time needs; see `Source.prepare`."""
        await self._source.prepare(self._held.tenant, due=due)

    async def obey(self, order: Order) -> None:
        """Do what an operator asks for; see `Orders.obey`."""
        await self._orders.obey(order, self._encoder)

    @property
    def calls_left(self) -> int | None:
        """How many calls could be made at once, None before the first."""
        return self._source.calls_left(self._held.tenant)

    async def glance(self) -> Glance:
        """Ask for any alert at all, by no time; to be called after a reconciling reading went to the end.

        Raises:
            SourceError: the tenant's cloud did not answer.
        """
        ask = Ask(Box(0), top=1, unfiltered=True)
        async with self._source.fetch(self._held.tenant, ask) as page:
            if not page.records:
                return Glance(Found.NOTHING)
            alert = page.records[0]
            if not isinstance(alert, Alert):
                return Glance(Found.KNOWN)
            state = self._current
            known = state.ledger.entry(alert.id)
            # What changed after the reading is for the next one.
            read = max(state.horizon, state.window(Tier.SLOW, self._reach)) <= alert.updated
            read = read and alert.updated < state.fast
            missed = read and (known is None or known.updated < alert.updated)
            found = Found.MISSED if missed else Found.KNOWN
            return Glance(found, to_unix(alert.updated))

    async def sweep(self, tier: Tier, cycle: Cycle) -> None:
        """Read the tier's window once, whole, committing page by page; `cycle` counts along.

        Raises:
            SourceError: the tenant's cloud did not answer; what was committed stays committed.
            CheckpointUnreadable: the tenant's checkpoint needs a person.
        """
        if self._held.state is None:
            await self._held.restore()
        try:
            await self._sweep(tier, cycle)
        except SourceUnavailable:
            self._failed_in_a_row[tier] += 1
            raise
        finally:
            # What Kafka refused is remembered by the checkpoint from here on.
            self._rejected.clear()
        self._failed_in_a_row[tier] = 0

    async def _sweep(self, tier: Tier, cycle: Cycle) -> None:
        sweep = Sweep(
            start=self._current.window(tier, self._reach),
            now=from_unix(self._clock.unix()),
            top=self._page_size,
            slow=tier is Tier.SLOW,
            yardstick=self._yardstick,
        )
        while (ask := sweep.next()) is not None:
            cycle.calls += 1
            try:
                await self._ask(ask, sweep, cycle)
            except QueryRefused:
                if not sweep.refused():
                    raise
            except AnswerTooLarge:
                sweep.too_large()
            except SourceUnavailable:
                # One query that always fails must not hold the feed back for ever: it is cut until
                # only the part that fails is left, and that is passed in doubt.
                if self._failed_in_a_row[tier] < _SPLIT_AFTER_FAILURES:
                    raise
                if not (ask.skip or ask.link):
                    sweep.too_large()
                elif await self._answers_at_all():
                    sweep.hopeless()
                else:
                    raise
        cycle.doubts = sweep.doubts
        self._yardstick = sweep.yardstick
        await self._conclude(sweep, tier)
        cycle.whole = not sweep.cut_short

    async def _ask(self, ask: Ask, sweep: Sweep, cycle: Cycle) -> None:
        """Put one question, and work off its page; nothing of a page outlives this call."""
        async for attempt in passing_trouble(self._clock):
            with attempt:
                async with self._source.fetch(self._held.tenant, ask) as page:
                    await self._offer(page, sweep, cycle)
                    sweep.answered(_answer(page))

    async def _answers_at_all(self) -> bool:
        """Tell a query that fails from an API that does: ask for next to nothing."""
        try:
            await self._held.server_time()
        except SourceUnavailable:
            return False
        return True

    async def _offer(self, page: Page, sweep: Sweep, cycle: Cycle) -> None:
        """Decide and commit every record of a page, oldest change first."""
        for records in self._slices(page.records):
            self._set_aside_the_too_large(records)
            while True:
                judgement = self._current.judge(
                    records,
                    now=page.server_time,
                    canonical=self._source.canonical,
                    rejected=self._rejected,
                    reach=self._reach,
                )
                if not judgement.changes:
                    break
                fast = sweep.watermark if cycle.tier is Tier.FAST else None
                slow = sweep.watermark if cycle.tier is Tier.SLOW else None
                step = self._current.advance(
                    judgement, fast=fast, slow=slow, reach=self._reach, now=page.server_time
                )
                if await self._commit(judgement, step, page.server_time):
                    break
            self._count(judgement, cycle)

    def _slices(
        self, records: Sequence[Alert | Malformed]
    ) -> Iterator[Sequence[Alert | Malformed]]:
        if len(records) <= _BATCH_RECORDS and _bytes_of(records) <= self._batch_bytes:
            if records:
                # Whoever decides on it puts it in order.
                yield records
            return
        ordered = sorted(records, key=lambda record: record.updated or 0)
        start = size = 0
        for at, record in enumerate(ordered):
            size += len(record.raw)
            if at > start and (size > self._batch_bytes or at - start >= _BATCH_RECORDS):
                yield ordered[start:at]
                start, size = at, len(record.raw)
        if start < len(ordered):
            yield ordered[start:]

    def _set_aside_the_too_large(self, records: Sequence[Alert | Malformed]) -> None:
        room = self._log.max_record_bytes(Topic.ALERTS) - self._encoder.overhead
        if max(map(len, map(_RAW, records))) <= room:
            return
        for record in records:
            if len(record.raw) > room:
                self._rejected[record.digest] = "too_large"

    async def _commit(self, judgement: Judgement, step: Step, server_time: int) -> bool:
        """Commit what was decided; False says that it has to be decided anew."""
        encode, obeyed = self._encoder.alert, self._held.obeyed
        records: list[Record] = [
            encode(verdict, obeyed.replays(verdict) if obeyed else None)
            for verdict in judgement.published
        ]
        digests = [verdict.alert.digest for verdict in judgement.published]
        for item in judgement.quarantined:
            parts = self._encoder.quarantine(
                item.record,
                item.reason,
                max_record_bytes=self._log.max_record_bytes(Topic.QUARANTINE),
            )
            records += parts
            digests += [item.record.digest] * len(parts)
        try:
            await self._held.write(records, step.records)
        except Rewound:
            await self._held.restore(server_time)
            return False
        except RecordsRejected as refusal:
            for position in refusal.positions:
                self._rejected[digests[position]] = refusal.reason
            self._events.warning(
                "records_rejected", reason=refusal.reason, records=len(refusal.positions)
            )
            await self._held.restore(server_time)
            return False
        self._current.apply(step)
        return True

    async def _conclude(self, sweep: Sweep, tier: Tier) -> None:
        """Write the watermark of a whole reading, unless so little changed that it can wait.

        A watermark in Kafka that is older than the one reached only means that a restart reads a
        little more than it must; memory reaches that far.
        """
        while True:
            state = self._current
            reached = sweep.watermark
            if tier is Tier.FAST and reached - state.fast < self._reach.overlap // 2:
                return
            step = state.advance(
                None,
                fast=reached if tier is Tier.FAST else None,
                slow=reached if tier is Tier.SLOW else None,
                reach=self._reach,
                now=sweep.now,
            )
            if not step.records:
                return
            try:
                await self._held.write((), step.records)
            except Rewound:
                await self._held.restore(sweep.now)
                continue
            state.apply(step)
            return

    @property
    def _current(self) -> FeedState:
        return self._held.current

    def _count(self, judgement: Judgement, cycle: Cycle) -> None:
        cycle.received += judgement.received
        cycle.published += len(judgement.published)
        cycle.duplicates += judgement.duplicates
        cycle.stale += judgement.stale
        cycle.quarantined += len(judgement.quarantined)
        cycle.late += judgement.late
        self._metrics.judged(judgement)


def _bytes_of(records: Sequence[Alert | Malformed]) -> int:
    return sum(map(len, map(_RAW, records)))


def _answer(page: Page) -> Answer:
    return Answer(
        records=[(record.updated, record.created, record.digest) for record in page.records],
        next_link=page.next_link,
        linked=page.linked,
        server_time=page.server_time,
    )
