"""After a downgrade: what a newer release wrote parks its tenant, is told, and is never written over."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ingest.simulator.broker import EmbeddedBroker
from ingest.simulator.processes import Child
from tests.integration.test_promtool import get, started

PROGRAM = (sys.executable, "-m", "ingest")
TENANTS = 4

Found = dict[str, tuple[int, bytes]]
"""The newest value of each key, with its partition."""


class Installation:
    """A simulated cloud on the embedded broker, with daemons one after another."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.config = folder / "daemon.yaml"
        self.folder = folder
        self._runs = 0

    @contextmanager
    def cloud(self) -> Iterator[None]:
        simulate = [
            *(*PROGRAM, "simulate", "--port", "0", "--tenants", str(TENANTS), "--backlog", "5"),
            *("--no-limits", "--kafka", self.bootstrap, "--prefix", self.prefix, "--shards", "2"),
            *("--poll-interval", "0.5", "--state-dir", str(self.folder)),
            *("--write-config", str(self.config)),
        ]
        with Child(name="simulator", command=simulate, folder=self.folder) as simulator:
            simulator.first_line(timeout=60)
            yield

    @contextmanager
    def daemon(self, **states: int) -> Iterator[str]:
        """Run a daemon, from when so many tenants are in these states; yield its address."""
        self._runs += 1
        run = [*PROGRAM, "run", "--config", str(self.config)]
        with Child(name=f"daemon-{self._runs}", command=run, folder=self.folder) as daemon:
            url = started(daemon)

            def reached() -> bool:
                now = json.loads(get(f"{url}/status"))["states"]
                return all(now[state] == count for state, count in states.items())

            daemon.wait_until(reached, what=str(states), timeout=60)
            yield url
            assert daemon.stop() == 0, daemon.tail()

    def newest(self, topic: str) -> Found:
        return asyncio.run(self._read(f"{self.prefix}.{topic}"))

    def put(self, topic: str, key: str, value: bytes, partition: int) -> None:
        asyncio.run(self._write(f"{self.prefix}.{topic}", key.encode(), value, partition))

    async def _read(self, topic: str) -> Found:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level="read_committed"
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, one) for one in range(2)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: Found = {}
            while [one for one in partitions if await consumer.position(one) < ends[one]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        found[record.key.decode()] = (record.partition, record.value)
            return found
        finally:
            await consumer.stop()

    async def _write(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            await producer.send_and_wait(topic, value, key=key, partition=partition)


def newer(value: bytes) -> bytes:
    """Return a record as a later release might write it."""
    content: dict[str, Any] = json.loads(value)
    return json.dumps({**content, "v": 99, "later": True}).encode()


@pytest.mark.timeout(240)
def test_a_newer_record_parks_its_tenant_and_is_never_written_over(
    embedded_kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    here = Installation(embedded_kafka.bootstrap, tmp_path)
    with here.cloud():
        with here.daemon(healthy=TENANTS):
            pass
        written = here.newest("checkpoints")
        headers = sorted(key for key in written if key.endswith("/mde-alerts"))
        assert len(headers) == TENANTS
        checkpoint, registered = headers[0], headers[1].partition("/")[0]
        tenant = checkpoint.partition("/")[0]
        partition, value = written[checkpoint]
        here.put("checkpoints", checkpoint, left := newer(value), partition)
        partition, value = here.newest("tenants")[registered]
        here.put("tenants", registered, unread := newer(value), partition)

        with here.daemon(healthy=TENANTS - 2, parked=2) as url:
            parked = json.loads(get(f"{url}/status?state=parked"))["feeds"]
            reasons = {one["tenant"]: one["reason"] for one in parked}
            assert reasons.keys() == {tenant, registered}
            assert all(
                "of a newer version; it was left as it is" in one for one in reasons.values()
            )
            words = ("tenants", "pause", registered, "--config", str(here.config))
            done = subprocess.run(
                [*PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode != 0
            assert "newer version" in done.stderr
        after = here.newest("checkpoints")
        assert after[checkpoint][1] == left
        assert {key for key in after if key.startswith(tenant)} == {
            key for key in written if key.startswith(tenant)
        }
        assert here.newest("tenants")[registered][1] == unread

        # The release that wrote them is back: here, their own records.
        here.put("checkpoints", checkpoint, written[checkpoint][1], written[checkpoint][0])
        here.put("tenants", registered, value, partition)
        with here.daemon(healthy=TENANTS):
            pass
