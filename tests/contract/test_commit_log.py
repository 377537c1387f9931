"""One suite for the commit log: on the fake in memory, the embedded broker and Apache Kafka."""

import asyncio
import random
import uuid
import zlib
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry

from ingest.errors import (
    CheckpointUnreadable,
    NotOwner,
    RecordsRejected,
    Rewound,
    TopicMismatch,
)
from ingest.model.checkpoint import FeedState
from ingest.model.journal import encode_journals, journal_key
from ingest.model.memory import Entry
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import FeedKey, Tenant, shard_of
from ingest.model.window import Reach
from ingest.pipeline.ports import Batch, Record, Topic
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.sink.layout import needed
from ingest.sink.log import KafkaCommitLog
from ingest.sink.registrar import Registrar
from ingest.telemetry.metrics import SinkMetrics
from tests.fakes.commit_log import MemoryCommitLog

SHARDS = 4
FEED = FeedKey("11111111-1111-1111-1111-111111111111")
NEIGHBOUR = next(
    FeedKey(str(uuid.UUID(int=n)))
    for n in range(1, 1000)
    if shard_of(str(uuid.UUID(int=n)), SHARDS) == shard_of(FEED.tenant, SHARDS)
)


class OnBroker:
    """The real commit log, and what a `read_committed` consumer sees of it."""

    def __init__(self, broker, kind: str) -> None:
        self.bootstrap = broker.bootstrap
        self.enforces_limits = kind != "embedded"
        self.delivery = "at_least_once" if kind == "acknowledged" else "exactly_once"
        self.prefix = f"t{uuid.uuid4().hex[:8]}"

    def settings(self, **changes):
        return Kafka(
            bootstrap_servers=self.bootstrap.split(","),
            prefix=self.prefix,
            shards=SHARDS,
            alert_partitions=3,
            replication_factor=1,
            delivery=self.delivery,
            **changes,
        )

    def make(self, *, client_id="app-1", **changes):
        self._registry = CollectorRegistry()
        return KafkaCommitLog(
            settings=self.settings(**changes),
            client_id=client_id,
            metrics=SinkMetrics(self._registry),
            clock=SystemClock(),
            log=structlog.get_logger(),
            rng=random.Random(1),
        )

    def transactions(self):
        """Return how many were committed since the log was made."""
        name = "defender_ingest_transactions_total"
        return self._registry.get_sample_value(name, {"outcome": "committed"})

    @asynccontextmanager
    async def open(self, **changes):
        async with asyncio.timeout(60), self.make(**changes) as log, log.membership:
            yield log

    async def read(self, topic, isolation="read_committed"):
        name = f"{self.prefix}.{topic}"
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level=isolation, enable_auto_commit=False
        )
        await consumer.start()
        try:
            partitions = [
                TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())
            ]
            if not partitions:
                await consumer._client.force_metadata_update()
                count = {"alerts": 3, "quarantine": 1}.get(topic.partition(".")[0], SHARDS)
                partitions = [TopicPartition(name, p) for p in range(count)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found = []
            for partition in partitions:
                while await consumer.position(partition) < ends[partition]:
                    polled = await consumer.getmany(partition, timeout_ms=200)
                    found += [record for some in polled.values() for record in some]
            return found
        finally:
            await consumer.stop()

    async def values(self):
        return sorted(record.value for record in await self.read("alerts"))


class InMemory:
    """The fake behind the same handle."""

    def __init__(self) -> None:
        self._log = MemoryCommitLog()

    @asynccontextmanager
    async def open(self):
        # A restart: whoever had restored before is of an older epoch.
        for feed in self._log._epochs:
            self._log._epochs[feed] += 1
        yield self._log

    async def values(self):
        return sorted(r.value for r in self._log.published if r.topic is Topic.ALERTS)


FENCING = ["embedded", pytest.param("apache", marks=pytest.mark.kafka)]
BROKERS = [*FENCING, pytest.param("acknowledged", marks=pytest.mark.kafka)]


def on_broker(request):
    fixture = "embedded_kafka" if request.param == "embedded" else "apache_kafka"
    return OnBroker(request.getfixturevalue(fixture), request.param)


@pytest.fixture(params=["memory", *BROKERS])
def place(request):
    return InMemory() if request.param == "memory" else on_broker(request)


@pytest.fixture(params=BROKERS)
def broker(request):
    return on_broker(request)


@pytest.fixture(params=FENCING)
def fencing(request):
    return on_broker(request)


@pytest.fixture(params=BROKERS[-1:])
def unfenced(request):
    return on_broker(request)


def alert(number: int, feed=FEED, size: int = 20) -> Record:
    return Record(
        Topic.ALERTS,
        f"{feed.tenant}/da{number}".encode(),
        f"{number}".ljust(size, ".").encode(),
        [("ce_specversion", b"1.0"), ("ce_id", str(number).encode())],
    )


def batch(restored, records, feed=FEED, state=b"{}", more=()):
    return Batch(feed, restored.epoch, records, {str(feed).encode(): state, **dict(more)})


async def test_a_feed_that_was_never_committed_restores_to_nothing(place):
    async with place.open() as log:
        assert (await log.restore(FEED)).records == {}


async def test_alerts_and_checkpoint_are_there_after_a_commit(place):
    async with place.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1), alert(2)], state=b'{"n":2}'))
        assert await place.values() == [alert(1).value, alert(2).value]
    async with place.open() as log:
        assert (await log.restore(FEED)).records == {str(FEED).encode(): b'{"n":2}'}


async def test_a_value_may_be_a_view_of_the_page_that_it_came_in(place):
    page = b'[{"id":"da1"},{"id":"da2"}]'
    async with place.open() as log:
        restored = await log.restore(FEED)
        value = memoryview(page)[1:13]
        await log.commit(batch(restored, [Record(Topic.ALERTS, b"da1", value, [])]))
        assert [bytes(one) for one in await place.values()] == [b'{"id":"da1"}']


async def test_a_restart_goes_on_at_the_newest_checkpoint(place):
    for number in range(3):
        async with place.open() as log:
            restored = await log.restore(FEED)
            for step in range(5):
                state = f"{number}.{step}".encode()
                await log.commit(batch(restored, [alert(number * 10 + step)], state=state))
    async with place.open() as log:
        assert (await log.restore(FEED)).records[str(FEED).encode()] == b"2.4"
    assert len(await place.values()) == 15


async def test_a_key_that_is_dropped_is_not_restored(place):
    journal = str(FEED).encode() + b"/j/1"
    async with place.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1)], more=[(journal, b"x")]))
        await log.commit(batch(restored, [], more=[(journal, None)]))
    async with place.open() as log:
        assert set((await log.restore(FEED)).records) == {str(FEED).encode()}


async def test_feeds_of_one_shard_are_kept_apart(place):
    async with place.open() as log:
        for feed in (FEED, NEIGHBOUR):
            restored = await log.restore(feed)
            await log.commit(batch(restored, [alert(1, feed)], feed, state=feed.tenant.encode()))
    async with place.open() as log:
        for feed in (FEED, NEIGHBOUR):
            records = (await log.restore(feed)).records
            assert records == {str(feed).encode(): feed.tenant.encode()}


async def test_a_batch_of_an_older_epoch_is_refused_and_publishes_nothing(broker):
    async with broker.open() as log:
        old = await log.restore(FEED)
        await log.commit(batch(old, [alert(1)]))
        new = await log.restore(FEED)
        assert new.epoch != old.epoch
        with pytest.raises(Rewound):
            await log.commit(batch(old, [alert(2)]))
    assert await broker.values() == [alert(1).value]


async def test_a_feed_can_be_restored_again_at_any_time(place):
    async with place.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1)], state=b"one"))
        again = await log.restore(FEED)
        assert again.records == {str(FEED).encode(): b"one"}
        await log.commit(batch(again, [alert(2)], state=b"two"))
    assert len(await place.values()) == 2


async def test_an_alert_lies_in_the_partition_that_crc32_of_its_key_names(broker):
    async with broker.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(n) for n in range(50)]))
        for record in await broker.read("alerts"):
            assert record.partition == zlib.crc32(record.key) % 3
            assert dict(record.headers)["ce_specversion"] == b"1.0"


async def test_routed_alerts_go_to_their_topics_in_one_transaction(broker):
    gold, silver = (f"{broker.prefix}.alerts.{tier}" for tier in ("gold", "silver"))
    changes = {"route": "{prefix}.alerts.{label.tier}", "route_topics": [gold, silver]}
    async with broker.open(**changes) as log:
        for topic, numbers in ((gold, range(20)), (silver, range(20, 30))):
            restored = await log.restore(FEED)
            records = [msgspec.structs.replace(alert(n), topic=topic) for n in numbers]
            await log.commit(batch(restored, records))
        assert log.max_record_bytes(Topic.ALERTS) > 900_000
        for tier, count in (("gold", 20), ("silver", 10)):
            found = await broker.read(f"alerts.{tier}")
            assert len(found) == count
            assert all(one.partition == zlib.crc32(one.key) % 3 for one in found)


async def test_a_tenant_whose_alerts_have_no_topic_is_named_and_read_once_it_has_a_label(broker):
    changes = {
        "route": "{prefix}.alerts.{label.tier}",
        "route_topics": [f"{broker.prefix}.alerts.gold"],
    }
    async with (
        broker.open(**changes) as log,
        Registrar(settings=broker.settings(**changes), log=structlog.get_logger()) as desk,
    ):

        async def registered(labels, standing=Standing.ACTIVE):
            tenant = Tenant(FEED.tenant, "Contoso", "eu", labels)
            await desk.write([Registration(tenant, standing, Origin.COMMAND, "us", 0.0)])
            while (one := log.roster.get(FEED.tenant)) is None or (
                (one.tenant, one.standing) != (tenant, standing)
            ):
                await log.changed()
            while not log.membership.owned:
                await log.changed()
            return FEED.tenant in log.registered(), log.unreadable().get(FEED.tenant, "")

        is_read, why = await registered(())
        assert not is_read
        assert why.startswith(f"tenant Contoso ({FEED.tenant}) has no label tier")
        is_read, why = await registered((("tier", "bronze"),))
        assert not is_read
        assert "none of kafka.route_topics" in why
        assert await registered((("tier", "bronze"),), Standing.PAUSED) == (True, "")
        assert await registered((("tier", "gold"),)) == (True, "")


async def test_neighbours_share_transactions_and_each_is_committed_once(broker):
    async with broker.open() as log:
        restored = {feed: await log.restore(feed) for feed in (FEED, NEIGHBOUR)}

        async def work(feed, start):
            for number in range(20):
                await log.commit(batch(restored[feed], [alert(start + number, feed)], feed))

        await asyncio.gather(work(FEED, 0), work(NEIGHBOUR, 100))
    assert len(await broker.values()) == 40
    assert len(set(await broker.values())) == 40


async def test_what_publishes_nothing_waits_for_company_and_then_goes_alone(broker):
    async with broker.open() as log:
        restored = {feed: await log.restore(feed) for feed in (FEED, NEIGHBOUR)}
        before = broker.transactions()
        watermark = asyncio.create_task(log.commit(batch(restored[FEED], [], state=b"w1")))
        for _ in range(10):
            await asyncio.sleep(0)
        await log.commit(batch(restored[NEIGHBOUR], [alert(1, NEIGHBOUR)], NEIGHBOUR))
        await watermark
        assert broker.transactions() == before + 1
        await log.commit(batch(restored[FEED], [], state=b"w2"))
        assert broker.transactions() == before + 2
    async with broker.open() as log:
        assert (await log.restore(FEED)).records == {str(FEED).encode(): b"w2"}


async def test_what_waits_for_company_is_committed_before_the_shard_is_given_up(fencing):
    async with fencing.open() as log:
        restored = await log.restore(FEED)
        watermark = asyncio.create_task(log.commit(batch(restored, [], state=b"w1")))
        await asyncio.sleep(0)
    await watermark
    async with fencing.open() as log:
        assert (await log.restore(FEED)).records == {str(FEED).encode(): b"w1"}


async def test_a_record_that_the_broker_refuses_names_itself_and_harms_no_neighbour(broker):
    async with broker.open() as log:
        restored = {feed: await log.restore(feed) for feed in (FEED, NEIGHBOUR)}
        # Random, so that it does not shrink below the broker's limit.
        huge = Record(Topic.ALERTS, b"huge", random.Random(1).randbytes(1_500_000), [])
        rejected = []

        async def stubborn(feed, records, start=0):
            while True:
                try:
                    await log.commit(batch(restored[feed], records, feed))
                    return
                except Rewound:
                    restored[feed] = await log.restore(feed)
                except RecordsRejected as error:
                    rejected.append((feed, error.positions, error.reason))
                    restored[feed] = await log.restore(feed)
                    records = [r for at, r in enumerate(records) if at not in error.positions]

        await asyncio.gather(
            stubborn(FEED, [alert(1), huge, alert(2)]), stubborn(NEIGHBOUR, [alert(3, NEIGHBOUR)])
        )
    if broker.enforces_limits:
        assert rejected == [(FEED, (1,), "too_large")]
        values = await broker.values()
        if broker.delivery == "at_least_once":
            # What was beside the refused one is there, and is decided on anew.
            values = sorted(set(values))
        assert values == [alert(n).value for n in (1, 2, 3)]


async def leave(log):
    """Take a replica out of the group, though its shards do not know it yet."""
    await log.membership.__aexit__(None, None, None)


async def test_a_fenced_owner_publishes_nothing_and_never_fences_its_successor(fencing):
    async with fencing.open() as former:
        restored = await former.restore(FEED)
        await former.commit(batch(restored, [alert(1)]))
        await leave(former)
        async with fencing.open() as later:
            fresh = await later.restore(FEED)
            with pytest.raises(Rewound):
                await former.commit(batch(restored, [alert(2)], state=b"zombie"))
            await later.commit(batch(fresh, [alert(3)]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(former.restore(FEED), 1)
            await later.commit(batch(fresh, [alert(4)]))
    assert await fencing.values() == [alert(1).value, alert(3).value, alert(4).value]


async def test_an_owner_that_a_zombie_fenced_once_goes_on_and_nothing_is_there_twice(fencing):
    """Frozen between its claim and its initialisation: what no question can prevent."""
    async with fencing.open() as former:
        restored = await former.restore(FEED)
        await former.commit(batch(restored, [alert(1)]))
        await leave(former)
        async with fencing.open() as later:
            fresh = await later.restore(FEED)
            answers = iter([True])

            async def claim(_):
                if not next(answers, False):
                    raise NotOwner("asked again after it woke")

            zombie = former._shard(shard_of(FEED.tenant, SHARDS))
            zombie._claim = claim
            with pytest.raises(Rewound):
                await former.commit(batch(restored, [alert(2)]))
            while next(answers, False) is not False:
                await asyncio.sleep(0.05)
            try:
                await later.commit(batch(fresh, [alert(3)]))
            except Rewound:
                again = await later.restore(FEED)
                await later.commit(batch(again, [alert(3)]))
    assert await fencing.values() == [alert(1).value, alert(3).value]


async def test_replicas_share_the_shards_and_each_feed_has_one_owner(broker):
    feeds = [FeedKey(str(uuid.UUID(int=n))) for n in range(1, 13)]
    async with broker.open() as one, broker.open() as other:

        def settled():
            ours, theirs = one.membership.owned, other.membership.owned
            return ours and theirs and not ours & theirs and len(ours | theirs) == SHARDS

        while not settled():
            await asyncio.sleep(0.05)
        assert {len(one.membership.owned), len(other.membership.owned)} == {SHARDS // 2}

        async def publish(feed):
            mine = shard_of(feed.tenant, SHARDS) in one.membership.owned
            log = one if mine else other
            while True:
                restored = await log.restore(feed)
                try:
                    return await log.commit(batch(restored, [alert(1, feed)], feed))
                except Rewound:
                    continue

        await asyncio.gather(*map(publish, feeds))
    published = [record.key for record in await broker.read("alerts")]
    assert sorted(published) == sorted(alert(1, feed).key for feed in feeds)


async def test_a_replica_that_leaves_hands_its_shards_over_with_what_is_committed(broker):
    async with broker.open() as former:
        restored = await former.restore(FEED)
        await former.commit(batch(restored, [alert(1)], state=b"one"))
        async with broker.open() as later:
            while len(later.membership.owned) != SHARDS // 2:
                await asyncio.sleep(0.05)
            await leave(former)
            again = await later.restore(FEED)
            assert later.membership.owned == set(range(SHARDS))
            assert again.records == {str(FEED).encode(): b"one"}


async def test_the_checkpoint_of_a_removed_tenant_is_forgotten_by_whoever_takes_its_shard(broker):
    tenant = Tenant(FEED.tenant, "contoso", "eu")
    async with broker.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1)], more=[(f"{FEED}/j/1".encode(), b"x")]))
        other = await log.restore(NEIGHBOUR)
        await log.commit(batch(other, [alert(1, NEIGHBOUR)], NEIGHBOUR))
        async with Registrar(settings=broker.settings(), log=structlog.get_logger()) as registrar:
            removed = Registration(tenant, Standing.REMOVED, Origin.COMMAND, by="me", at=0.0)
            await registrar.write([removed])
    async with broker.open() as log:
        assert (await log.restore(FEED)).records == {}
        assert (await log.restore(NEIGHBOUR)).records != {}
    newest = {record.key: record.value for record in await broker.read("checkpoints")}
    assert newest[str(FEED).encode()] is None
    assert newest[f"{FEED}/j/1".encode()] is None


async def test_a_status_is_written_with_the_shards_own_producer(broker):
    async with broker.open() as log:
        await log.restore(FEED)
        log.report(FEED.tenant, b"well", soon=True)
        while not (found := await broker.read("tenant-status")):
            await asyncio.sleep(0.05)
    assert [(record.key, record.value) for record in found] == [(FEED.tenant.encode(), b"well")]
    assert found[0].partition == shard_of(FEED.tenant, SHARDS)


async def test_a_status_that_may_not_ride_along_with_a_feed_tried_alone_goes_next(broker):
    async with broker.open() as log:
        restored = await log.restore(FEED)
        huge = Record(Topic.ALERTS, b"huge", random.Random(1).randbytes(1_500_000), [])
        with suppress(Rewound):
            await log.commit(batch(restored, [huge]))
        restored = await log.restore(FEED)
        log.report(FEED.tenant, b"well", soon=True)
        await log.commit(batch(restored, [alert(1)]))
        while not (found := await broker.read("tenant-status")):
            await asyncio.sleep(0.05)
    assert [record.value for record in found] == [b"well"]


async def test_owners_one_after_another_share_what_may_be_called_at_once(broker):
    granted = []
    for _ in range(6):
        async with broker.open() as log:
            granted.append((await log.restore(FEED)).granted)
    assert granted[:4] == [2.0] * 4
    assert granted[5] <= 1.0  # they refill by a call in twenty seconds


async def test_what_is_open_is_not_visible_and_the_next_owner_ends_it(fencing):
    async with fencing.open() as log:
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1)]))
        # Die between produce and commit: as kill -9 leaves it.
        shard = shard_of(FEED.tenant, SHARDS)
        half_dead = log._connection.producer(
            log._topics.names.transactional_id(shard), batch_bytes=1000
        )
        await half_dead.start()
        await half_dead.begin_transaction()
        await half_dead.send_and_wait(f"{fencing.prefix}.alerts", b"open", partition=0)
        assert b"open" not in await fencing.values()
        await leave(log)
        async with fencing.open() as later:
            await later.restore(FEED)
            assert await fencing.values() == [alert(1).value]
        await asyncio.wait_for(half_dead._sender.close(), 5)
        await half_dead.client.close()
        half_dead._closed = True


async def test_topics_of_another_installation_are_refused(broker):
    async with broker.open() as log:
        await log.restore(FEED)
    with pytest.raises(TopicMismatch, match="app-1"):
        async with broker.open(client_id="app-2"):
            pass


async def test_a_changed_number_of_shards_is_refused(broker):
    async with broker.open():
        pass
    broker_settings = broker.settings
    broker.settings = lambda **c: broker_settings(**c).model_copy(update={"shards": SHARDS + 1})
    with pytest.raises(TopicMismatch, match=r"kafka\.shards: 4"):
        async with broker.open():
            pass


async def test_missing_topics_are_named_where_they_must_not_be_made(broker):
    with pytest.raises(TopicMismatch, match=r"\.alerts.*\.quarantine.*\.checkpoints"):
        async with broker.open(create_topics=False):
            pass


async def made_by_hand(broker, **policies):
    """Make the topics with other policies than they have to have."""
    plans = needed(broker.settings())
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        topics = []
        for plan in plans:
            config = dict(plan.config) | policies.get(
                plan.name.removeprefix(f"{broker.prefix}."), {}
            )
            config = {name.replace("_", "."): value for name, value in config.items()}
            topics.append(NewTopic(plan.name, plan.partitions, 1, topic_configs=config))
        await admin.create_topics(topics)
    finally:
        await admin.close()


BY_TIME = {"cleanup.policy": "delete", "retention.ms": "3600000"}


async def test_checkpoints_that_are_kept_by_time_are_written_again_by_whoever_takes_over(unfenced):
    await made_by_hand(unfenced, checkpoints=BY_TIME)
    journal = str(FEED).encode() + b"/j/1"
    async with unfenced.open() as log:
        assert log.delivery["checkpoints"] == "kept for 3600 s"
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(1)], state=b"one", more=[(journal, b"x")]))
    async with unfenced.open() as log:
        kept = {str(FEED).encode(): b"one", journal: b"x"}
        assert (await log.restore(FEED)).records == kept
    copies = [record.key for record in await unfenced.read("checkpoints")]
    assert all(copies.count(key) == 2 for key in kept)


async def test_who_is_registered_must_not_be_forgotten_by_time(unfenced):
    await made_by_hand(unfenced, tenants=BY_TIME)
    with pytest.raises(
        TopicMismatch, match=r"tenants: cleanup\.policy is delete, .*retention\.ms=-1"
    ):
        async with unfenced.open():
            pass


async def test_topics_are_not_kept_by_time_where_transactions_are_promised(fencing):
    await made_by_hand(fencing, checkpoints=BY_TIME)
    with pytest.raises(TopicMismatch, match=r"checkpoints: cleanup\.policy is delete"):
        async with fencing.open():
            pass


async def test_an_owner_that_lost_its_shard_publishes_no_more_though_nothing_fences_it(unfenced):
    async with unfenced.open() as former:
        restored = await former.restore(FEED)
        await former.commit(batch(restored, [alert(1)]))
        await leave(former)
        async with unfenced.open() as later:
            fresh = await later.restore(FEED)
            with pytest.raises(Rewound):
                await asyncio.wait_for(former.commit(batch(restored, [alert(2)])), 30)
            await later.commit(batch(fresh, [alert(3)]))
    assert await unfenced.values() == [alert(1).value, alert(3).value]


async def test_batches_go_one_after_another_where_requests_must_be_small(unfenced):
    async with unfenced.open(request_bytes=65_536) as log:
        assert log.max_record_bytes(Topic.ALERTS) == 65_536 - 1024
        restored = await log.restore(FEED)
        await log.commit(batch(restored, [alert(n, size=30_000) for n in range(20)]))
    assert len(await unfenced.values()) == 20


async def test_pieces_of_commits_are_mended_by_whoever_has_transactions_again(unfenced):
    state = FeedState.first(FEED, now=0, reach=Reach(overlap=1, look_back=2, first=3))
    left_over = journal_key(str(FEED), 7)
    async with unfenced.open() as log:
        restored = await log.restore(FEED)
        assert restored.torn
        pieces = {**state.header(), left_over: encoded_journal()}
        await log.commit(Batch(FEED, restored.epoch, [], pieces))
    with pytest.raises(CheckpointUnreadable):
        FeedState.decode(FEED, pieces)
    unfenced.delivery = "exactly_once"
    async with unfenced.open() as log:
        again = await log.restore(FEED)
        assert not again.torn
        FeedState.decode(FEED, again.records)


def encoded_journal() -> bytes:
    """Return the record of a journal that remembers one alert of the epoch."""
    remembered = Entry(updated=5, digest=1, prints=(1,), resolved=False)
    ((_, raw),) = encode_journals({"a": remembered}, {})
    return raw
