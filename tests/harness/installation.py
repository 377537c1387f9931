"""A simulated cloud on a broker, daemons one after another, and a look at the topics between them."""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ingest.simulator.processes import Child
from tests.integration.test_promtool import get, started

PROGRAM = (sys.executable, "-m", "ingest")
TENANTS = 4

Found = dict[str, tuple[int, bytes]]
"""The newest value of each key that has one, with its partition."""


class Installation:
    """One installation, of two shards."""

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

    def await_that(self, check: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
        """Return as soon as something holds."""
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline, f"no {what} in {seconds} s"
            time.sleep(0.2)

    def names(self, topic: str, tenant: str) -> list[str]:
        """Return the keys of a topic that are a tenant's and have a value."""
        return [key for key in self.newest(topic) if key.startswith(tenant)]

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
            return {key: kept for key, kept in found.items() if kept[1] is not None}
        finally:
            await consumer.stop()

    async def _write(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
