"""`defender-ingest reshard`: changes the number of shards, and says what was moved and what to do next."""

import argparse
import asyncio
import os
from collections.abc import Callable

import structlog

from ingest.errors import CommandRefused
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Settings
from ingest.sink.reshard import SETTLE_SECONDS, Reshard
from ingest.sink.takeover import Replica


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Do what was asked for; return the exit code.

    Raises:
        IngestError: it was refused, or is not finished; the message says which.
    """
    to = arguments.to
    if settings.kafka.delivery != "exactly_once":
        raise CommandRefused(
            "kafka.delivery is at_least_once, and tenants are moved in transactions, so that each is in one "
            "shard; choose another kafka.prefix with the wanted kafka.shards, and apply the tenants anew"
        )
    reshard = Reshard(
        settings=settings.kafka,
        to=to,
        replica=Replica.here(settings.entra.client_id),
        clock=SystemClock(),
        log=structlog.get_logger("defender_ingest"),
        settle_seconds=SETTLE_SECONDS,
    )
    moved = asyncio.run(reshard.run())
    for topic, count in moved.partitions.items():
        before = f", before {count}" if count != to else " as before"
        say(f"{topic}: {to} partitions{before}")
    say(f"moved: {moved.tenants} tenants with {moved.records} checkpoint records")
    say(f"next: set kafka.shards: {to} in every replica's configuration and start them")
    return os.EX_OK
