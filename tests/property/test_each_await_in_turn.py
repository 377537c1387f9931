"""One life of a poller, told again and again: each time it is gone at the next of its awaits.

The machines draw where a crash falls; here none is left out. Whatever is outside gives way before it is done
and once more after it, so that a process can be gone with its commit made and the answer not yet heard.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from operator import itemgetter
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.model.checkpoint import FeedState
from ingest.model.journal import decode_obeyed, order_key
from ingest.model.roster import Order, OrderKind
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from ingest.pipeline.poller import Cycle, Poller
from ingest.pipeline.ports import Topic
from ingest.telemetry.metrics import PipelineMetrics
from tests.fakes.commit_log import MemoryCommitLog
from tests.fakes.vendor import Quirks, Vendor, VendorSource, content_of
from tests.property.reader import Findings
from tests.property.test_poller_laws import VendorClock
from tests.property.worlds import BEGIN, MINUTE, REACH, SECOND, SPAN, World

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
FEED = FeedKey(TENANT.id)
WORLD = World(3, alerts=34, late=True, tied=True, broken=True, quirks=Quirks(order="ignored"))
SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))

_ORDER = order_key(str(FEED))
REWIND = Order("order-1", OrderKind.REWIND, since=BEGIN - SPAN)
ASKED = next(v.id for v in WORLD.versions() if v.visible < BEGIN and not v.broken)
REFETCH = Order("order-2", OrderKind.REFETCH, alert=ASKED)
READINGS = (Tier.FAST, Tier.SLOW, Tier.FAST)


class Gone(BaseException):
    """The process is no more."""


class SteppedLog(MemoryCommitLog):
    async def restore(self, feed):
        restored = await super().restore(feed)
        await asyncio.sleep(0)
        return restored

    async def commit(self, batch) -> None:
        await super().commit(batch)
        await asyncio.sleep(0)


class Life:
    """Pollers that do one thing after another; at each await of `faults` the present one is gone."""

    log_class: type[SteppedLog] = SteppedLog

    def __init__(self, *faults: int) -> None:
        self.faults = set(faults)
        self.awaits = 0
        self.log = self.log_class()
        self.cycles: list[Cycle] = []
        self.vendor = Vendor(WORLD.versions(), WORLD.quirks, now=BEGIN, rng=WORLD.rng("vendor"))
        self.poller = self.start()

    def start(self) -> Poller:
        return Poller(
            tenant=TENANT,
            feed=FEED,
            reach=REACH,
            page_size=40,
            batch_bytes=300,
            source=VendorSource(self.vendor, pace=lambda: self.vendor.pass_time(SECOND)),
            log=self.log,
            encoder=CloudEvents(tenant=TENANT, feed=FEED),
            clock=VendorClock(self.vendor, WORLD),
            metrics=PipelineMetrics(CollectorRegistry()),
            events=SILENT,
        )

    def live(self, *things: Tier | Order) -> None:
        for thing in things:
            while not self.is_done(thing):
                self.poller = self.start()
                assert not self.log.checkpoints or self.state
            self.vendor.pass_time(9 * MINUTE)

    def is_done(self, thing: Tier | Order) -> bool:
        """Do it; False says that the process was gone before it was done."""
        work = self.obey_or_read(thing)
        while self.awaits not in self.faults:
            self.awaits += 1
            try:
                work.send(None)
            except StopIteration:
                return True
        self.awaits += 1
        with pytest.raises(Gone):
            work.throw(Gone())
        return False

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(StopIteration):
            while True:
                work.send(None)

    def obey_or_read(self, thing: Tier | Order) -> Coroutine[Any, Any, None]:
        if isinstance(thing, Order):
            return self.poller.obey(thing)
        self.cycles.append(Cycle(thing))
        return self.poller.sweep(thing, self.cycles[-1])

    @property
    def state(self) -> FeedState:
        records = {k: v for k, v in self.log.checkpoints.items() if k != _ORDER}
        return FeedState.decode(FEED, records)

    @property
    def obeyed(self) -> str:
        return decode_obeyed(self.log.checkpoints[_ORDER]).id

    def published(self, *topics: Topic, replay: str | None = None) -> list[tuple[str, int]]:
        """Return, in order, what was published, or what was published again for an order."""
        asked = None if replay is None else replay.encode()
        return [
            content_of(record.value)
            for record in self.log.published
            if record.topic in (topics or Topic) and dict(record.headers).get("ce_replay") == asked
        ]

    def read_what_is_left(self) -> None:
        """Hold it to what the API shows in the end."""
        self.vendor.pass_time(BEGIN + SPAN + 90 * MINUTE - self.vendor.now)
        self.live(Tier.FAST, Tier.SLOW)
        assert not any(cycle.doubts for cycle in self.cycles)
        now = self.vendor.now
        shown = {v.content for v in Findings(WORLD.versions()).shown(now, now)}
        assert not shown - {content_of(r.value) for r in self.log.published}, "lost"


def lives(*things: Tier | Order, twice: bool = False, life: type[Life] = Life) -> Iterator[Life]:
    """Live with a crash at each await in turn, and with two at each two of them."""
    whole = Life()
    whole.live(*things)
    for first in range(whole.awaits):
        for second in range(first, whole.awaits if twice else first + 1):
            one = life(first, second)
            one.live(*things)
            yield one


@pytest.mark.parametrize("twice", [False, True], ids=["one crash", "two crashes"])
def test_readings_lose_double_and_disorder_nothing(twice):
    count = 0
    for life in lives(*READINGS, twice=twice):
        count += 1
        life.read_what_is_left()
        assert_each_once(life.published())
        alerts = life.published(Topic.ALERTS)
        assert sorted(alerts, key=itemgetter(0)) == sorted(alerts), "out of order"
    assert count > (300 if twice else 25)


def test_an_alert_is_fetched_anew_once():
    for life in lives(Tier.FAST, REFETCH, Tier.FAST):
        assert [id_ for id_, _ in life.published(replay=REFETCH.id)] == [ASKED]
        assert_each_once(life.published())


def test_a_feed_is_rewound_once():
    for life in lives(Tier.FAST, REWIND, Tier.FAST, Tier.SLOW):
        assert life.obeyed == REWIND.id
        again = life.published(Topic.ALERTS, replay=REWIND.id)
        assert again
        assert_each_once(again)
        assert_each_once(life.published(Topic.ALERTS))
        life.read_what_is_left()


def test_a_removed_tenant_leaves_no_records_wherever_its_reading_was_cancelled():
    whole = Life()
    whole.live(*READINGS)
    for at in range(whole.awaits):
        life = Life(at)
        for tier in READINGS:
            if not life.is_done(tier):
                break
        # As the fleet does: the same poller, after its reading was cancelled.
        life.finish(life.poller.forget())
        assert life.log.checkpoints == {}, f"cancelled at await {at}"


class RecordsFirst(SteppedLog):
    """Commits the checkpoint apart from the records, a moment later."""

    async def commit(self, batch):
        await super().commit(replace(batch, checkpoint={}))
        await super().commit(replace(batch, records=()))


class CheckpointFirst(SteppedLog):
    """Commits the records apart from the checkpoint, a moment later."""

    async def commit(self, batch):
        await super().commit(replace(batch, records=()))
        await super().commit(replace(batch, checkpoint={}))


@pytest.mark.parametrize(
    ("log", "law"), [(RecordsFirst, "twice"), (CheckpointFirst, "lost")], ids=["twice", "lost"]
)
def test_a_log_that_commits_in_two_pieces_is_found(log, law):
    with pytest.raises(AssertionError, match=law):
        for life in lives(*READINGS, life=type("Broken", (Life,), {"log_class": log})):
            life.read_what_is_left()
            assert_each_once(life.published())


def assert_each_once(contents: list[tuple[str, int]]) -> None:
    assert [one for one, count in Counter(contents).items() if count > 1] == [], "seen twice"
