"""How fresh every tenant is, to a consumer's eyes: the newest time of an alert of it that was read.

An alert that was born after some instant and can be read as committed proves that its tenant was read,
published and not held back after it. Nothing that the daemon says of itself is asked.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from ingest.simulator.remote import RemoteCloud

_FAR_FUTURE = "9999"
_BIRTH_SECONDS = 5.0

MOST = 0.9
"""The share of tenants that are most: some are always out of reach, by the simulator's own faults."""

_CLOSE_SECONDS = 5.0


class Freshness:
    """Reads along from now on; a broken consumer is replaced, and misses nothing that matters."""

    def __init__(self, *, bootstrap: str, topic: str, cloud: RemoteCloud) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._cloud = cloud
        self._newest: dict[str, float] = {}
        self.broken = 0

    async def follow(self) -> None:
        """Read along until cancelled."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="latest",
                fetch_max_wait_ms=100,
                request_timeout_ms=5000,
                metadata_max_age_ms=5000,
            )
            try:
                await consumer.start()
                consumer.subscribe([self._topic])
                while True:
                    polled = await consumer.getmany(timeout_ms=200)
                    for records in polled.values():
                        for record in records:
                            self._saw(record)
            except (KafkaError, OSError, TimeoutError):
                self.broken += 1
                await asyncio.sleep(0.5)
            finally:
                with suppress(Exception):
                    await asyncio.wait_for(consumer.stop(), _CLOSE_SECONDS)

    def _saw(self, record) -> None:
        headers = dict(record.headers)
        said = headers.get("ce_time", b"").decode()
        if not said or said.startswith(_FAR_FUTURE):
            return
        # Fractions of seven digits are beyond a datetime.
        at = datetime.fromisoformat(said[:19]).replace(tzinfo=UTC).timestamp()
        tenant = record.key.partition(b"/")[0].decode()
        self._newest[tenant] = max(at, self._newest.get(tenant, 0.0))

    def behind(self, tenants: set[str], since: float) -> set[str]:
        """Return those of whom nothing was seen that was born after `since`."""
        return {tenant for tenant in tenants if self._newest.get(tenant, 0.0) < since}

    async def regained(self, tenants: set[str], *, at_most: float) -> "Regained":
        """Let alerts be born everywhere, and wait until one of each tenant was seen."""
        began = time.monotonic()
        since = time.time()
        born = most = 0.0
        while left := self.behind(tenants, since):
            now = time.monotonic()
            if now - began > at_most:
                break
            if not most and len(left) <= (1 - MOST) * len(tenants):
                most = now - began
            if now - born > _BIRTH_SECONDS:
                # Times may be cut to the second: one of the second in which this began is not new.
                await asyncio.sleep(max(0.0, since + 1.1 - time.time()))
                await asyncio.to_thread(self._cloud.post, "burst", alerts=1, seconds=0)
                born = time.monotonic()
            await asyncio.sleep(0.1)
        took = time.monotonic() - began
        return Regained(most or took, took, left)


@dataclass(frozen=True, slots=True)
class Regained:
    """After how many seconds most tenants were fresh, and all; and those that were not in time."""

    most: float
    all: float
    left: set[str]

    def words(self) -> str:
        """Return it in words, for the log."""
        return f"{MOST:.0%} of the tenants fresh {self.most:.1f} s later, all {self.all:.1f} s"
