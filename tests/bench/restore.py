"""Restore a shard that remembers much: `python -m tests.bench.restore --tenants 1000 --versions 1000`.

One process writes the checkpoints of all tenants into one shard on Apache Kafka; another one takes the shard
over and decodes every feed, as a daemon does, and tells how long that took and what memory it holds.
"""

import argparse
import asyncio
import gc
import random
import subprocess
import sys
import time
import uuid

import psutil
import structlog
from prometheus_client import CollectorRegistry

from ingest.model.alert import Alert
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach
from ingest.pipeline.ports import Batch
from ingest.runtime.allocator import keep_freed_pages
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.sink.log import KafkaCommitLog
from ingest.telemetry.metrics import SinkMetrics
from tests.kafka.apache import ApacheKafka

NOW = 1_700_000_000 * TICKS
REACH = Reach(overlap=300 * TICKS, look_back=86_400 * TICKS, first=86_400 * TICKS)
FULL_PAGE = 200


def commit_log(bootstrap: str) -> KafkaCommitLog:
    return KafkaCommitLog(
        settings=Kafka(bootstrap_servers=bootstrap.split(","), shards=1, replication_factor=1),
        client_id="restore",
        metrics=SinkMetrics(CollectorRegistry()),
        clock=SystemClock(),
        log=structlog.get_logger(),
        rng=random.Random(1),
    )


def feeds(tenants: int) -> list[FeedKey]:
    return [FeedKey(str(uuid.UUID(int=number))) for number in range(1, tenants + 1)]


async def write(bootstrap: str, tenants: int, versions: int) -> None:
    rng = random.Random(1)
    async with commit_log(bootstrap) as log, log.membership:
        for feed in feeds(tenants):
            restored = await log.restore(feed)
            state = FeedState.first(feed, now=NOW, reach=REACH)
            for start in range(0, versions, FULL_PAGE):
                alerts = [
                    Alert(
                        id=f"da{rng.randrange(10**18)}_{number}",
                        updated=NOW - (versions - number) * TICKS // 10,
                        created=NOW,
                        resolved=False,
                        raw=b"",
                        digest=rng.getrandbits(64),
                    )
                    for number in range(start, min(start + FULL_PAGE, versions))
                ]
                judgement = state.judge(
                    alerts, now=NOW, canonical=lambda one: one.digest, rejected={}, reach=REACH
                )
                step = state.advance(judgement, reach=REACH, now=NOW)
                await log.commit(Batch(feed, restored.epoch, (), step.records))
                state.apply(step)


async def read(bootstrap: str, tenants: int) -> None:
    keep_freed_pages()
    process = psutil.Process()
    gc.collect()
    before, began, peak = process.memory_info().rss, time.monotonic(), 0
    async with commit_log(bootstrap) as log, log.membership:
        states = []
        taken = 0.0
        for feed in feeds(tenants):
            restored = await log.restore(feed)
            taken = taken or time.monotonic() - began
            peak = max(peak, process.memory_info().rss)
            states.append(FeedState.decode(feed, restored.records))
        took = time.monotonic() - began
        gc.collect()
        held = process.memory_info().rss - before
        remembered = sum(state.remembered for state in states)
        print(
            f"restore: versions={remembered} tenants={tenants} shard_ready_s={taken:.1f} "
            f"all_decoded_s={took:.1f} cpu_s={sum(process.cpu_times()[:2]):.1f} "
            f"peak_mib={(peak - before) / 2**20:.0f} held_mib={held / 2**20:.0f} "
            f"bytes_for_each={held / max(1, remembered):.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restore", description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--read", metavar="BOOTSTRAP")
    arguments = parser.parse_args()
    if arguments.read:
        asyncio.run(read(arguments.read, arguments.tenants))
        return
    with ApacheKafka(heap="1g") as kafka:
        asyncio.run(write(kafka.bootstrap, arguments.tenants, arguments.versions))
        own = [sys.executable, "-m", "tests.bench.restore", "--tenants", str(arguments.tenants)]
        subprocess.run([*own, "--read", kafka.bootstrap], check=True)


if __name__ == "__main__":
    main()
