"""Kill the daemon at random on Apache Kafka: `python -m tests.crash --runs 20 --seed 0`.

A busy fleet with faults; `kill -9` one to six seconds after the daemon began to publish, or, every other
time, after all tenants have been read again; a look at what the broker shows of open transactions, and a
new start. At the end the simulator is frozen, the daemon
catches up and stops, and the audit judges. The last line is the audit's, with `open_at_kill`: the kills
that left a transaction open. Fails if the audit does, or if fewer than a quarter of the kills did.

With `--delivery at_least_once` the brokers' authorizer allows the daemon all but transactions. The last line
has `repeated` instead: what a kill explains that is there again; anything else that is there twice fails.
"""

import argparse
import asyncio
import random
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from ingest.simulator.processes import Child, ChildFailed
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from ingest.sink.layout import TopicNames
from ingest.sink.rights import daemon
from tests.chaos.freshness import Freshness
from tests.crash.offsets import Offsets
from tests.harness.kept import in_a_folder
from tests.harness.stage import stage
from tests.kafka.secured import ByScram

PUBLISHING_SECONDS = 60
REGAIN_SECONDS = 20
RECONCILE_SECONDS = 20.0
LEAST_SHARE_OPEN = 0.25


class Harness:
    """Starts and kills one daemon over and over."""

    def __init__(
        self, *, daemon: Child, offsets: Offsets, fresh: Freshness, rng: random.Random
    ) -> None:
        self.daemon = daemon
        self.offsets = offsets
        self.fresh = fresh
        self.rng = rng
        self.outages: list[tuple[float, float]] = []
        self.kills: list[float] = []
        self.open_at_kill = 0
        self.down_since = 0.0

    async def start(self) -> None:
        """Start the daemon; return once it publishes."""
        before = await self.offsets.written()
        self.daemon.start()
        deadline = time.monotonic() + PUBLISHING_SECONDS
        while await self.offsets.written() == before:
            if not self.daemon.running or time.monotonic() > deadline:
                raise ChildFailed(f"the daemon does not publish\n{self.daemon.tail()}")
            await asyncio.sleep(0.1)

    async def regain(self, tenants: set[str]) -> None:
        """Wait until all tenants are read again: so long nobody could count on being read.

        Some are out of reach by the simulator's own faults, so the wait is bounded.
        """
        since = time.time()
        while self.fresh.behind(tenants, since) and time.time() < since + REGAIN_SECONDS:
            await asyncio.sleep(0.1)
        self.outages.append((self.down_since, time.time()))
        self.down_since = float("inf")

    async def kill(self, number: int) -> None:
        """Let it publish for a while, kill it, and look at the broker."""
        lived = self.rng.uniform(1, 6)
        await asyncio.sleep(lived)
        if not self.daemon.running:
            raise ChildFailed(f"the daemon ended by itself\n{self.daemon.tail()}")
        self.daemon.kill()
        self.kills.append(time.time())
        # Killed before all were read again, it has been away all the while.
        self.down_since = min(self.down_since, time.time())
        found = await self.offsets.open()
        self.open_at_kill += bool(found)
        print(
            f"kill {number}: after {lived:.1f} s of publishing, "
            f"{len(found)} partitions with an open transaction",
            *found[:3],
            flush=True,
        )


async def crash(arguments: argparse.Namespace, folder: Path) -> int:
    flags = [
        *("--tenants", str(arguments.tenants), "--seed", str(arguments.seed)),
        *("--births-per-minute", str(arguments.births), "--faults", "default"),
        *("--poll-interval", "1", "--version-seconds", "40", "--backlog", "100", "--no-limits"),
    ]
    acknowledged = arguments.delivery == "at_least_once"
    secured = ByScram(daemon(TopicNames("defender"), creates=True, transacts=False))
    with stage(*flags, folder=folder, secured=secured if acknowledged else None) as run:
        # What changes without its time is found by the reconciling readings only.
        # Whoever judges comes by the plain listener.
        subject = replace(
            Subject.of(run.config),
            poll_interval=RECONCILE_SECONDS,
            bootstrap=run.kafka.bootstrap,
            kafka={},
        )
        cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
        topics = [f"{subject.prefix}.{name}" for name in ("alerts", "quarantine", "checkpoints")]
        tenants = {one["id"] for one in cloud.tenants()}
        fresh = Freshness(bootstrap=subject.bootstrap, topic=topics[0], cloud=cloud)
        following = asyncio.create_task(fresh.follow())
        async with Offsets(bootstrap=subject.bootstrap, topics=topics) as offsets:
            with ExitStack() as stack:
                # Readings overlap by little, so that most of the work is publishing.
                child = run.daemon(
                    KAFKA__DELIVERY=arguments.delivery,
                    POLL__OVERLAP_SECONDS="10",
                    POLL__RECONCILE_INTERVAL_SECONDS=str(RECONCILE_SECONDS),
                    KAFKA__SESSION_TIMEOUT_SECONDS="6",
                )
                stack.callback(child.kill)
                rng = random.Random(arguments.seed)
                harness = Harness(daemon=child, offsets=offsets, fresh=fresh, rng=rng)
                for number in range(1, arguments.runs + 1):
                    await harness.start()
                    if number % 2 == 0:
                        await harness.regain(tenants)
                    await harness.kill(number)
                await harness.start()
                await harness.regain(tenants)
                following.cancel()
                async with Trial(subject=subject, cloud=cloud) as trial:
                    await trial.find_topics()
                    missing = await trial.drain(at_most=120)
                    if missing:
                        print(f"{missing} current versions did not come")
                    code = await asyncio.to_thread(child.stop, timeout=40)
                    verdict = await trial.judge(
                        harness_outages=harness.outages,
                        killed=harness.kills if acknowledged else (),
                    )
        for kind, count in sorted(cloud.faults().items()):
            print(f"fault injected: {kind:<20} {count:>6}")
        for line in verdict.report():
            print(line)
        if code:
            print(f"the daemon did not stop in good order: exit code {code}\n{child.tail()}")
        if acknowledged:
            print(f"{verdict.line} repeated={verdict.repeated}", flush=True)
            return verdict.exit_code or int(bool(code))
        rarely = harness.open_at_kill < LEAST_SHARE_OPEN * arguments.runs
        if rarely:
            print("too few kills hit an open transaction: this run proves little")
        print(f"{verdict.line} open_at_kill={harness.open_at_kill}", flush=True)
        return verdict.exit_code or int(bool(code) or rarely)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--births", type=float, default=6_000, help="a minute, in the whole fleet")
    parser.add_argument(
        "--delivery", choices=["exactly_once", "at_least_once"], default="exactly_once"
    )
    arguments = parser.parse_args()
    return in_a_folder("defender-crash-", partial(crash, arguments))


if __name__ == "__main__":
    sys.exit(main())
