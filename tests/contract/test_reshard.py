"""Another number of shards on real brokers: everybody is moved whole, whenever it is interrupted."""

import asyncio
import json
import os
import random
import time
import uuid
from contextlib import asynccontextmanager
from itertools import count

import pytest
import structlog
import yaml
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry

import ingest.commands.reshard
from ingest.cli import main
from ingest.errors import Blame, CommandRefused, Rewound, TopicMismatch
from ingest.model.report import encode_report
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, Tenant, shard_of
from ingest.pipeline.ports import Batch, Record, Topic
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.log import KafkaCommitLog
from ingest.sink.producer import ShardProducer
from ingest.sink.registrar import Registrar
from ingest.sink.reshard import Reshard
from ingest.sink.restore import read_newest
from ingest.sink.statuses import read_statuses
from ingest.sink.takeover import Replica
from ingest.telemetry.metrics import SinkMetrics

BEFORE, AFTER = 2, 5
APP = "11111111-1111-1111-1111-111111111111"
FEEDS = [FeedKey(str(uuid.UUID(int=number))) for number in range(1, 13)]
READ = FEEDS[:10]
"""Those that have a checkpoint; the others are only registered."""

NEWER = str(uuid.UUID(int=99))
MOVED = [one for one in FEEDS if shard_of(one.tenant, BEFORE) != shard_of(one.tenant, AFTER)]


def state(feed):
    """Return a feed's checkpoint records: a header and a journal."""
    key = str(feed).encode()
    return {key: f"header of {feed}".encode()} | {
        key + b"/j/%d" % number: random.Random(f"{feed}{number}").randbytes(500)
        for number in range(3)
    }


def status(feed):
    now = time.time()
    kept = {"code": "ok", "reason": "read to the end", "blame": Blame.NOBODY, "since": now}
    return encode_report(
        FeedStatus(feed, "x", State.HEALTHY, fresh_at=now, **kept), replica="host:1", now=now
    )


class Place:
    """One installation on a broker."""

    def __init__(self, bootstrap) -> None:
        self.bootstrap = bootstrap
        self.names = TopicNames(f"t{uuid.uuid4().hex[:8]}")

    def settings(self, shards):
        return Kafka(
            bootstrap_servers=self.bootstrap.split(","),
            prefix=self.names.prefix,
            shards=shards,
            alert_partitions=1,
            replication_factor=1,
        )

    @asynccontextmanager
    async def open(self, shards):
        log = KafkaCommitLog(
            settings=self.settings(shards),
            client_id=APP,
            metrics=SinkMetrics(CollectorRegistry()),
            clock=SystemClock(),
            log=structlog.get_logger(),
            rng=random.Random(1),
        )
        async with asyncio.timeout(60), log, log.membership:
            yield log

    async def fill(self):
        """Publish for everybody, as a replica with the former number of shards."""
        async with self.open(BEFORE) as log:
            async with Registrar(settings=self.settings(BEFORE), log=log._log) as registrar:
                await registrar.write(
                    Registration(
                        Tenant(feed.tenant, f"tenant {feed.tenant[-2:]}", "eu"),
                        Standing.PAUSED if feed is FEEDS[3] else Standing.ACTIVE,
                        Origin.COMMAND,
                        by="me",
                        at=0.0,
                    )
                    for feed in FEEDS
                )
            await self.put(NEWER, b'{"v":2}')
            for feed in READ:
                restored = await log.restore(feed)
                gone = str(feed).encode() + b"/j/9"
                alert = Record(Topic.ALERTS, feed.tenant.encode(), b"an alert", [])
                more = {gone: b"gone"}
                await log.commit(Batch(feed, restored.epoch, [alert], state(feed) | more))
                await log.commit(Batch(feed, restored.epoch, [], {gone: None}))
                log.report(feed.tenant, status(feed), soon=True)
            while len(await self.statuses(BEFORE)) < len(READ):
                await asyncio.sleep(0.05)

    async def put(self, tenant, value):
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            shard = shard_of(tenant, BEFORE)
            await producer.send_and_wait(
                self.names.tenants, value, tenant.encode(), partition=shard
            )
        finally:
            await producer.stop()

    def connection(self):
        return Connection(settings=self.settings(AFTER), client_id="a test")

    async def statuses(self, shards):
        return await read_statuses(self.connection(), topic=self.names.status, shards=shards)

    async def live(self, topic):
        """Return of each partition what stands in it."""
        places = [TopicPartition(topic, number) for number in range(AFTER)]
        return await read_newest(self.connection(), places, seconds=30)

    def reshard(self, to=AFTER, configured=BEFORE, installation=APP):
        return Reshard(
            settings=self.settings(configured),
            to=to,
            replica=Replica("a test", uuid.uuid4().hex, installation),
            clock=SystemClock(),
            log=structlog.get_logger(),
            settle_seconds=0,
        )

    async def is_whole(self):
        """Check that everybody stands where it belongs, with what it had, and nowhere else."""
        seen = []
        for topic in self.names.by_shard:
            for number, records in enumerate(await self.live(topic)):
                for key in map(bytes.decode, records.keys() - {b"_owner", b"_grants"}):
                    tenant = key.partition("/")[0]
                    assert shard_of(tenant, AFTER) == number, (topic, key)
                    seen.append((topic, key))
        assert len(seen) == len(set(seen))
        async with self.open(AFTER) as log:
            for feed in FEEDS:
                expected = state(feed) if feed in READ else {}
                assert (await log.restore(feed)).records == expected
            assert set(log.roster.everybody()) == {feed.tenant for feed in FEEDS}
            assert log.roster.get(FEEDS[3].tenant).standing is Standing.PAUSED
            assert set(log.roster.unreadable()) == {NEWER}
            assert "newer version" in log.roster.unreadable()[NEWER]
            feed = MOVED[0]
            restored = await log.restore(feed)
            await log.commit(Batch(feed, restored.epoch, [], {str(feed).encode(): b"later"}))
        async with self.open(AFTER) as log:
            assert (await log.restore(feed)).records[str(feed).encode()] == b"later"
            log.report(feed.tenant, status(feed), soon=True)
            while feed.tenant not in await self.statuses(AFTER):
                await asyncio.sleep(0.05)


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def place(request):
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    return Place(request.getfixturevalue(fixture).bootstrap)


def test_these_tenants_move_in_every_way():
    former = {shard_of(feed.tenant, BEFORE) for feed in MOVED}
    assert former == {0, 1}
    # Into partitions that were there before, and into new ones; and some stay.
    assert {shard_of(feed.tenant, AFTER) for feed in MOVED} & former
    assert len(former | {shard_of(feed.tenant, AFTER) for feed in MOVED}) > BEFORE
    assert 0 < len(MOVED) < len(FEEDS)
    assert {feed in READ for feed in MOVED} == {True, False}


async def test_everybody_is_moved_with_what_is_remembered_of_them(place):
    await place.fill()
    moved = await place.reshard().run()
    assert set(moved.partitions.values()) == {BEFORE}
    newer = shard_of(NEWER, BEFORE) != shard_of(NEWER, AFTER)
    assert moved.tenants == len(MOVED) + newer
    assert moved.records == 4 * len([feed for feed in MOVED if feed in READ])
    again = await place.reshard(configured=AFTER).run()
    assert (again.tenants, again.records) == (0, 0)
    assert set(again.partitions.values()) == {AFTER}
    await place.is_whole()


class Interrupted(BaseException):
    """Nobody catches it."""


def interrupt(monkeypatch, how, after):
    """Let one of the transactions be the last thing that happens."""
    numbers = count()
    commit, transact = AIOKafkaProducer.commit_transaction, ShardProducer.transact

    async def last_commit(producer):
        number = next(numbers)
        if number == after and how == "before its commit":
            raise Interrupted
        await commit(producer)
        if number == after and how == "after its commit":
            raise Interrupted

    async def cancelled(producer, *words, **more):
        if next(numbers) == after:
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
        return await transact(producer, *words, **more)

    if how == "cancelled":
        monkeypatch.setattr(ShardProducer, "transact", cancelled)
    else:
        monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", last_commit)


@pytest.mark.slow
@pytest.mark.timeout(300)
# A client that is cancelled while it connects forgets the connection; the process that did so has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["before its commit", "after its commit", "cancelled"])
async def test_interrupted_at_each_transaction_in_turn_it_is_finished_by_another_run(
    place, how, monkeypatch
):
    await place.fill()
    for after in count():
        with monkeypatch.context() as patch:
            interrupt(patch, how, after)
            running = asyncio.get_running_loop().create_task(place.reshard().run())
            try:
                await running
            except (Interrupted, asyncio.CancelledError):
                continue
            break
    assert after >= AFTER
    await place.is_whole()


async def test_a_replica_that_is_started_half_way_reads_nobody_wrongly(place, monkeypatch):
    await place.fill()
    with monkeypatch.context() as patch:
        interrupt(patch, "after its commit", 2)
        with pytest.raises(Interrupted):
            await place.reshard().run()
    with pytest.raises(TopicMismatch, match="reshard"):
        async with place.open(BEFORE):
            pass
    async with place.open(AFTER) as log:
        registered, unreadable = set(log.roster.everybody()), dict(log.roster.unreadable())
        waiting = {tenant for tenant, why in unreadable.items() if "reshard" in why}
        assert not registered & unreadable.keys()
        assert registered | unreadable.keys() == {NEWER, *(feed.tenant for feed in FEEDS)}
        assert waiting - {NEWER} < {feed.tenant for feed in MOVED}
        assert waiting - {NEWER}
        for feed in READ:
            if feed.tenant in registered:
                assert (await log.restore(feed)).records == state(feed)
    await place.reshard().run()
    await place.is_whole()


async def test_it_is_refused_while_a_replica_is_a_member(place):
    await place.fill()
    async with place.open(BEFORE) as log:
        while not log.membership.owned:
            await asyncio.sleep(0.05)
        with pytest.raises(CommandRefused, match="stop all replicas first") as refused:
            await place.reshard().run()
        assert refused.value.exit_code == os.EX_DATAERR
    async with place.open(BEFORE) as log:
        assert (await log.restore(READ[0])).records == state(READ[0])


async def test_a_replica_that_left_the_group_can_commit_nothing_more(place):
    await place.fill()
    feed = next(one for one in MOVED if one in READ)
    async with place.open(BEFORE) as zombie:
        restored = await zombie.restore(feed)
        await zombie.membership.__aexit__(None, None, None)
        await place.reshard().run()
        with pytest.raises(Rewound):
            await zombie.commit(Batch(feed, restored.epoch, [], {str(feed).encode(): b"zombie"}))
    await place.is_whole()


async def test_who_takes_over_the_shard_that_tenants_move_to_makes_the_move_fail(
    place, monkeypatch
):
    await place.fill()
    strangers = Reshard._strangers

    async def slow(reshard, shard):
        found = await strangers(reshard, shard)
        for number in {shard_of(tenant, AFTER) for tenant in found}:
            identity = place.names.transactional_id(number)
            other = place.connection().producer(identity, batch_bytes=1000)
            await other.start()
            await other.stop()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Reshard, "_strangers", slow)
        with pytest.raises(CommandRefused, match="took a shard over meanwhile"):
            await place.reshard().run()
    for number, records in enumerate(await place.live(place.names.checkpoints)):
        feeds = {key.decode().partition("/")[0] for key in records if not key.startswith(b"_")}
        assert {shard_of(tenant, BEFORE) for tenant in feeds} <= {number}
    await place.reshard().run()
    await place.is_whole()


async def test_what_must_not_be_is_refused_and_nothing_is_changed(place):
    with pytest.raises(CommandRefused, match="topics are missing"):
        await place.reshard().run()
    await place.fill()
    for to, configured in ((1, BEFORE), (BEFORE, BEFORE + 1)):
        with pytest.raises(CommandRefused, match=r"Kafka cannot take .* another kafka\.prefix"):
            await place.reshard(to, configured).run()
    with pytest.raises(TopicMismatch, match=f"installation of application {APP}"):
        await place.reshard(installation="another").run()
    async with place.open(BEFORE) as log:
        assert (await log.restore(READ[0])).records == state(READ[0])


def test_the_command_says_what_it_did_and_what_is_next(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ingest.commands.reshard, "SETTLE_SECONDS", 0.0)
    asyncio.run(place.fill())
    config = tmp_path / "daemon.yaml"
    kafka = place.settings(BEFORE).model_dump(mode="json")
    entra = {"client_id": APP, "client_secret": "hush~Q8secret~value"}
    config.write_text(yaml.safe_dump({"entra": entra, "kafka": kafka}))
    capsys.readouterr()
    words = ["reshard", "--config", str(config), "--to"]
    assert main([*words, "1"]) == os.EX_DATAERR
    assert "defender-ingest: there are 2 shards already, and Kafka" in capsys.readouterr().err
    assert main([*words, str(AFTER)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{place.names.tenants}: 5 partitions, before 2"
    assert lines[3].startswith("moved: ")
    assert lines[4] == "next: set kafka.shards: 5 in every replica's configuration and start them"
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events[:2] == ["topics_grown", "waiting_for_replicas_to_notice"]
    assert set(events[2:]) == {"tenants_moved"}
    assert main([*words, str(AFTER)]) == 0
    assert "moved: 0 tenants" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words, "0"])
    capsys.readouterr()
    asyncio.run(place.is_whole())
