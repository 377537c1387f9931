"""What was set aside, as the quarantine topic has it: parts put together, bytes kept only if asked for."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aiokafka import ConsumerRecord, TopicPartition

from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE
from ingest.sink.restore import read_through

_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SetAside:
    """One record in quarantine.

    `id` names its bytes, so the same may be there twice, and in two tenants. `alert` is its id in the API and
    `time` its own time, where they are known. `at` is when it was set aside, in Unix seconds. `size` is that
    of the `parts` that are there, in bytes; `raw` has them if they were asked for.
    """

    id: str
    tenant: str
    name: str
    feed: str
    reason: str
    alert: str | None
    time: str | None
    at: float
    partition: int
    offset: int
    expected_parts: int
    parts: int = 0
    size: int = 0
    raw: bytes | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all its parts are there: the first ones are deleted first."""
        return self.parts == self.expected_parts


async def read_quarantine(
    connection: Connection,
    topic: str,
    *,
    keep: Callable[[SetAside], bool] = lambda _: False,
    seconds: float = _SECONDS,
) -> list[SetAside]:
    """Return everything in quarantine up to its present end, the oldest first; nothing without the topic.

    Args:
        connection: makes the consumer.
        topic: the quarantine topic.
        keep: tells of which records the bytes are wanted.
        seconds: the bound on all of it.

    Raises:
        SinkError: it cannot be read, or not in time.
    """
    assembly = _Assembly(keep)
    try:
        async with asyncio.timeout(seconds):
            if places := await _places(connection, topic):
                await read_through(connection, places, assembly.take, seconds=seconds)
    except TROUBLE as error:
        raise await connection.explain(error, "read", topic) from error
    return sorted(assembly.found.values(), key=lambda one: one.at)


async def _places(connection: Connection, topic: str) -> list[TopicPartition]:
    admin = connection.admin()
    try:
        await admin.start()
        # Listed first: to describe an absent topic makes it, where brokers are set to do so.
        if topic not in await admin.list_topics():
            return []
        (described,) = await admin.describe_topics([topic])
        return [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
    finally:
        await close(admin)


class _Assembly:
    """Puts parts together; those of a record follow one another in one partition."""

    def __init__(self, keep: Callable[[SetAside], bool]) -> None:
        self.found: dict[tuple[int, int], SetAside] = {}
        self._keep = keep
        self._open: dict[tuple[int, str, str], tuple[int, int]] = {}

    def take(self, record: ConsumerRecord) -> None:
        """Take one record of the topic; what is not ours is left alone."""
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        try:
            part, parts = int(headers["ce_part"]), int(headers["ce_parts"])
            one = _begun(record, headers, parts)
        except (KeyError, ValueError):
            return
        name = (record.partition, one.tenant, one.id)
        place = self._open.get(name)
        if part == 1 or place is None:
            place = self._open[name] = (record.partition, record.offset)
            self.found[place] = one
        former = self.found[place]
        raw = None
        if self._keep(former):
            raw = (former.raw or b"") + record.value
        self.found[place] = replace(
            former, parts=former.parts + 1, size=former.size + len(record.value), raw=raw
        )


def _begun(record: ConsumerRecord, headers: Mapping[str, str], parts: int) -> SetAside:
    return SetAside(
        id=headers["ce_id"],
        tenant=headers["ce_tenantid"],
        name=headers["ce_tenantname"],
        feed=headers["ce_feed"],
        reason=headers["ce_reason"],
        alert=headers.get("ce_subject"),
        time=headers.get("ce_time"),
        at=record.timestamp / 1000,
        partition=record.partition,
        offset=record.offset,
        expected_parts=parts,
    )
