"""What was last said of every tenant, by whichever replica: the tenant-status topic, followed live."""

import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from ingest.model.report import Report
from ingest.model.tenant import shard_of
from ingest.pipeline.ports import Clock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.following import Follower
from ingest.sink.layout import TopicNames
from ingest.sink.statuses import Status, decoded

_PATIENCE_SECONDS = 10.0

_MIN_BYTES = 256 * 1024
"""A large fleet says something many times a second; who looks at it sees it half a second later."""


class StatusBoard:
    """Follows the topic while its context is entered.

    Entering waits for its present end, but not for long: whoever cannot read it still reads alerts, and
    only does not know what was said of its tenants before. A record is decoded when it is asked for.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        clock: Clock,
        rng: random.Random,
        log: structlog.stdlib.BoundLogger,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        topic = TopicNames.of(settings).status
        self._shards = settings.shards
        self._log = log
        self._raw: dict[str, bytes] = {}
        self._read: dict[str, tuple[bytes, Status]] = {}
        self._follower = Follower(
            connection=Connection(settings=settings, client_id="defender-ingest-statuses"),
            partitions=[TopicPartition(topic, number) for number in range(settings.shards)],
            name="tenant_status_topic",
            take=self._take,
            tell=tell,
            patience_seconds=_PATIENCE_SECONDS,
            min_bytes=_MIN_BYTES,
            clock=clock,
            rng=rng,
            log=log,
        )

    async def __aenter__(self) -> Self:
        """Read what is there now, as far as that is possible."""
        await self._follower.__aenter__()
        if not self.is_whole:
            self._log.warning("tenant_status_topic_unread", waited_seconds=_PATIENCE_SECONDS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following."""
        await self._follower.__aexit__(kind, error, traceback)

    @property
    def is_whole(self) -> bool:
        """Whether all that was there at the start is known."""
        return self._follower.read_whole.is_set()

    def get(self, tenant: str) -> Status | None:
        """Return what was last said of a tenant, None where nobody has spoken of it."""
        raw = self._raw.get(tenant)
        if raw is None:
            return None
        known = self._read.get(tenant)
        if known is None or known[0] is not raw:
            known = self._read[tenant] = (raw, decoded(tenant.encode(), raw))
        return known[1]

    def former(self, tenant: str) -> Report | None:
        """Return the same for whoever goes on from it: what cannot be read is nothing."""
        status = self.get(tenant)
        return status if isinstance(status, Report) else None

    def _take(self, record: ConsumerRecord) -> bool:
        if record.key is None:
            return False
        tenant = record.key.decode(errors="replace")
        # One that stands elsewhere was said before the number of shards was changed.
        if shard_of(tenant, self._shards) != record.partition:
            return False
        if record.value is None:
            self._read.pop(tenant, None)
            return self._raw.pop(tenant, None) is not None
        self._raw[tenant] = record.value
        return True
