"""The judge's eyes: a plain `read_committed` consumer of the alerts and quarantine topics.

The one place beside the daemon's sink where aiokafka is used: what the audit sees is what any
consumer of these topics would see, from their beginning.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ingest.simulator.audit import Observed, Where

_LOOK_SECONDS = 0.2
_RECORDS = 2000

_FETCH_BYTES = 64 * 1024 * 1024
"""The embedded broker tells a fetch of every abort that ever was, also of those before its offset; a
consumer then hides what the same producer committed later. A fetch from the beginning is right, so
whole partitions should fit into one."""


def security_of(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """Return what aiokafka's clients need for the `tls` and `sasl` of a configuration's `kafka`.

    Raises:
        OSError: a file cannot be read.
        ValueError: by OAUTHBEARER, which the audit does not speak.
    """
    tls, sasl = kafka.get("tls") or {}, kafka.get("sasl") or {}
    wire = "SSL" if tls.get("enabled") else "PLAINTEXT"
    options: dict[str, Any] = {"security_protocol": wire}
    if tls.get("enabled"):
        options["ssl_context"] = ssl.create_default_context(cafile=tls.get("ca_file"))
        if "certificate_file" in tls:
            options["ssl_context"].load_cert_chain(tls["certificate_file"], tls["key_file"])
    mechanism = sasl.get("mechanism")
    if mechanism == "OAUTHBEARER":
        raise ValueError("the audit does not speak OAUTHBEARER: name another way with --reader")
    if mechanism:
        file = sasl.get("password_file")
        password = sasl.get("password") if file is None else Path(file).read_text().strip()
        options |= {"security_protocol": f"SASL_{wire}", "sasl_mechanism": mechanism}
        options |= {"sasl_plain_username": sasl.get("username"), "sasl_plain_password": password}
    return options


class Reader:
    """Reads what is committed, from the beginning, of the topics of one installation.

    Args:
        bootstrap: HOST:PORT of a broker, several with commas between.
        prefix: the installation's `kafka.prefix`.
        alerts: the topics that its alerts go to, where it is not the usual one.
        security: see `security_of`.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        prefix: str,
        alerts: Sequence[str] = (),
        security: Mapping[str, Any] | None = None,
    ) -> None:
        self._common = {"bootstrap_servers": bootstrap.split(","), **(security or {})}
        self._topics = {f"{prefix}.quarantine": Where.QUARANTINE}
        self._topics |= dict.fromkeys(alerts or (f"{prefix}.alerts",), Where.ALERTS)
        self._partitions: list[TopicPartition] = []
        self._committed = self._consumer(isolation="read_committed")
        # How far there is anything to read is not for the isolated eye to say: an open transaction
        # would hide it.
        self._ruler = self._consumer(isolation="read_uncommitted")

    def _consumer(self, *, isolation: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._common,
            group_id=None,
            enable_auto_commit=False,
            isolation_level=isolation,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=100,
        )

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            await self._committed.start()
            await self._ruler.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        await self._committed.stop()
        await self._ruler.stop()

    async def find_topics(self) -> int | None:
        """Wait until all topics exist; return the partitions of those of alerts, where all have as many."""
        admin = AIOKafkaAdminClient(**self._common)
        await admin.start()
        try:
            # Kafka tells nobody that a topic was made.
            while not (found := await self._described(admin)):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await admin.close()
        self._partitions = found
        self._committed.assign(self._partitions)
        await self._committed.seek_to_beginning(*self._partitions)
        counts = Counter(place.topic for place in self._partitions)
        several = {counts[name] for name, where in self._topics.items() if where is Where.ALERTS}
        return several.pop() if len(several) == 1 else None

    async def _described(self, admin: AIOKafkaAdminClient) -> list[TopicPartition]:
        described = await admin.describe_topics(list(self._topics))
        if any(topic["error_code"] or not topic["partitions"] for topic in described):
            return []
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]

    async def read(self, *, seconds: float) -> list[Observed]:
        """Return what came within `seconds`, each partition in order; at once if there is any."""
        polled = await self._committed.getmany(timeout_ms=int(seconds * 1000), max_records=_RECORDS)
        return [
            Observed(
                where=self._topics[place.topic],
                partition=place.partition,
                offset=record.offset,
                key=record.key or b"",
                value=record.value or b"",
                headers=record.headers,
                timestamp=record.timestamp / 1000,
            )
            for place, records in polled.items()
            for record in records
        ]

    async def behind(self) -> int:
        """Return how many offsets lie between what was read and the end, hidden ones included."""
        ends: dict[TopicPartition, int] = await self._ruler.end_offsets(self._partitions)
        return sum(
            [end - await self._committed.position(place) for place, end in ends.items()],
        )


__all__ = ["KafkaError", "Reader", "security_of"]
