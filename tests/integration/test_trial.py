"""The judge on real brokers: a publisher that is right, and the same one made wrong on purpose."""

import hashlib
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.simulator.trial import Subject, Trial

TENANT = "11111111-2222-3333-4444-555555555555"
PARTITIONS = 3


class Cloud:
    """The admin endpoints of a simulator, without one: a record that the test writes."""

    def __init__(self) -> None:
        self.frozen = False
        self.lines: list[dict[str, object]] = []

    def serve(self, alert: str, version: int, raw: bytes, *, until: float | None = None) -> None:
        self.lines.append(
            {
                "tenant": TENANT,
                "alert": alert,
                "version": version,
                "updated": "",
                "sha256": [hashlib.sha256(raw).hexdigest()],
                "from": 0.0,
                "to": until,
                "kind": "alert",
            }
        )

    def freeze(self) -> None:
        self.frozen = True

    def record(self) -> list[dict[str, object]]:
        return self.lines

    def outages(self) -> dict[str, list[list[float]]]:
        return {}


class Publisher:
    """A daemon's producing half, as plain as can be."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str) -> None:
        self.producer = producer
        self.prefix = prefix

    async def alert(self, alert: str, raw: bytes) -> None:
        key = f"{TENANT}/{alert}".encode()
        await (
            await self.producer.send(
                f"{self.prefix}.alerts",
                key=key,
                value=raw,
                partition=zlib.crc32(key) % PARTITIONS,
                headers=[("ce_source", f"/tenants/{TENANT}/mde-alerts".encode())],
            )
        )


@asynccontextmanager
async def publishing(bootstrap: str) -> AsyncIterator[Publisher]:
    prefix = f"trial-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics(
        [NewTopic(f"{prefix}.alerts", PARTITIONS, 1), NewTopic(f"{prefix}.quarantine", 1, 1)]
    )
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=prefix)
    await producer.start()
    try:
        yield Publisher(producer, prefix)
    finally:
        await producer.stop()


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    broker = request.getfixturevalue(f"{request.param}_kafka")
    return str(broker.bootstrap)


@asynccontextmanager
async def trial_of(
    publisher: Publisher, bootstrap: str, cloud: Cloud, **more: object
) -> AsyncIterator[Trial]:
    subject = Subject(bootstrap, publisher.prefix, 10.0, Path("unused"), None)
    async with Trial(subject=subject, cloud=cloud, **more) as trial:
        await trial.find_topics()
        yield trial


async def test_a_right_publisher_is_clean_and_aborted_records_are_not_seen(bootstrap: str) -> None:
    cloud = Cloud()
    async with publishing(bootstrap) as publisher, trial_of(publisher, bootstrap, cloud) as trial:
        for number in range(20):
            raw = f'{{"id": "alert-{number}"}}'.encode()
            cloud.serve(f"alert-{number}", 0, raw)
            await publisher.producer.begin_transaction()
            await publisher.alert(f"alert-{number}", raw)
            if number % 2:
                await publisher.producer.commit_transaction()
            else:
                await publisher.producer.abort_transaction()
        await trial.follow(seconds=0.5)
        assert (await trial.judge()).faults["lost"] == 10
        for number in range(0, 20, 2):
            await publisher.producer.begin_transaction()
            await publisher.alert(f"alert-{number}", f'{{"id": "alert-{number}"}}'.encode())
            await publisher.producer.commit_transaction()
        # The last word on a partition is an abort: an end without a record that could be read.
        for number in range(20):
            await publisher.producer.begin_transaction()
            await publisher.alert(f"alert-{number}", b"never seen")
            await publisher.producer.abort_transaction()
        await trial.drain(at_most=1)
        assert cloud.frozen
        verdict = await trial.judge()
    assert verdict.report() == []
    assert verdict.line == (
        "audit: expected=20 published=20 quarantined=0 excused=0 "
        "lost=0 twice=0 disordered=0 altered=0 misquarantined=0"
    )


async def test_draining_ends_once_all_that_is_current_was_seen(bootstrap: str) -> None:
    cloud = Cloud()
    async with publishing(bootstrap) as publisher, trial_of(publisher, bootstrap, cloud) as trial:
        for name in ("first", "second"):
            cloud.serve(name, 0, name.encode())
            async with publisher.producer.transaction():
                await publisher.alert(name, name.encode())
        assert await trial.drain(at_most=30) == 0
        cloud.serve("third", 0, b"third")
        assert await trial.drain(at_most=0.5) == 1


async def test_nothing_is_awaited_of_a_tenant_that_was_removed(bootstrap: str) -> None:
    cloud = Cloud()
    cloud.serve("first", 0, b"first", until=50.0)
    cloud.serve("second", 0, b"second")
    gone = {TENANT: [(10.0, None)]}
    async with (
        publishing(bootstrap) as publisher,
        trial_of(publisher, bootstrap, cloud, absences=gone) as trial,
    ):
        async with publisher.producer.transaction():
            await publisher.alert("first", b"first")
        assert await trial.drain(at_most=30) == 0
        verdict = await trial.judge()
    assert (verdict.expected, verdict.published, verdict.report()) == (1, 1, [])


async def test_what_is_wrong_in_the_topic_is_counted(bootstrap: str) -> None:
    cloud = Cloud()
    async with publishing(bootstrap) as publisher, trial_of(publisher, bootstrap, cloud) as trial:
        for name, versions in {"ok": 1, "again": 1, "order": 2, "bytes": 1}.items():
            for version in range(versions):
                last = version == versions - 1
                raw = f"{name} {version}".encode()
                cloud.serve(name, version, raw, until=None if last else 50.0)
        async with publisher.producer.transaction():
            for name, raw in (
                ("ok", b"ok 0"),
                ("again", b"again 0"),
                ("again", b"again 0"),
                ("order", b"order 1"),
                ("order", b"order 0"),
                ("bytes", b"bytes  0"),
            ):
                await publisher.alert(name, raw)
        await trial.drain(at_most=1)
        verdict = await trial.judge()
    assert verdict.line == (
        "audit: expected=5 published=4 quarantined=0 excused=0 "
        "lost=1 twice=1 disordered=1 altered=1 misquarantined=0"
    )
    assert verdict.exit_code == 1


async def test_an_end_behind_an_open_transaction_is_not_taken_for_the_end(bootstrap: str) -> None:
    async with publishing(bootstrap) as publisher, trial_of(publisher, bootstrap, Cloud()) as trial:
        await publisher.producer.begin_transaction()
        await publisher.alert("a", b"open")
        with pytest.raises(TimeoutError):
            await trial.judge(at_most=2)
        await publisher.producer.abort_transaction()
        assert (await trial.judge()).expected == 0
