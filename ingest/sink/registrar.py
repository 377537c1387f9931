"""Writes to the tenants topic: a change of a registration is one record, and one stable log event."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaProducer

from ingest.model.roster import Registration, encode_registration
from ingest.model.tenant import shard_of
from ingest.settings.models import Kafka
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.refusals import TROUBLE

_SECONDS = 30.0


class Registrar:
    """Registers tenants; entered, it holds a producer.

    It has no transactional id: a shard's is its owner's alone, and a registration is one record.
    """

    def __init__(self, *, settings: Kafka, log: structlog.stdlib.BoundLogger) -> None:
        self._settings = settings
        self._connection = Connection(settings=settings, client_id="defender-ingest-registrar")
        self._names = TopicNames.of(settings)
        self._log = log
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            SinkError: the brokers cannot be reached.
        """
        producer = self._connection.plain_producer()
        try:
            async with asyncio.timeout(_SECONDS):
                await producer.start()
        except TROUBLE as error:
            await close(producer)
            raise await self._connection.explain(
                error, "reach", self._connection.servers
            ) from error
        self._producer = producer
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        if self._producer is not None:
            await close(self._producer)

    async def write(self, registrations: Iterable[Registration]) -> None:
        """Write records and return when the brokers have all of them.

        Raises:
            SinkError: some may be written; to write them again does no harm.
        """
        if self._producer is None:
            raise RuntimeError("a registrar was used before it was entered")
        written = list(registrations)
        try:
            async with asyncio.timeout(_SECONDS):
                futures = [
                    await self._producer.send(
                        self._names.tenants,
                        encode_registration(one),
                        one.tenant.id.encode(),
                        partition=shard_of(one.tenant.id, self._settings.shards),
                    )
                    for one in written
                ]
                await asyncio.gather(*futures)
        except TROUBLE as error:
            raise await self._connection.explain(error, "write to", self._names.tenants) from error
        for one in written:
            self._log.info(
                "tenant_registered",
                tenant=one.tenant.id,
                tenant_name=one.tenant.name,
                region=one.tenant.region,
                standing=str(one.standing),
                origin=str(one.origin),
                by=one.by,
                why=one.why,
                order=None if one.order is None else str(one.order.kind),
            )
