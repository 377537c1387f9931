"""Measure a fleet: `python -m tests.bench.fleet --tenants 2000 --minutes 10 [--hostile]`.

Prints the daemon's CPU share and memory, and how long an alert takes from visible in the API to
readable by a `read_committed` consumer. With `--hostile`, the same run is done twice, the second time
with one tenant that is hostile in every way; the last line compares the others' p99.
"""

import argparse
import asyncio
import random
import time

import psutil

from ingest.simulator.faults import KINDS
from tests.harness.stage import Arrivals, Usage, delays, percentile, stage


async def measure(arguments: argparse.Namespace, *, hostile: bool) -> tuple[float, float]:
    flags = [
        *("--tenants", str(arguments.tenants), "--faults", "none", "--seed", str(arguments.seed)),
        *("--poll-interval", str(arguments.interval)),
        *("--births-per-minute", str(arguments.births)),
    ]
    with stage(*flags) as run, run.daemon(POLL__PARKED_PROBE_SECONDS="10") as daemon:
        rng = random.Random(arguments.seed)
        victim = next(iter(run.versions()))["tenant"]
        done = asyncio.Event()
        arrivals = Arrivals(run.kafka.bootstrap, "defender.alerts")
        reading = asyncio.create_task(arrivals.run(done))
        # The first interval is the start; what is measured comes after it.
        await asyncio.sleep(arguments.interval + 15)
        usage = Usage(psutil.Process(daemon.pid))
        since = time.time()
        end = time.monotonic() + arguments.minutes * 60
        while time.monotonic() < end:
            if hostile:
                for kind in rng.sample(list(KINDS), len(KINDS)):
                    run.admin("faults", {"tenant": victim, "kind": kind, "count": 1})
            usage.sample()
            await asyncio.sleep(5)
        share = usage.share()
        await asyncio.sleep(arguments.interval + 5)
        done.set()
        await reading
        tenants = {version["tenant"] for version in run.versions()} - {victim}
        seconds = delays(run, arrivals, since=since, tenants=tenants)
        p99 = percentile(seconds, 0.99)
        print(
            f"fleet: tenants={arguments.tenants} interval_s={arguments.interval} "
            f"minutes={arguments.minutes} hostile={int(hostile)} versions={len(seconds)} "
            f"cpu_share={share:.3f} rss_max_mib={max(usage.rss) / 2**20:.0f} "
            f"rss_last_mib={usage.rss[-1] / 2**20:.0f} p50_s={percentile(seconds, 0.5):.2f} "
            f"p99_s={p99:.2f}",
            flush=True,
        )
        return p99, max(usage.rss) / 2**20


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=60)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--births", type=float, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hostile", action="store_true")
    arguments = parser.parse_args()
    calm, _ = await measure(arguments, hostile=False)
    if arguments.hostile:
        beside, _ = await measure(arguments, hostile=True)
        print(f"hostile: p99_calm_s={calm:.2f} p99_beside_s={beside:.2f} ratio={beside / calm:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
