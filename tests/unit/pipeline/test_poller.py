"""The poller alone, in virtual time: a vendor that answers, and a log that fails as it is told."""

import gc
import random
import weakref
from dataclasses import fields, replace

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import (
    AnswerTooLarge,
    CheckpointUnreadable,
    QueryRefused,
    RecordsRejected,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.model.instant import TICKS, from_unix, to_unix
from ingest.model.roster import Order, OrderKind
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach, Tier
from ingest.pipeline.poller import Cycle, Poller
from ingest.pipeline.ports import Page, Topic
from ingest.pipeline.silence import Found, Glance
from ingest.telemetry.metrics import PipelineMetrics
from tests.fakes.clock import LoopClock
from tests.fakes.commit_log import MemoryCommitLog
from tests.fakes.vendor import Quirks, Vendor, VendorSource, Version, content_of

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
FEED = FeedKey(TENANT.id)
NOW = from_unix(1_700_000_000.0)
MINUTE = 60 * TICKS
REACH = Reach(overlap=5 * MINUTE, look_back=60 * MINUTE, first=120 * MINUTE)


def alerts(count, *, before=30 * MINUTE, gap=TICKS):
    times = [NOW - before + n * gap for n in range(count)]
    return [Version(f"a{n}", 0, time, time, 0) for n, time in enumerate(times)]


class Stand:
    """A poller and its world; `restart` is a new process on the same Kafka."""

    def __init__(self, versions=(), quirks=None, *, log=None, largest=None, batch_bytes=1_000_000):
        self.clock = LoopClock()
        self.vendor = Vendor(versions, quirks or Quirks(), now=NOW, rng=random.Random(1))
        self.source = VendorSource(self.vendor, pace=self._pace, largest=largest)
        self.log = log or MemoryCommitLog()
        self._batch_bytes = batch_bytes
        self.restart()

    def restart(self):
        self.poller = Poller(
            tenant=TENANT,
            feed=FEED,
            reach=REACH,
            page_size=40,
            batch_bytes=self._batch_bytes,
            source=self.source,
            log=self.log,
            encoder=CloudEvents(tenant=TENANT, feed=FEED),
            clock=self.clock,
            metrics=PipelineMetrics(CollectorRegistry()),
            events=structlog.get_logger(),
        )

    def _pace(self):
        self.vendor.now = from_unix(self.clock.unix())

    async def sweep(self, tier=Tier.FAST):
        cycle = Cycle(tier)
        await self.poller.sweep(tier, cycle)
        return cycle

    async def fails(self, error, tier=Tier.FAST):
        with pytest.raises(error):
            await self.sweep(tier)

    @property
    def published(self):
        return self._values(Topic.ALERTS)

    @property
    def quarantined(self):
        return self._values(Topic.QUARANTINE)

    def _values(self, topic):
        return [content_of(r.value) for r in self.log.published if r.topic is topic]


async def test_what_was_published_is_not_published_by_the_next_sweep_or_process():
    stand = Stand(alerts(30))
    assert (await stand.sweep()).published == 30
    again = await stand.sweep()
    stand.restart()
    after = await stand.sweep()
    assert again.published == after.published == 0
    assert len(stand.published) == 30


async def test_a_sweep_that_found_nothing_new_commits_no_alert_and_counts_duplicates():
    stand = Stand(alerts(3, before=MINUTE))
    await stand.sweep()
    cycle = await stand.sweep()
    assert (cycle.received, cycle.duplicates, cycle.whole) == (3, 3, True)


@pytest.mark.parametrize("failures", [["before"], ["after"], ["before", "after", "before"]])
async def test_a_rewound_shard_is_restored_and_what_it_lacks_is_decided_anew(failures):
    stand = Stand(alerts(30))
    stand.log.failures.extend(failures)
    cycle = await stand.sweep()
    assert sorted(stand.published) == sorted((f"a{n}", 0) for n in range(30))
    assert cycle.received == cycle.published + cycle.duplicates


async def test_a_rewind_in_the_middle_of_a_window_neither_loses_nor_doubles():
    stand = Stand(alerts(120), Quirks(cap=25), batch_bytes=300)
    stand.log.failures.extend(["", "", "before", "", "after", ""])
    await stand.sweep()
    assert sorted(stand.published) == sorted((f"a{n}", 0) for n in range(120))


async def test_a_rewind_asks_no_second_question_while_a_page_is_held():
    # A page holds room in memory that others may need to give theirs back.
    stand = Stand(alerts(3))
    stand.log.failures.append("before")
    await stand.sweep()
    assert stand.source.overlapping == 0


async def test_a_rewind_of_a_watermark_alone_is_tried_again():
    stand = Stand()
    await stand.sweep()
    before = stand.poller.reconciled_to
    await stand.clock.sleep(600)
    stand.log.failures.append("before")
    await stand.sweep(Tier.SLOW)
    assert stand.poller.reconciled_to >= before + 600
    stand.restart()
    await stand.sweep()
    assert stand.poller.reconciled_to >= before + 600


async def test_a_record_that_kafka_refuses_is_quarantined_and_the_rest_is_published():
    stand = Stand(alerts(5))
    stand.log.failures.append("reject")
    cycle = await stand.sweep()
    assert stand.quarantined == [("a0", 0)]
    assert stand.published == [(f"a{n}", 0) for n in range(1, 5)]
    assert (cycle.received, cycle.published, cycle.quarantined) == (5, 4, 1)


class Refusing(MemoryCommitLog):
    """Refuses the same records each time, as a broker would."""

    def __init__(self, *refused):
        super().__init__()
        self.refused = set(refused)

    async def commit(self, batch):
        positions = tuple(
            at
            for at, record in enumerate(batch.records)
            if record.topic is Topic.ALERTS and content_of(record.value)[0] in self.refused
        )
        if positions:
            raise RecordsRejected("no", positions=positions, reason="invalid_record")
        await super().commit(batch)


async def test_records_that_kafka_always_refuses_are_quarantined_once_and_for_all():
    stand = Stand(alerts(5, before=MINUTE), log=Refusing("a1", "a3"))
    await stand.sweep()
    await stand.sweep()
    stand.restart()
    await stand.sweep(Tier.SLOW)
    assert stand.quarantined == [("a1", 0), ("a3", 0)]
    assert stand.published == [("a0", 0), ("a2", 0), ("a4", 0)]
    reasons = {dict(r.headers).get("ce_reason") for r in stand.log.published}
    assert reasons == {None, b"invalid_record"}


async def test_a_record_that_is_too_large_is_quarantined_whole_and_never_offered():
    encoder = CloudEvents(tenant=TENANT, feed=FEED)
    log = MemoryCommitLog(max_record_bytes=encoder.overhead + 32)
    long = "x" * 40
    stand = Stand([*alerts(2), Version(long, 0, NOW - MINUTE, NOW - MINUTE, 0)], log=log)
    cycle = await stand.sweep()
    again = await stand.sweep()
    assert stand.quarantined == [(long, 0)]
    assert stand.published == [("a0", 0), ("a1", 0)]
    assert (cycle.quarantined, again.quarantined) == (1, 0)
    record = next(r for r in log.published if r.topic is Topic.QUARANTINE)
    assert dict(record.headers)["ce_reason"] == b"too_large"


async def test_a_record_that_cannot_be_understood_is_quarantined_once():
    broken = [replace(version, broken=True) for version in alerts(2, before=MINUTE)]
    stand = Stand(broken)
    assert (await stand.sweep()).quarantined == 2
    assert (await stand.sweep()).quarantined == 0
    assert stand.quarantined == [("a0", 0), ("a1", 0)]


async def test_an_api_that_fails_keeps_what_was_committed_before():
    stand = Stand(alerts(120), Quirks(cap=25))

    def after_a_while(ask):
        if len(stand.source.asks) > 6:
            raise SourceUnavailable("gone", reason="http_503")

    stand.source.trouble = after_a_while
    await stand.fails(SourceUnavailable)
    some = list(stand.published)
    assert 0 < len(some) < 120
    stand.source.trouble = lambda _: None
    await stand.sweep()
    assert stand.published[: len(some)] == some
    assert sorted(stand.published) == sorted((f"a{n}", 0) for n in range(120))


async def test_trouble_that_passes_is_not_noticed():
    stand = Stand(alerts(3))
    troubles = [SourceUnavailable("busy", reason="http_503")] * 3

    def passing(ask):
        if troubles:
            raise troubles.pop()

    stand.source.trouble = passing
    assert (await stand.sweep()).published == 3


@pytest.mark.parametrize(
    "error",
    [
        Throttled("slow down", retry_after=60.0),
        TenantRejected("no", reason="forbidden", blame=None),
    ],
)
async def test_a_refusal_is_not_tried_again(error):
    stand = Stand()
    await stand.sweep()
    stand.source.asks.clear()

    def refuse(ask):
        raise error

    stand.source.trouble = refuse
    await stand.fails(type(error))
    assert len(stand.source.asks) == 1


async def test_a_first_question_that_is_refused_fails_the_sweep():
    stand = Stand()
    await stand.sweep()

    def refuse(ask):
        raise QueryRefused("bad", reason="http_400")

    stand.source.trouble = refuse
    await stand.fails(QueryRefused)


def poisoned(stand, id_):
    """Return trouble for every question whose answer would hold this alert."""

    def trouble(ask):
        page = stand.vendor.answer(ask)
        if any(content_of(record.raw)[0] == id_ for record in page.records):
            raise SourceUnavailable("never", reason="timeout")

    return trouble


def poisoned_at(time):
    """Return trouble for every question about a stretch of time."""

    def trouble(ask):
        upper = ask.box.updated_to
        if ask.box.updated_from <= time and (upper is None or time < upper):
            raise SourceUnavailable("never", reason="timeout")

    return trouble


@pytest.mark.parametrize("tier", list(Tier))
async def test_a_query_that_always_fails_is_split_after_three_failures_and_the_rest_is_read(tier):
    stand = Stand(alerts(30, before=4 * MINUTE))
    stand.source.trouble = poisoned(stand, "a7")
    for _ in range(3):
        await stand.fails(SourceUnavailable, tier)
        assert stand.published == []
    cycle = await stand.sweep(tier)
    assert cycle.doubts >= 1
    assert {id_ for id_, _ in stand.published} == {f"a{n}" for n in range(30) if n != 7}


async def test_a_stretch_of_time_that_always_fails_does_not_hold_the_feed_back_for_ever():
    stand = Stand(alerts(30, before=4 * MINUTE))
    stand.source.trouble = poisoned_at(NOW - 4 * MINUTE + 7 * TICKS)
    for _ in range(3):
        await stand.fails(SourceUnavailable)
    cycle = await stand.sweep()
    assert cycle.doubts >= 1
    assert ("a29", 0) in stand.published


async def test_an_api_that_never_answers_is_not_asked_for_ever_smaller_pieces():
    stand = Stand(alerts(30))
    await stand.sweep()

    def gone(ask):
        raise SourceUnavailable("gone", reason="network")

    stand.source.trouble = gone
    for _ in range(6):
        stand.source.asks.clear()
        await stand.fails(SourceUnavailable)
        assert len(stand.source.asks) <= 200


async def test_a_reconciling_query_that_always_fails_is_split_although_fast_sweeps_succeed():
    # Fast sweeps look back less far: they never meet what fails, and must not hide it.
    stand = Stand(alerts(30, before=50 * MINUTE))
    await stand.sweep()
    stand.source.trouble = poisoned(stand, "a7")
    for _ in range(3):
        await stand.sweep(Tier.FAST)
        await stand.fails(SourceUnavailable, Tier.SLOW)
    await stand.sweep(Tier.FAST)
    cycle = await stand.sweep(Tier.SLOW)
    assert cycle.doubts >= 1


async def test_answers_that_are_too_large_are_asked_for_in_smaller_pieces():
    stand = Stand(alerts(30, before=60 * MINUTE, gap=MINUTE), largest=7)
    cycle = await stand.sweep()
    assert cycle.doubts == 0
    assert len(stand.published) == 30


async def test_a_large_page_is_committed_in_pieces_oldest_first():
    stand = Stand(alerts(30), Quirks(order="random"), batch_bytes=200)
    await stand.sweep()
    assert stand.published == [(f"a{n}", 0) for n in range(30)]
    assert stand.log.commits > 5


async def test_a_page_of_thousands_is_committed_in_pieces():
    stand = Stand(alerts(4_001, gap=1))
    stand.poller._page_size = 10_000
    await stand.sweep()
    assert len(stand.published) == 4_001
    assert stand.log.commits >= 3


async def test_a_checkpoint_that_cannot_be_read_is_left_as_it_is():
    stand = Stand(alerts(3))
    await stand.sweep()
    stand.log.checkpoints[str(FEED).encode()] = b"damaged"
    before = dict(stand.log.checkpoints)
    stand.restart()
    await stand.fails(CheckpointUnreadable)
    await stand.fails(CheckpointUnreadable)
    assert stand.log.checkpoints == before
    assert len(stand.published) == 3


async def test_a_first_sweep_starts_by_the_apis_own_clock():
    stand = Stand(quirks=Quirks(skew=-30 * MINUTE))
    await stand.sweep()
    windows = [ask.box.updated_from for ask in stand.source.asks[1:]]
    assert windows[0] == NOW - 30 * MINUTE - REACH.first
    assert stand.poller.watermark == (NOW - 30 * MINUTE) / TICKS


async def test_a_quiet_feed_commits_its_watermark_rarely_and_its_reconciliation_always():
    stand = Stand()
    await stand.sweep()
    commits = stand.log.commits
    await stand.clock.sleep(30)
    await stand.sweep()
    assert stand.log.commits == commits
    await stand.sweep(Tier.SLOW)
    assert stand.log.commits == commits + 1
    await stand.clock.sleep(600)
    await stand.sweep()
    assert stand.log.commits == commits + 2


async def test_nothing_is_known_of_a_feed_before_it_was_restored():
    stand = Stand(alerts(3))
    assert (stand.poller.watermark, stand.poller.reconciled_to) == (None, None)
    assert stand.poller.remembered == 0
    await stand.sweep()
    assert stand.poller.remembered == 3


async def test_an_alert_that_appears_late_is_found_by_the_reconciling_sweep_and_counted():
    late = Version("late", 0, NOW - 40 * MINUTE, NOW - 40 * MINUTE, NOW + 1)
    stand = Stand([late])
    await stand.sweep()
    await stand.clock.sleep(60)
    assert (await stand.sweep()).published == 0
    cycle = await stand.sweep(Tier.SLOW)
    assert (cycle.published, cycle.late) == (1, 1)


REFETCH = Order(id="o1", kind=OrderKind.REFETCH, alert="a1")


def refuse_single_alerts(error):
    def trouble(ask):
        if ask.alert is not None:
            raise error

    return trouble


@pytest.mark.parametrize(
    "error",
    [QueryRefused("400", reason="http_400"), AnswerTooLarge("too large", reason="too_large")],
)
async def test_an_order_that_the_api_refuses_is_given_up_and_holds_nothing_back(error):
    stand = Stand(alerts(3))
    await stand.sweep()
    stand.source.trouble = refuse_single_alerts(error)
    await stand.poller.obey(REFETCH)
    asked = len(stand.source.asks)
    await stand.poller.obey(REFETCH)
    stand.restart()
    await stand.sweep()
    assert [ask.alert for ask in stand.source.asks[asked:]] == [None] * len(
        stand.source.asks[asked:]
    )
    assert len(stand.published) == 3


async def test_an_order_whose_alert_kafka_refuses_is_given_up_and_holds_nothing_back():
    stand = Stand(alerts(3))
    await stand.sweep()
    stand.log.failures.append("reject")
    await stand.poller.obey(REFETCH)
    await stand.poller.obey(REFETCH)
    await stand.sweep()
    assert len(stand.published) == 3


async def test_an_order_that_meets_an_outage_is_tried_again():
    stand = Stand(alerts(3))
    await stand.sweep()
    stand.source.trouble = refuse_single_alerts(SourceUnavailable("503", reason="http_503"))
    with pytest.raises(SourceUnavailable):
        await stand.poller.obey(REFETCH)
    stand.source.trouble = lambda _: None
    await stand.poller.obey(REFETCH)
    assert len(stand.published) == 4


async def test_a_glance_finds_nothing_where_there_is_none_and_asks_by_no_time():
    stand = Stand()
    await stand.sweep(Tier.SLOW)
    assert await stand.poller.glance() == Glance(Found.NOTHING)
    assert (stand.source.asks[-1].unfiltered, stand.source.asks[-1].top) == (True, 1)


async def test_a_glance_at_an_alert_that_is_known_or_older_than_memory_misses_nothing():
    known, older = Stand(alerts(1)), Stand()
    for stand in (known, older):
        await stand.sweep()
        await stand.sweep(Tier.SLOW)
    old = NOW - REACH.first - 2 * REACH.look_back
    older.vendor.show(Version("old", 0, old, old, 0))
    assert (await known.poller.glance()).found is Found.KNOWN
    assert await older.poller.glance() == Glance(Found.KNOWN, to_unix(old))


async def test_a_glance_tells_of_an_alert_that_a_reading_should_have_found():
    stand = Stand()
    await stand.sweep()
    await stand.sweep(Tier.SLOW)
    missed = NOW - 2 * MINUTE
    stand.vendor.show(Version("missed", 0, missed, missed, 0))
    assert await stand.poller.glance() == Glance(Found.MISSED, to_unix(missed))


class RememberedPage(Page):
    """A page that one can tell to be gone."""


class Remembering(VendorSource):
    """A source that notes how many of its pages somebody still holds when it is asked."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options, trouble=self._look)
        self.given, self.held = [], []

    def _look(self, ask):
        self.held.append(sum(page() is not None for page in self.given))

    def _page(self, ask):
        found = super()._page(ask)
        page = RememberedPage(*(getattr(found, one.name) for one in fields(found)))
        self.given.append(weakref.ref(page))
        return page


async def test_of_a_page_that_was_worked_off_nothing_is_held_while_the_next_one_is_waited_for():
    stand = Stand(alerts(100))
    stand.source = Remembering(stand.vendor, pace=stand._pace)
    stand.restart()
    assert (await stand.sweep()).published == 100
    assert len(stand.source.held) > 3
    assert set(stand.source.held) == {0}


class Stumbling(Remembering):
    """One that fails before each answer."""

    def _look(self, ask):
        super()._look(ask)
        if len(self.held) % 2:
            raise SourceUnavailable("the network failed", reason="network")


async def test_nor_is_anything_held_where_the_question_had_to_be_put_again():
    stand = Stand(alerts(100))
    stand.source = Stumbling(stand.vendor, pace=stand._pace)
    stand.restart()
    gc.disable()
    try:
        assert (await stand.sweep()).published == 100
    finally:
        gc.enable()
    assert len(stand.source.held) > 6
    assert set(stand.source.held) == {0}
