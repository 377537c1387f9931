"""One run: its steps, what became of each, and the audit at the end."""

import asyncio
import time
from collections import Counter, defaultdict

from ingest.simulator.processes import ChildFailed
from ingest.simulator.trial import Trial
from ingest.simulator.verdict import Verdict
from tests.chaos.brokers import whole
from tests.chaos.cluster import Cluster
from tests.chaos.faults import DO
from tests.chaos.freshness import Freshness, Regained
from tests.chaos.plan import KINDS, Fault, Step

_READING_SECONDS = 10
"""So long after a tenant is fresh a reading of it may take to end: pages come in any order, so that
what is new may be read before what is old."""

_FRESH_SECONDS = 90
_WHOLE_SECONDS = 60
_DRAIN_SECONDS = 180
_FAULT_SECONDS = 180
"""Bounds: until all tenants are fresh, all partitions whole, all versions read; on one fault."""


class Run:
    """One run: its steps one after another, and what is to be told of them."""

    def __init__(self, *, cluster: Cluster, fresh: Freshness) -> None:
        self.cluster = cluster
        self.fresh = fresh
        self.began = time.monotonic()
        self.counts = Counter[str]()
        self.regained: dict[str, list[float]] = defaultdict(list)

    def say(self, words: str) -> None:
        print(f"[{time.monotonic() - self.began:7.1f} s] {words}", flush=True)

    async def first(self) -> bool:
        """Start everything; the first step may come once all tenants are read."""
        await self.cluster.open()
        found = await self.fresh.regained(self.cluster.present, at_most=_FRESH_SECONDS)
        self.cluster.outages.append((0.0, time.time() + _READING_SECONDS))
        self.say(f"started: {found.words()}")
        return self._bright(found)

    async def step(self, number: int, step: Step) -> bool:
        """Let one step happen; return whether all is well again after it."""
        await asyncio.sleep(step.quiet)
        self.say(f"step {number}: " + " + ".join(fault.words() for fault in step.faults))
        began = time.time()
        await asyncio.gather(*(self._do(fault) for fault in step.faults))
        lasted = time.time() - began
        found = await self.fresh.regained(self.cluster.present, at_most=_FRESH_SECONDS)
        self.cluster.outages.append((began, time.time() + _READING_SECONDS))
        lacking = await whole(self.cluster.subject.bootstrap, at_most=_WHOLE_SECONDS)
        self.say(f"step {number}: over after {lasted:.1f} s; {found.words()}")
        for fault in step.faults:
            self.regained[fault.kind].append(found.most)
        if lacking:
            self.cluster.failures.append(f"step {number}: {lacking} partitions lack a replica")
        return self._bright(found) and not lacking

    def _bright(self, found: Regained) -> bool:
        if found.left:
            words = f"{len(found.left)} tenants not read for {found.all:.0f} s"
            self.cluster.failures.append(
                f"{words}, such as {min(found.left)}\n{self.cluster.tails()}"
            )
        return not found.left

    async def _do(self, fault: Fault) -> None:
        await asyncio.sleep(fault.after)
        self.counts[fault.kind] += 1
        try:
            async with asyncio.timeout(_FAULT_SECONDS):
                said = await DO[fault.kind](self.cluster, fault)
        except (ChildFailed, TimeoutError, RuntimeError) as error:
            self.cluster.failures.append(f"{fault.words()}: {type(error).__name__}: {error}")
        else:
            if said:
                self.say(f"  {fault.words()}: {said}")

    async def judge(self) -> Verdict:
        """Freeze the simulator, let the replicas catch up and stop, and judge."""
        made = self.cluster
        async with Trial(subject=made.subject, cloud=made.cloud, absences=made.absences) as trial:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await trial.find_topics()
            missing = await trial.drain(at_most=_DRAIN_SECONDS)
            if missing:
                made.failures.append(f"{missing} current versions did not come")
            await asyncio.gather(*(made.stop(replica) for replica in made.wanted))
            self.say("stopped; the audit reads")
            return await trial.judge(harness_outages=made.outages, at_most=300)

    def report(self) -> None:
        """Print one line for each kind of fault."""
        for kind, count in sorted(self.cluster.cloud.faults().items()):
            print(f"simulator fault: {kind:<24} {count:>5}")
        ends = Counter(code for replica in self.cluster.replicas.values() for code in replica.ends)
        for code, count in sorted(ends.items()):
            print(f"replicas that ended by themselves with {code}: {count}")
        print(f"tracebacks in the logs of replicas: {self.cluster.tracebacks()}")
        for kind in KINDS:
            times = sorted(self.regained.get(kind, ()))
            after = (
                f"  fresh after {times[len(times) // 2]:.1f} s, at worst {times[-1]:.1f} s"
                if times
                else ""
            )
            print(f"chaos fault: {kind:<24} {self.counts[kind]:>5}{after}")
