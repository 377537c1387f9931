"""The status page of a large fleet: `python -m tests.bench.status_page --tenants 10000`.

A replica has followed the status topic, and nobody has looked yet: the first who does has every record read.
Every tenant has as long a history as the topic keeps. Prints the seconds until the page was there and the
CPU seconds of it, for the first look and for later ones, the asking browser's part included.
"""

import argparse
import asyncio
import random
import time
from types import SimpleNamespace
from typing import cast

import structlog
from aiohttp import ClientSession
from aiokafka import ConsumerRecord

from ingest.model.status import KEPT_POLLS, KEPT_TRANSITIONS, Poll, Transition
from ingest.model.tenant import shard_of
from ingest.portal.admin import AdminPortal
from ingest.runtime.allocator import keep_freed_pages, spare_collector
from ingest.settings.admin import Admin
from ingest.settings.models import Kafka
from ingest.sink.board import StatusBoard
from tests.unit.portal.fleet import NOW, Made

_SHARDS = 32
PATHS = ("/", "/?q=customer+4321", "/?state=parked&sort=since", "/?sort=name&down=1&page=2")


def fleet(tenants: int) -> Made:
    """Return a fleet of which every tenth tenant is parked."""
    made = Made()
    history = {
        "transitions": (Transition(NOW - 60, "healthy", "healthy", "us"),) * KEPT_TRANSITIONS,
        "polls": (Poll(NOW - 30, "fast", "whole", 0.2, 3, 1, 1),) * KEPT_POLLS,
    }
    for number in range(tenants):
        made.add(number, **history) if number % 10 else made.park(number, **history)
    return made


def followed(made: Made) -> StatusBoard:
    """Return a board that has followed the topic up to what replicas said of the fleet."""
    board = StatusBoard(
        settings=Kafka(bootstrap_servers=["127.0.0.1:1"], shards=_SHARDS),
        clock=made.clock,
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    for tenant, report in made.said.items():
        record = {"key": tenant.encode(), "value": report.value}
        partition = shard_of(tenant, _SHARDS)
        board._take(cast("ConsumerRecord", SimpleNamespace(**record, partition=partition)))
    return board


async def measure(tenants: int) -> None:
    made = fleet(tenants)
    made.said_of = followed(made).get
    made.said.clear()
    spare_collector()
    portal = AdminPortal(
        settings=Admin(port=0), token=None, view=made.view, consent_url=lambda tenant: tenant
    )
    async with portal, ClientSession(portal.url) as session:
        for number, path in enumerate((*PATHS, *PATHS)):
            # Everybody is looked at anew after a second.
            made.clock.now += 2
            began, cpu = time.monotonic(), time.process_time()
            content = await (await session.get(path)).read()
            print(
                f"status_page: tenants={tenants} look={number + 1} path={path} bytes={len(content)} "
                f"s={time.monotonic() - began:.3f} cpu_s={time.process_time() - cpu:.3f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.status_page", description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    keep_freed_pages()
    asyncio.run(measure(parser.parse_args().tenants))


if __name__ == "__main__":
    main()
