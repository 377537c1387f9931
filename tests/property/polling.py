"""A machine of pollers that read one feed one after another, each of which can crash at any await."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.model.window import Tier
from ingest.pipeline.ports import Topic
from tests.fakes.process import Fate
from tests.fakes.vendor import Vendor, content_of
from tests.fakes.virtual_loop import VirtualLoop
from tests.property.daemons import Daemon, Kafka
from tests.property.reader import Findings
from tests.property.worlds import BEGIN, CALM, MINUTE, SPAN, World, hostile, worlds

CAPS = (None, 25, 33)
WORLDS = worlds(caps=CAPS, alerts=(5, 60), quirks=st.just(CALM) | hostile(CAPS))
FATES = st.none() | st.sampled_from(Fate)
SECONDS = st.sampled_from([10.0, 0.1, 0.01])


class Polling(RuleBasedStateMachine):
    """The real poller, state and sweep; a consumer sees each version once, in order, and none too few."""

    daemon_class = Daemon

    @initialize(world=WORLDS)
    def start(self, world: World):
        self.loop = VirtualLoop()
        self.world, self.rng = world, world.rng("machine")
        self.findings = Findings(world.versions())
        self.vendor = Vendor(world.versions(), world.quirks, now=BEGIN, rng=world.rng("vendor"))
        self.kafka = Kafka()
        self.daemons: list[Daemon] = []
        self.take_over()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.nothing_is_missing_once_faults_stop()
            self.a_consumer_sees_each_version_once_and_in_order()
        finally:
            for daemon in self.daemons:
                daemon.process.kill()
            while tasks := {task for daemon in self.daemons for task in daemon.process.tasks}:
                self._run(asyncio.wait(tasks))
            self.loop.close()

    @property
    def daemon(self) -> Daemon:
        return self.daemons[-1]

    @rule()
    def take_over(self):
        """Another process takes the tenant over, whether the one before is dead, frozen or well."""
        self._run(self._begin())

    @precondition(lambda self: self._is_idle)
    @rule(tier=st.sampled_from(Tier), fate=FATES, passages=st.integers(0, 30), seconds=SECONDS)
    def read(self, tier, fate, passages, seconds):
        self.daemon.process.doom(fate, passages)
        self._run(self._read(tier))
        self.let_it_work(seconds)

    @rule(seconds=SECONDS)
    def let_it_work(self, seconds):
        self._run(asyncio.sleep(seconds))

    @rule()
    def wake_the_frozen(self):
        for daemon in self.daemons:
            daemon.process.wake()

    @rule(minutes=st.integers(1, 12))
    def pass_time(self, minutes):
        self.vendor.pass_time(minutes * MINUTE)

    @rule(failure=st.sampled_from(["before", "after", "reject"]))
    def trouble_the_next_commit(self, failure):
        self.kafka.failures.append(failure)

    @rule(times=st.integers(1, 8))
    def cut_the_line(self, times):
        self.daemon.trouble = times

    @invariant()
    def a_consumer_sees_each_version_once_and_in_order(self):
        alerts = self._seen(Topic.ALERTS)
        everything = alerts + self._seen(Topic.QUARANTINE)
        assert len(set(everything)) == len(everything)
        newest: dict[str, int] = {}
        for id_, number in alerts:
            assert number > newest.get(id_, -1)
            newest[id_] = number

    @invariant()
    def no_defect_ends_a_reading(self):
        for daemon in self.daemons:
            if daemon.reading and daemon.reading.done() and not daemon.reading.cancelled():
                daemon.reading.result()

    def nothing_is_missing_once_faults_stop(self) -> None:
        self.kafka.failures.clear()
        self.vendor.pass_time(max(0, BEGIN + SPAN + 90 * MINUTE - self.vendor.now))
        self.take_over()
        for tier in (Tier.FAST, Tier.SLOW):
            self._run(self._read(tier))
            self._run(asyncio.wait_for(self.daemon.reading, 600))
        if any(cycle.doubts for daemon in self.daemons for cycle in daemon.cycles):
            return
        now = self.vendor.now
        shown = {v.content for v in self.findings.shown(now, now) if v.updated <= now}
        assert shown <= {*self._seen(Topic.ALERTS), *self._seen(Topic.QUARANTINE)}

    @property
    def _is_idle(self) -> bool:
        reading = self.daemon.reading
        return self.daemon.process.is_well and (reading is None or reading.done())

    def _seen(self, topic: Topic) -> list[tuple[str, int]]:
        return [content_of(r.value) for r in self.kafka.published if r.topic is topic]

    async def _begin(self) -> None:
        self.daemons.append(self.daemon_class(self.kafka, self.vendor, self.world, self.rng))

    async def _read(self, tier: Tier) -> None:
        self.daemon.read(tier)

    def _run(self, work) -> None:
        self.loop.run_until_complete(work)
