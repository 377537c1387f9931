"""Faults at random on replicas and brokers, and the audit: `python -m tests.chaos --faults 20 --seed 0`.

Three brokers of Apache Kafka, replicas of the daemon and a simulated cloud with faults of its own. What
goes wrong, when and to whom is a plan from the seed (`plan.py`); after each step every tenant has to be
fresh again, to a consumer's eyes, before the next. At the end the simulator is frozen, the replicas catch
up and stop, and the audit judges. The last line is the audit's; before it one for each kind of fault.

Fails if the audit does, if a tenant stays dark, or if a replica does not stop in good order. A replica
that ends by itself is started again, as an orchestrator does, and counted.
"""

import argparse
import asyncio
import logging
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.chaos import clock, disk
from tests.chaos.cluster import cluster
from tests.chaos.freshness import Freshness
from tests.chaos.plan import KINDS, On, Stage, Step, plan
from tests.chaos.run import Run
from tests.harness.kept import in_a_folder
from tests.harness.stage import PROGRAM


async def chaos(
    arguments: argparse.Namespace, steps: list[Step], stage: Stage, folder: Path
) -> int:
    dealt = Counter(fault.kind for step in steps for fault in step.faults)
    flags = [
        *("--tenants", str(arguments.tenants), "--seed", str(arguments.seed)),
        *("--births-per-minute", str(arguments.births), "--faults", "default"),
        *("--poll-interval", "2", "--version-seconds", "40", "--backlog", "20"),
        *("--no-limits", "--shards", "12"),
    ]
    with cluster(
        stage=stage,
        folder=folder,
        disks=not disk.lacks(),
        reserve=dealt["tenant_added"],
        flags=flags,
        secure=arguments.secure,
    ) as made:
        topic = f"{made.subject.prefix}.alerts"
        fresh = Freshness(bootstrap=made.subject.bootstrap, topic=topic, cloud=made.cloud)
        run = Run(cluster=made, fresh=fresh)
        tasks = [asyncio.ensure_future(fresh.follow()), asyncio.ensure_future(made.keep(run.say))]
        try:
            well = await run.first()
            for number, step in enumerate(steps, start=1):
                if not well:
                    run.say("not well: no more steps")
                    break
                well = await run.step(number, step)
            verdict = await run.judge()
            run.report()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await made.close()
    for line in [*made.failures, *verdict.report()]:
        print(line)
    print(verdict.line, flush=True)
    return verdict.exit_code or int(bool(made.failures))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--births", type=float, default=2000, help="a minute, in the whole fleet")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a clean run too")
    parser.add_argument("--secure", action="store_true", help="replicas come by TLS and SASL")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), metavar="KIND")
    arguments = parser.parse_args()
    arguments.seed = arguments.seed or random.SystemRandom().randrange(1, 1_000_000)
    lacks = {"disk_full": disk.lacks(), "clock_jump": clock.lacks()}
    without = {kind for kind, what in lacks.items() if what}
    if subprocess.run([*PROGRAM, "tenants", "--help"], check=False, capture_output=True).returncode:
        print("without tenants that come and go: the program has no command for it")
        without |= {kind for kind, one in KINDS.items() if one.on is On.TENANT}
    without |= set(KINDS) - set(arguments.only or KINDS)
    for kind, what in lacks.items():
        if what:
            print(f"without {kind}: this machine lacks {what}")
            if os.environ.get("CI") == "true":
                return 1
    stage = Stage(replicas=arguments.replicas, brokers=arguments.brokers)
    steps = plan(seed=arguments.seed, faults=arguments.faults, stage=stage, without=without)
    print(
        f"seed {arguments.seed}: {arguments.faults} faults in {len(steps)} steps on "
        f"{stage.replicas} replicas and {stage.brokers} brokers; "
        f"again with: make chaos FAULTS={arguments.faults} SEED={arguments.seed}"
        f"{' SECURE=1' if arguments.secure else ''}",
        flush=True,
    )
    if not disk.lacks():
        disk.own_mounts()

    async def work(folder: Path) -> int:
        # The harness's own clients have much to say of brokers that are out of order.
        form = "%(asctime)s %(name)s %(message)s"
        logging.basicConfig(filename=folder / "harness.log", format=form)
        return await chaos(arguments, steps, stage, folder)

    return in_a_folder("defender-chaos-", work, keep=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
