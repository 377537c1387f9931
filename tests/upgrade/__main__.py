"""Two releases in one group, under load, on Apache Kafka: `python -m tests.upgrade --former PROGRAM`.

Three replicas of the former release; each is replaced by the present one, one after another, and then back.
At the end the simulator is frozen, the last replicas catch up and stop, and the audit judges: nothing lost,
twice or disordered, on the way up and on the way down. PROGRAM is the former release's `defender-ingest`, in
an environment of its own; without it both are the present one, which tries the harness.
"""

import argparse
import asyncio
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ingest.simulator.processes import Child
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from tests.harness.kept import in_a_folder
from tests.harness.stage import PROGRAM, Stage, stage

REPLICAS = 3
READY_SECONDS = 60
RECONCILE_SECONDS = 20.0


class Place:
    """One replica's place: now a process of this release, now of that one."""

    def __init__(self, run: Stage, number: int) -> None:
        self._run = run
        self._number = number
        self._starts = 0
        self.child: Child | None = None

    async def become(self, program: Sequence[str]) -> None:
        """Stop what runs here, in good order, and start a release in its place; return once it is ready."""
        self.stop()
        self._starts += 1
        self.child = Child(
            name=f"replica-{self._number}-{self._starts}",
            command=[*program, "run", "--config", str(self._run.config)],
            folder=self._run.folder,
            env={
                "DEFENDER_INGEST_LISTEN__PORT": "0",
                "DEFENDER_INGEST_POLL__RECONCILE_INTERVAL_SECONDS": str(RECONCILE_SECONDS),
                "DEFENDER_INGEST_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            },
        )
        self.child.start()
        await asyncio.to_thread(
            self.child.wait_until, self._ready, what="ready", timeout=READY_SECONDS
        )

    def stop(self) -> None:
        """Stop what runs here, which must end in good order and without an error."""
        if self.child is None:
            return
        code = self.child.stop(timeout=40)
        said = [json.loads(line) for line in self.child.out.read_text().splitlines()]
        # The client library calls what it meets at brokers an error, and goes on.
        ours = [one for one in said if "logger" not in one]
        errors = [one for one in ours if one["level"] in ("error", "critical")]
        self.child = None
        if code or errors:
            raise RuntimeError(f"replica {self._number} ended with {code}: {errors[-3:]}")

    def kill(self) -> None:
        """End what is left of it."""
        if self.child is not None:
            self.child.kill()

    def _ready(self) -> bool:
        assert self.child is not None
        found = re.search(r'"listening": ?"([^"]+)"', self.child.out.read_text())
        if not found:
            return False
        try:
            urllib.request.urlopen(f"{found[1]}/readyz", timeout=10).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return False
        return True


async def roll(arguments: argparse.Namespace, folder: Path) -> int:
    """Roll up and down, and judge."""
    present = list(PROGRAM)
    former = [arguments.former] if arguments.former else present
    flags = [
        *("--tenants", str(arguments.tenants), "--seed", str(arguments.seed)),
        *("--births-per-minute", str(arguments.births), "--faults", "default"),
        *("--poll-interval", "1", "--version-seconds", "40", "--backlog", "50", "--no-limits"),
    ]
    with stage(*flags, folder=folder) as run:
        subject = Subject.of(run.config)
        cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
        places = [Place(run, number) for number in range(REPLICAS)]
        moves: list[tuple[float, float]] = []
        try:
            for release, program in (("former", former), ("present", present), ("former", former)):
                for place in places:
                    began = time.time()
                    await place.become(program)
                    moves.append((began, time.time()))
                print(f"all replicas are of the {release} release", flush=True)
                await asyncio.sleep(arguments.seconds)
            async with Trial(subject=subject, cloud=cloud) as trial:
                await trial.find_topics()
                if missing := await trial.drain(at_most=120):
                    print(f"{missing} current versions did not come")
                for place in places:
                    await asyncio.to_thread(place.stop)
                verdict = await trial.judge(harness_outages=moves)
        finally:
            for place in places:
                place.kill()
    for line in verdict.report():
        print(line)
    print(verdict.line, flush=True)
    return verdict.exit_code


def main() -> int:
    """Run it; logs are kept where it failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--former", metavar="PROGRAM", help="the former release's defender-ingest")
    parser.add_argument("--tenants", type=int, default=60)
    parser.add_argument("--births", type=float, default=1_200, help="a minute, in the whole fleet")
    parser.add_argument("--seconds", type=float, default=10, help="between one roll and the next")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return in_a_folder("defender-upgrade-", partial(roll, arguments))


if __name__ == "__main__":
    sys.exit(main())
