"""`make bench`: the daemon on a full backlog beside a bare loop, on Apache Kafka, in one run.

Prints `bench: daemon=N bare=N ratio=0.NN` in alerts per CPU-second of the client process: machines
are noisy, and the two run on the same one, in turn, on the same data.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.bench.bare import PARTITIONS
from tests.harness.stage import Arrivals, Stage, stage

_PATIENCE_SECONDS = 180


def bare(run: Stage) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bare", "--config", str(run.config)],
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE_SECONDS,
    )
    said = json.loads(done.stdout)
    return said["alerts"] / said["cpu_seconds"]


async def daemon(run: Stage, number: int, total: int) -> float:
    """Return alerts per CPU-second from ready to the last alert of the backlog readable."""
    prefix = f"bench{number}"
    unlimited = {"SOURCE__CALLS_PER_MINUTE": "1000000", "SOURCE__CALLS_PER_HOUR": "60000000"}
    with run.daemon(f"daemon-{number}", KAFKA__PREFIX=prefix, **unlimited) as child:
        child.wait_until(
            lambda: "started" in child.tail(), what="started event", timeout=_PATIENCE_SECONDS
        )
        process = psutil.Process(child.pid)
        before = sum(process.cpu_times()[:2])
        done = asyncio.Event()
        arrivals = Arrivals(run.kafka.bootstrap, f"{prefix}.alerts")
        reading = asyncio.create_task(arrivals.run(done))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while arrivals.count < total and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        spent = sum(process.cpu_times()[:2]) - before
        done.set()
        await reading
        if arrivals.count != total:
            raise SystemExit(f"bench: {arrivals.count} of {total} alerts arrived\n{child.tail()}")
    return total / spent


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--backlog", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    total = arguments.tenants * arguments.backlog
    flags = [
        *("--tenants", str(arguments.tenants), "--backlog", str(arguments.backlog)),
        *("--births-per-minute", "0", "--faults", "none", "--no-limits", "--poll-interval", "600"),
    ]
    with stage(*flags) as run:
        admin = AIOKafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
        await admin.start()
        await admin.create_topics(
            [NewTopic(name="bare.alerts", num_partitions=PARTITIONS, replication_factor=1)]
        )
        await admin.close()
        bares, daemons = [], []
        bare(run)  # warms the simulator's pages and the broker
        for number in range(arguments.rounds):
            bares.append(bare(run))
            daemons.append(await daemon(run, number, total))
            print(f"round {number + 1}: daemon={daemons[-1]:.0f} bare={bares[-1]:.0f}", flush=True)
    ours, theirs = statistics.median(daemons), statistics.median(bares)
    print(f"bench: daemon={ours:.0f} bare={theirs:.0f} ratio={ours / theirs:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
