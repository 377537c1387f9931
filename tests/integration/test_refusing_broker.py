"""Shows that no checkpoint is ever committed without its alerts, whatever the broker refuses.

On Apache Kafka: the errors are answers of a proxy that keeps the refused records from the broker, or of
the broker itself, whose topic takes small records only.
"""

import asyncio
import json
import random

import pytest
from aiokafka import AIOKafkaProducer

from ingest.errors import RecordsRejected, Rewound
from ingest.pipeline.ports import Record, Topic
from tests.contract.test_commit_log import FEED, NEIGHBOUR, OnBroker, alert, batch
from tests.harness.refusing_proxy import RefusingProxy
from tests.kafka.apache import ApacheKafka, free_port

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]

TOO_LARGE, FORBIDDEN, INVALID, CORRUPT, FENCED, UNWELL = 10, 29, 87, 2, 47, 56
CODES = {
    "message too large": TOO_LARGE,
    "authorization": FORBIDDEN,
    "invalid record": INVALID,
    "corrupt": CORRUPT,
    "fenced": FENCED,
    "storage": UNWELL,
}


@pytest.fixture(scope="module")
def proxied():
    port = free_port()
    with ApacheKafka(advertised=port) as kafka:
        yield kafka, port


@pytest.fixture
async def refusing(proxied):
    kafka, port = proxied
    async with RefusingProxy(port=port, upstream=int(kafka.bootstrap.split(":")[1])) as proxy:
        broker = OnBroker(kafka, "apache")
        broker.bootstrap = f"127.0.0.1:{port}"
        proxy.topic = f"{broker.prefix}.alerts"
        yield broker, proxy


class Reader:
    """Commits one alert after another, each with the checkpoint that says so."""

    def __init__(self, log, feed) -> None:
        self._log = log
        self._feed = feed
        self._restored = None
        self.rejected = 0

    async def publish(self, number) -> None:
        while True:
            if self._restored is None:
                self._restored = await self._log.restore(self._feed)
                raw = self._restored.records.get(str(self._feed).encode())
                if raw is not None and json.loads(raw) >= number:
                    return
            records, state = [alert(number, self._feed)], json.dumps(number).encode()
            try:
                await self._log.commit(batch(self._restored, records, self._feed, state))
            except Rewound:
                self._restored = None
            except RecordsRejected:
                self.rejected += 1
                self._restored = None
            else:
                return


async def committed(broker):
    """Return, by feed, the checkpoint and the alerts that a `read_committed` reader sees."""
    alerts = [
        (r.key.decode().split("/")[0], int(r.value.rstrip(b".")))
        for r in await broker.read("alerts")
    ]
    states = {}
    partitions = await broker.read("checkpoints")
    for record in partitions:
        if record.key in (str(FEED).encode(), str(NEIGHBOUR).encode()):
            states.setdefault(record.key.decode().split("/")[0], []).append(
                json.loads(record.value)
            )
    return alerts, states


@pytest.mark.parametrize("name", CODES)
async def test_a_refused_alert_has_no_checkpoint_and_is_published_once_when_it_is_taken(
    refusing, name
):
    broker, proxy = refusing
    async with broker.open() as log:
        readers = [Reader(log, feed) for feed in (FEED, NEIGHBOUR)]
        for number in range(1, 7):
            # Once, twice, not at all: together with a neighbour in the same transaction.
            proxy.refusals.extend([CODES[name]] * (number % 3))
            await asyncio.gather(*(reader.publish(number) for reader in readers))
            proxy.refusals.clear()
            alerts, states = await committed(broker)
            for tenant, numbers in states.items():
                assert all((tenant, n) in alerts for n in numbers)
    alerts, states = await committed(broker)
    assert sorted(alerts) == sorted(
        (feed.tenant, n) for feed in (FEED, NEIGHBOUR) for n in range(1, 7)
    )
    assert {tenant: numbers[-1] for tenant, numbers in states.items()} == {
        FEED.tenant: 6,
        NEIGHBOUR.tenant: 6,
    }
    assert proxy.done[f"refused {CODES[name]}"] >= 4


async def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_done_twice(refusing):
    broker, proxy = refusing
    async with broker.open() as log:
        reader = Reader(log, FEED)
        for number in range(1, 6):
            proxy.lost_ends = number % 2
            await reader.publish(number)
    alerts, _ = await committed(broker)
    assert sorted(alerts) == [(FEED.tenant, n) for n in range(1, 6)]
    assert proxy.done["lost end"] == 3


async def test_a_producer_that_does_not_look_commits_a_checkpoint_without_its_alert(refusing):
    """The adversary is real: this is what the client does when it is used as its guide shows."""
    broker, proxy = refusing
    async with broker.open() as log:
        await log.restore(FEED)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="careless")
    await producer.start()
    proxy.refusals.append(TOO_LARGE)
    await producer.begin_transaction()
    lost = await producer.send(f"{broker.prefix}.alerts", b"1", b"a/1")
    await producer.send(f"{broker.prefix}.checkpoints", b"1", str(FEED).encode())
    await producer.commit_transaction()
    await producer.stop()
    assert lost.exception() is not None
    alerts, states = await committed(broker)
    assert (alerts, states) == ([], {FEED.tenant: [1]})


async def test_what_a_small_topic_refuses_is_named_and_all_else_is_committed_with_its_checkpoint():
    with ApacheKafka(properties={"message.max.bytes": "20000"}) as kafka:
        broker = OnBroker(kafka, "apache")
        rng = random.Random(1)
        big = Record(Topic.ALERTS, f"{FEED.tenant}/big".encode(), rng.randbytes(30_000), [])
        async with broker.open() as log:
            records = [alert(1), big, alert(2)]
            rejected = []
            for _ in range(20):
                restored = await log.restore(FEED)
                try:
                    await log.commit(batch(restored, records, FEED, b"2"))
                    break
                except Rewound:
                    assert await committed(broker) == ([], {})
                except RecordsRejected as error:
                    assert await committed(broker) == ([], {})
                    rejected.append((error.positions, error.reason))
                    records = [r for at, r in enumerate(records) if at not in error.positions]
        alerts, states = await committed(broker)
    assert rejected == [((1,), "too_large")]
    assert sorted(alerts) == [(FEED.tenant, 1), (FEED.tenant, 2)]
    assert states == {FEED.tenant: [2]}
