"""Measure a fleet: `python -m tests.bench.fleet --tenants 10000 --round-trip 50 [--soak 3600] [--hostile]`.

Prints how soon after the start of the process every tenant was read to the end, for the first time ever and
after a restart; the daemon's CPU share and memory; how long an alert takes from visible in the API to
readable by a `read_committed` consumer; and the audit's line. With `--soak SECONDS`, memory is watched for so
long. With `--hostile`, the run is done twice, the second time with one tenant that is hostile in every
way; the last line compares the others' p99.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from ingest.simulator.faults import KINDS
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.times import TICKS, read_instant
from ingest.simulator.trial import Subject, Trial
from tests.harness.stage import Arrivals, Stage, Usage, delays, percentile, stage
from tests.harness.trend import Trend

_LISTENING = re.compile(rb'"listening": ?"([^"]+)"')
_START_SECONDS = 600
_LOOK_SECONDS = 2.5
_SAMPLE_SECONDS = 5
_SOAK_SAMPLE_SECONDS = 60
_FLAT = 0.02
_RECONCILE_SECONDS = 3600


class Measure:
    """One run of one daemon."""

    def __init__(self, run: Stage, arguments: argparse.Namespace, *, hostile: bool) -> None:
        self.run = run
        self.arguments = arguments
        self.hostile = hostile
        self.rng = random.Random(arguments.seed)
        self.victim = next(iter(run.versions()))["tenant"]
        look_back = str(arguments.look_back)
        self.child = run.daemon(
            POLL__PARKED_PROBE_SECONDS="10",
            POLL__RECONCILE_INTERVAL_SECONDS=str(_RECONCILE_SECONDS),
            POLL__RECONCILE_LOOK_BACK_SECONDS=look_back,
        )
        self.url = ""
        self.stopped = 0.0
        self.downs: list[tuple[float, float]] = []

    def say(self, what: str, **figures: Any) -> None:
        words = " ".join(f"{name}={value}" for name, value in figures.items())
        print(f"fleet: {what} {words}", flush=True)

    async def start(self, what: str) -> None:
        """Start the daemon and wait until every tenant was read to the end."""
        said = self.child.out.stat().st_size if self.child.out.exists() else 0
        began = time.time()
        self.child.start()
        process = psutil.Process(self.child.pid)
        await asyncio.to_thread(
            self.child.wait_until,
            lambda: b'"event": "started"' in _from(self.child.out, said),
            what="started event",
            timeout=_START_SECONDS,
        )
        serving = time.time()
        self.url = _LISTENING.findall(_from(self.child.out, said))[-1].decode()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            states = (await asyncio.to_thread(_status, self.url, 0))["states"]
            if states["healthy"] >= self.arguments.tenants:
                break
            if time.time() - began > _START_SECONDS:
                raise SystemExit(f"fleet: {states} after {_START_SECONDS} s")
        seen = time.time()
        times = process.cpu_times()
        feeds = (await asyncio.to_thread(_status, self.url, 100_000))["feeds"]
        last = max(read_instant(feed["since"]) / TICKS for feed in feeds)
        if last < began:
            # It was well before the restart too, which does not change since when it is.
            last = seen
        self.downs.append((self.stopped or began, last))
        self.say(
            what,
            tenants=self.arguments.tenants,
            serving_s=f"{serving - began:.1f}",
            all_read_s=f"{last - began:.1f}",
            cpu_s=f"{times.user + times.system:.1f}",
            rss_mib=_mib(process.memory_info().rss),
        )

    async def steady(self, arrivals: Arrivals) -> float:
        """Measure the usual; return the p99 of the delays, in seconds."""
        before = await asyncio.to_thread(_counts, self.url)
        usage = Usage(psutil.Process(self.child.pid))
        simulator = Usage(psutil.Process(self.run.simulator.pid))
        since = time.time()
        end = time.monotonic() + self.arguments.minutes * 60
        while time.monotonic() < end:
            if self.hostile:
                for kind in self.rng.sample(list(KINDS), len(KINDS)):
                    fault = {"tenant": self.victim, "kind": kind, "count": 1}
                    await asyncio.to_thread(self.run.admin, "faults", fault)
            usage.sample()
            await asyncio.sleep(_SAMPLE_SECONDS)
        share, beside = usage.share(), simulator.share()
        lasted = time.monotonic() - usage.began
        after = await asyncio.to_thread(_counts, self.url)
        rates = {
            f"{name}_a_second": f"{(after[name] - before[name]) / lasted:.0f}" for name in after
        }
        await asyncio.sleep(self.arguments.interval + 5)
        tenants = {version["tenant"] for version in self.run.versions()} - {self.victim}
        seconds = delays(self.run, arrivals, since=since, tenants=tenants)
        p99 = percentile(seconds, 0.99)
        self.say(
            "steady",
            tenants=self.arguments.tenants,
            interval_s=self.arguments.interval,
            minutes=self.arguments.minutes,
            hostile=int(self.hostile),
            versions=len(seconds),
            cpu_share=f"{share:.3f}",
            simulator_share=f"{beside:.3f}",
            **rates,
            rss_max_mib=_mib(max(usage.rss)),
            rss_last_mib=_mib(usage.rss[-1]),
            p50_s=f"{percentile(seconds, 0.5):.2f}",
            p99_s=f"{p99:.2f}",
        )
        return p99

    async def soak(self) -> None:
        """Watch memory, once it is settled."""
        process = psutil.Process(self.child.pid)
        await asyncio.sleep(self.arguments.settle)
        usage = Usage(process)
        samples: list[tuple[float, float]] = []
        began = time.monotonic()
        while (at := time.monotonic() - began) <= self.arguments.soak:
            samples.append((at, float(process.memory_info().rss)))
            self.say("soak", minute=f"{at / 60:.0f}", rss_mib=_mib(samples[-1][1]))
            await asyncio.sleep(_SOAK_SAMPLE_SECONDS)
        trend = Trend.of(samples)
        tokens = json.loads(self.run.admin("summary"))["tokens"]
        self.say(
            "soak",
            seconds=f"{at:.0f}",
            cpu_share=f"{usage.share():.3f}",
            token_requests=tokens,
            rss_first_mib=_mib(samples[0][1]),
            rss_last_mib=_mib(samples[-1][1]),
            rss_slope_an_hour=f"{trend.slope:+.2%}",
            rss_spread=f"{trend.spread:.2%}",
            rss_flat=int(trend.spread <= _FLAT),
        )

    async def whole(self) -> tuple[float, int]:
        """Start, measure, restart, judge; return the p99 and the audit's exit code."""
        subject = Subject.of(self.run.config)
        cloud = RemoteCloud(url=self.run.ready["url"], ca_file=Path(self.run.ready["ca_file"]))
        done = asyncio.Event()
        arrivals = Arrivals(subject.bootstrap, f"{subject.prefix}.alerts")
        reading = asyncio.create_task(arrivals.run(done))
        async with Trial(subject=subject, cloud=cloud) as trial:
            await self.start("cold_start")
            await trial.find_topics()
            # What all of them do after a start is over: the first readings, and the first reconciliations.
            await asyncio.sleep(max(self.arguments.interval, _RECONCILE_SECONDS / 10) + 15)
            p99 = await self.steady(arrivals)
            if self.arguments.soak:
                await self.soak()
            if self.hostile:
                # It would be left alone for minutes yet after so many failures in a row.
                await asyncio.to_thread(self.run.admin, "heal", {"tenant": self.victim})
            if self.arguments.restart or self.hostile:
                self.stopped = time.time()
                await asyncio.to_thread(self.child.stop)
                await self.start("restart")
            if missing := await trial.drain(at_most=4 * self.arguments.interval):
                print(f"{missing} current versions did not come")
            done.set()
            await reading
            peak = _peak_kib(self.child.pid)
            code = await asyncio.to_thread(self.child.stop)
            self.say("stopped", exit_code=code, rss_peak_mib=f"{peak / 1024:.0f}")
            verdict = await trial.judge(harness_outages=self.downs, at_most=300)
        for line in verdict.report():
            print(line)
        print(verdict.line, flush=True)
        return p99, verdict.exit_code


def _from(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


def _status(url: str, limit: int) -> Any:
    with urllib.request.urlopen(f"{url}/status?limit={limit}", timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())


def _counts(url: str) -> dict[str, float]:
    """Return how many readings, calls and transactions there were."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    names = {"sweeps": "sweeps", "calls": "source_requests", "transactions": "transactions"}
    return {
        short: sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(f"defender_ingest_{name}_total{{")
        )
        for short, name in names.items()
    }


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f}"


def _peak_kib(pid: int) -> int:
    words = Path(f"/proc/{pid}/status").read_text().split()
    return int(words[words.index("VmHWM:") + 1])


async def measure(arguments: argparse.Namespace, *, hostile: bool) -> tuple[float, int]:
    flags = [
        *("--tenants", str(arguments.tenants), "--faults", "none", "--seed", str(arguments.seed)),
        *("--poll-interval", str(arguments.interval), "--backlog", str(arguments.backlog)),
        *("--births-per-minute", str(arguments.births), "--shards", str(arguments.shards)),
        *("--round-trip-milliseconds", str(arguments.round_trip), "--version-seconds", "120"),
    ]
    with stage(*flags) as run:
        measuring = Measure(run, arguments, hostile=hostile)
        try:
            return await measuring.whole()
        finally:
            measuring.child.kill()


async def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=60)
    parser.add_argument("--minutes", type=float, default=5, help="of the steady state")
    parser.add_argument("--births", type=float, default=1000, help="a minute, in the whole fleet")
    parser.add_argument("--backlog", type=int, default=5, help="alerts of each tenant at the start")
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--round-trip", type=float, default=50, help="milliseconds")
    parser.add_argument("--look-back", type=float, default=900, help="seconds of remembered alerts")
    parser.add_argument("--soak", type=float, default=0, help="seconds")
    parser.add_argument("--settle", type=float, default=1200, help="seconds before the soak")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--restart", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--hostile", action="store_true")
    arguments = parser.parse_args()
    calm, code = await measure(arguments, hostile=False)
    if arguments.hostile:
        beside, again = await measure(arguments, hostile=True)
        code = code or again
        print(f"hostile: p99_calm_s={calm:.2f} p99_beside_s={beside:.2f} ratio={beside / calm:.2f}")
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
