"""Three replicas under load: `python -m tests.bench.replicas --tenants 3000`.

One is killed; all are restarted one after another; a tenant is added and removed by command. Prints, by the
simulator's own clock, how soon the killed one's tenants were called again, how late anybody else was, how
long a `read_committed` reader waited for what was written, and at the end the audit's line.
"""

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiokafka import AIOKafkaConsumer

from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from tests.harness.stage import PROGRAM, Stage, stage

_LISTENING = re.compile(r'"listening": ?"([^"]+)"')
_START_SECONDS = 60
LIMITS = {
    "taken over": 10.0,
    "others late": 2.0,
    "reader stalled": 12.0,
    "stopped": 3.0,
    "rolling restart gap over interval": 10.0,
    "added": 5.0,
    "removed": 5.0,
}


@dataclass
class Stalls:
    """Reads along and notes how long what was written could not be read."""

    bootstrap: str
    topic: str
    worst: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        consumer = AIOKafkaConsumer(
            self.topic,
            bootstrap_servers=self.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="latest",
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            while not self.done.is_set():
                polled = await consumer.getmany(timeout_ms=200)
                now = time.time()
                for records in polled.values():
                    oldest = min(record.timestamp for record in records)
                    self.worst = max(self.worst, now - oldest / 1000)
        finally:
            await consumer.stop()

    def lap(self) -> float:
        """Return the worst since the last lap."""
        worst, self.worst = self.worst, 0.0
        return worst


class Replica:
    def __init__(self, run: Stage, number: int, session: float) -> None:
        self.child = run.daemon(
            f"replica-{number}", LISTEN__PORT="0", KAFKA__SESSION_TIMEOUT_SECONDS=str(session)
        )

    def start(self) -> None:
        self._from = self.child.out.stat().st_size if self.child.out.exists() else 0
        self.child.start()
        self.child.wait_until(self._says_started, what="started event", timeout=_START_SECONDS)

    def _said(self) -> str:
        with self.child.out.open() as file:
            file.seek(self._from)
            return file.read()

    def _says_started(self) -> bool:
        return '"event": "started"' in self._said()

    def tenants(self) -> set[str]:
        url = _LISTENING.findall(self._said())[-1]
        with urllib.request.urlopen(f"{url}/status?limit=100000", timeout=30) as answer:  # noqa: S310
            return {one["tenant"] for one in json.loads(answer.read())["feeds"]}


def gaps(
    times: dict[str, list[float]], since: float, until: float, tenants: set[str]
) -> list[float]:
    """Return each tenant's longest time without a call that began before `until`."""
    longest = []
    for tenant in tenants:
        calls = [at for at in times[tenant] if at >= since]
        pairs = [(a, b) for a, b in itertools.pairwise(calls) if a < until]
        longest.append(max((b - a for a, b in pairs), default=float("inf")))
    return longest


async def settle(replicas: list[Replica], tenants: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        placed = [await asyncio.to_thread(one.tenants) for one in replicas if one.child.running]
        if sum(map(len, placed)) == tenants == len(set().union(*placed)):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"replicas: {list(map(len, placed))} of {tenants} are placed")
        await asyncio.sleep(0.5)


class Measure:
    """One run: what was measured, and what was over its limit."""

    def __init__(self, run: Stage, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.subject = Subject.of(run.config)
        self.cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
        self.replicas = [Replica(run, number, arguments.session) for number in range(3)]
        self.stalls = Stalls(self.subject.bootstrap, f"{self.subject.prefix}.alerts")
        self.outages: list[tuple[float, float]] = []
        self.config = run.config
        content = yaml.safe_load(run.config.read_text())
        # One customer is not known yet: it is added while all runs.
        self.newcomer = content["tenants"].pop()
        run.config.write_text(yaml.safe_dump(content))
        self.absences: dict[str, list[tuple[float, float | None]]] = {}
        self.failed: list[str] = []

    def judge(self, name: str, value: float) -> None:
        limit = LIMITS[name]
        print(f"replicas: {name}_s={value:.2f} limit={limit:g}", flush=True)
        if not value <= limit:
            self.failed.append(name)

    async def start(self, *replicas: Replica) -> None:
        for one in replicas:
            await asyncio.to_thread(one.start)
        await settle(self.replicas, self.arguments.tenants - 1, 60)

    async def call_times(self) -> dict[str, list[float]]:
        return await asyncio.to_thread(lambda: json.loads(self.cloud.get("call-times")))

    async def kill_one(self) -> None:
        """Kill a replica; its tenants are called elsewhere soon, and nobody else is late."""
        interval = self.arguments.interval
        victim = self.replicas[0]
        theirs = await asyncio.to_thread(victim.tenants)
        killed = time.time()
        victim.child.kill()
        await asyncio.sleep(self.arguments.session + 2 * interval)
        times = await self.call_times()
        times.pop(self.newcomer["id"])
        again = [min((t for t in times[x] if t > killed), default=float("inf")) for x in theirs]
        self.judge("taken over", max(again) - killed)
        late = max(gaps(times, killed - interval, time.time(), set(times) - theirs))
        self.judge("others late", late - interval)
        self.judge("reader stalled", self.stalls.lap())
        self.outages.append((killed, max(again)))
        await self.start(victim)

    async def roll(self) -> None:
        """Restart all replicas, one after another."""
        interval = self.arguments.interval
        since = time.time()
        for one in self.replicas:
            asked = time.monotonic()
            code = await asyncio.to_thread(one.child.stop)
            self.judge("stopped", time.monotonic() - asked)
            if code:
                self.failed.append(f"exit code {code}")
            await self.start(one)
        rolled = time.time()
        await asyncio.sleep(2 * interval)
        times = await self.call_times()
        times.pop(self.newcomer["id"])
        worst = max(gaps(times, since - interval, rolled, set(times)))
        self.judge("rolling restart gap over interval", worst - interval)
        self.judge("reader stalled", self.stalls.lap())

    async def come_and_go(self) -> None:
        """Add a tenant and remove it again, by the program's own commands."""
        one = self.newcomer
        words = ["add", one["id"], "--name", one["name"], "--region", one["region"]]
        added = await self.command(*words)
        await asyncio.sleep(3 * self.arguments.interval)
        removed = await self.command("remove", one["id"])
        await asyncio.sleep(2 * self.arguments.interval)
        calls = (await self.call_times())[one["id"]]
        self.judge("added", min(calls, default=float("inf")) - added)
        self.judge("removed", max(0.0, max(calls, default=0.0) - removed))
        last = removed - self.arguments.interval - 5
        self.absences[one["id"]] = [(0.0, added), (last, None)]

    async def command(self, *words: str) -> float:
        """Run a command on tenants; return when it was done."""
        command = [*PROGRAM, "tenants", *words, "--config", str(self.config)]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        return time.time()

    async def run(self) -> int:
        interval = self.arguments.interval
        began = time.time()
        await self.start(*self.replicas)
        self.outages.append((began, time.time() + interval))
        reading = asyncio.create_task(self.stalls.run())
        async with Trial(subject=self.subject, cloud=self.cloud) as trial:
            await trial.find_topics()
            await asyncio.sleep(3 * interval)
            print(f"replicas: calm reader_stalled_s={self.stalls.lap():.2f}", flush=True)
            await self.kill_one()
            await asyncio.sleep(2 * interval)
            await self.roll()
            await self.come_and_go()
            trial.absent(self.absences)
            if missing := await trial.drain(at_most=120):
                print(f"{missing} current versions did not come")
            self.stalls.done.set()
            await reading
            for one in self.replicas:
                await asyncio.to_thread(one.child.stop)
            verdict = await trial.judge(harness_outages=self.outages)
        for line in verdict.report():
            print(line)
        if self.failed:
            print(f"over the limit: {', '.join(self.failed)}")
        print(verdict.line, flush=True)
        return verdict.exit_code or int(bool(self.failed))


async def measure(arguments: argparse.Namespace) -> int:
    flags = [
        *("--tenants", str(arguments.tenants), "--faults", "none", "--seed", "1"),
        *("--poll-interval", str(arguments.interval), "--backlog", "5", "--shards", "32"),
        *("--births-per-minute", str(arguments.births), "--version-seconds", "120"),
    ]
    with stage(*flags) as run:
        measuring = Measure(run, arguments)
        try:
            return await measuring.run()
        finally:
            for one in measuring.replicas:
                one.child.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replicas", description=__doc__)
    parser.add_argument("--tenants", type=int, default=3000)
    parser.add_argument("--interval", type=float, default=20)
    parser.add_argument("--births", type=float, default=3000, help="a minute, in the whole fleet")
    parser.add_argument("--session", type=float, default=6)
    return asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
