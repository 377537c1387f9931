"""What Kafka has of one tenant: its registration, its budget's last word, its checkpoint, its freshness."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from aiokafka import TopicPartition

from ingest.commands.desk import open_desk
from ingest.commands.findings import Finding, failed, passed, skipped
from ingest.errors import (
    CheckpointUnreadable,
    CommandRefused,
    SinkError,
    StatusUnreadable,
)
from ingest.identity.directory import domain_of
from ingest.model.checkpoint import FeedState
from ingest.model.enrolment import find
from ingest.model.instant import format_instant, from_unix
from ingest.model.journal import order_key
from ingest.model.report import FRESH_SECONDS, PENDING, Report, seen
from ingest.model.roster import Registration, Standing
from ingest.model.status import WELL, State
from ingest.model.tenant import FeedKey, is_guid, shard_of
from ingest.pipeline.ports import Clock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.refusals import TROUBLE
from ingest.sink.restore import read_back

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What Kafka has; `guid` is None where only a domain is known, `trouble` says why Kafka is silent."""

    guid: str | None = None
    registration: Registration | None = None
    unreadable: str = ""
    status: Report | StatusUnreadable | None = None
    trouble: str = ""

    @property
    def is_spent(self) -> bool:
        """Whether its owner may make no call now."""
        return isinstance(self.status, Report) and self.status.calls_left == 0


async def look_up(
    text: str, settings: Kafka, *, clock: Clock, log: structlog.stdlib.BoundLogger
) -> Kept:
    """Return what Kafka has of the tenant that a GUID, a name or a domain stands for.

    Raises:
        CommandRefused: nobody is called so, or Kafka would have to say who is.
    """
    guid = text.lower() if is_guid(text.lower()) else None
    is_name = guid is None and domain_of(text) is None
    try:
        async with open_desk(settings, make_topics=False, clock=clock, log=log) as desk:
            if is_name:
                guid = find(text, desk.roster, desk.unreadable).tenant.id
            elif guid is None:
                # A domain can be a tenant's name as well.
                named = (one.tenant for one in desk.roster.values())
                guid = next((one.id for one in named if one.name == text), None)
            if guid is None:
                return Kept()
            statuses = await desk.statuses() if guid in desk.roster else {}
            why = desk.unreadable.get(guid, "")
            return Kept(guid, desk.roster.get(guid), why, statuses.get(guid))
    except SinkError as error:
        if is_name:
            raise CommandRefused(
                f"{text}: who is called so stands in Kafka, which does not say ({error}); "
                "give the tenant's GUID or domain"
            ) from None
        return Kept(guid, trouble=str(error))


async def findings(kept: Kept, settings: Kafka, *, now: float) -> AsyncIterator[Finding]:
    """Yield what is to be told of it; `now` is in Unix seconds."""
    one, status = kept.registration, kept.status
    if kept.trouble:
        yield failed("Kafka", kept.trouble)
        return
    if kept.unreadable:
        yield failed("registration", kept.unreadable)
        return
    if one is None or one.standing is Standing.REMOVED:
        yield skipped("registration", "not registered: `tenants add` has it read")
        return
    yield passed("registration", f"{one.tenant.name}, region {one.tenant.region}, by {one.by}")
    if isinstance(status, Report) and status.calls_left is not None:
        at = format_instant(from_unix(status.fresh_until - FRESH_SECONDS))[:19]
        left = f"{status.calls_left} calls could be made at once"
        yield passed("budget", f"{left}, as {status.replica} said at {at}Z")
    else:
        yield skipped("budget", "no replica has told what is left of it")
    yield await _checkpoint(FeedKey(one.tenant.id), settings)
    yield _freshness(one, status, now)


async def _checkpoint(feed: FeedKey, settings: Kafka) -> Finding:
    connection = Connection(settings=settings, client_id="defender-ingest-doctor")
    topic = TopicNames.of(settings).checkpoints
    partition = TopicPartition(topic, shard_of(feed.tenant, settings.shards))
    try:
        found = await read_back(connection, partition, nonce=None, seconds=_SECONDS)
        records = dict(found.feeds.get(str(feed), {}))
        records.pop(order_key(str(feed)), None)
        if not records:
            return skipped("checkpoint", "none yet: nothing was committed for it")
        state = FeedState.decode(feed, records)
    except (CheckpointUnreadable, SinkError) as error:
        return failed("checkpoint", str(error))
    except TROUBLE as error:
        return failed("checkpoint", str(await connection.explain(error, "read", topic)))
    upto = format_instant(state.fast)[:19]
    return passed("checkpoint", f"in Kafka up to {upto}Z, {state.remembered} alerts remembered")


def _freshness(one: Registration, status: Report | StatusUnreadable | None, now: float) -> Finding:
    found = seen(one, status, now)
    words = f"{found.state}: {found.reason}"
    if found.fresh_at is not None:
        words += f"; read to the end {max(0.0, now - found.fresh_at):.0f} s ago"
    is_new = found.state == PENDING and now - one.at < FRESH_SECONDS
    if is_new or found.state in (*WELL, State.STARTING, State.CATCHING_UP):
        return passed("freshness", words)
    return failed("freshness", words, "us" if found.must_act == "nobody" else found.must_act)
