"""The tenants topic as a command needs it: who is registered, how they are doing, and one write."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import structlog

from ingest.errors import SinkUnavailable
from ingest.model.roster import Registration
from ingest.pipeline.ports import Clock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.registrar import Registrar
from ingest.sink.rights import commands
from ingest.sink.roster import Roster
from ingest.sink.statuses import Status, read_statuses
from ingest.sink.topics import Topics

_SECONDS = 60.0
_TRIES, _PAUSE_SECONDS = 5, 1.0


class Desk:
    """What is registered, as it was when the desk was opened.

    Args:
        topics_made: whether the topics were not there and have been made.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        connection: Connection,
        topic: str,
        roster: Roster | None,
        topics_made: bool,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._topic = topic
        self._log = log
        self.topics_made = topics_made
        self.has_topics = roster is not None
        self.roster: Mapping[str, Registration] = {} if roster is None else roster.everybody()
        self.unreadable: Mapping[str, str] = {} if roster is None else dict(roster.unreadable())

    async def statuses(self) -> dict[str, Status]:
        """Return what was last said of each tenant.

        Raises:
            SinkError: it cannot be read.
        """
        if not self.has_topics:
            return {}
        return await read_statuses(
            self._connection, topic=self._topic, shards=self._settings.shards
        )

    async def write(self, registrations: Iterable[Registration]) -> None:
        """Write records; each is a log event.

        Raises:
            SinkError: some may be written; to give the command again does no harm.
        """
        async with Registrar(settings=self._settings, log=self._log) as registrar:
            await registrar.write(registrations)


@asynccontextmanager
async def open_desk(
    settings: Kafka, *, make_topics: bool, clock: Clock, log: structlog.stdlib.BoundLogger
) -> AsyncIterator[Desk]:
    """Read the tenants topic whole; where it is not there, make it or find nobody registered.

    Raises:
        SinkError: the brokers cannot be reached, or do not allow it, or a topic does not fit.
    """
    connection = Connection(settings=settings, client_id="defender-ingest-tenants")
    topics = Topics(
        settings=settings,
        connection=connection,
        log=log,
        rights=commands(TopicNames.of(settings))["tenants list"],
    )
    roster: Roster | None = Roster(
        connection=connection,
        topic=topics.names.tenants,
        shards=settings.shards,
        clock=clock,
        rng=random.Random(),
        log=log,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            absent = topics.names.tenants in await topics.absent()
            if absent and not make_topics:
                roster = None
            else:
                await _fit(topics, clock)
            if roster is not None:
                async with roster:
                    # Read once, and not followed: a command decides on what it has shown.
                    pass
    except TimeoutError:
        raise SinkUnavailable(
            f"the tenants topic {topics.names.tenants} could not be read within {_SECONDS:g} s "
            f"from {connection.servers}: check the brokers, and try again"
        ) from None
    yield Desk(
        settings=settings,
        connection=connection,
        topic=topics.names.status,
        roster=roster,
        topics_made=absent and make_topics,
        log=log,
    )


async def _fit(topics: Topics, clock: Clock) -> None:
    """Make and check the topics; ones that were just made may take a moment to be known."""
    for left in reversed(range(_TRIES)):
        try:
            await topics.ensure()
        except SinkUnavailable:
            if not left:
                raise
            await clock.sleep(_PAUSE_SECONDS)
        else:
            return
