"""A machine of claims: the real membership asks a coordinator whose view it learns late."""

import asyncio
import random
from collections import deque
from types import SimpleNamespace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry

from ingest.errors import NotOwner
from ingest.sink.membership import Membership
from ingest.telemetry.metrics import SinkMetrics
from tests.fakes.clock import LoopClock
from tests.fakes.coordinator import INSTANCE, SHARDS, TOPIC, Coordinator
from tests.fakes.virtual_loop import VirtualLoop
from tests.property.replicas import SILENT

_PLACED = st.frozensets(st.sampled_from(SHARDS))
_SECONDS = st.sampled_from([0.01, 0.1, 1.0, 6.0])
_LATENCIES = st.sampled_from([0.0, 0.2, 1.0, 12.0])
_CALM_SECONDS = 20
_WATCHED_SECONDS = 20
"""Seven observations, one every two seconds, and some more."""


class Claiming(RuleBasedStateMachine):
    """What the coordinator decides is learned in order, and late."""

    membership_class: type[Membership] = Membership

    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed):
        self.loop = VirtualLoop()
        self.coordinator = Coordinator()
        self.membership = self.membership_class(
            connection=SimpleNamespace(admin=lambda: self.coordinator),
            group="group",
            topic=TOPIC,
            instance=INSTANCE,
            clock=LoopClock(),
            rng=random.Random(seed),
            metrics=SinkMetrics(CollectorRegistry()),
            log=SILENT,
            tell=lambda: None,
            fresh_seconds=5.0,
        )
        self.unlearned: deque[frozenset[int] | None] = deque()
        self.claims: list[asyncio.Task[None]] = []
        self.wrong: list[str] = []
        self.watch = self.loop.create_task(self.membership._watch())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.each_claim_ends_once_the_group_is_calm()
            self.no_claim_is_answered_wrongly()
            self.a_membership_that_learns_nothing_more_is_replaced()
        finally:
            tasks = [self.watch, *self.claims]
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()

    @rule(placed=_PLACED, rebalances=st.booleans())
    def place(self, placed, rebalances):
        self._run(self._place(None if rebalances else placed))

    @rule()
    def learn(self):
        """Learn the next thing that the coordinator has decided."""
        if self.unlearned:
            self._run(self._learn(self.unlearned.popleft()))

    @rule(shard=st.sampled_from(SHARDS))
    def claim(self, shard):
        self.claims.append(self.loop.create_task(self._claim(shard)))

    @rule(shard=st.sampled_from(SHARDS), seconds=_SECONDS)
    def move_between_two_claims(self, shard, seconds):
        """The second comes while the first one's question is answered, and the answer is old by then."""
        self.each_claim_ends_once_the_group_is_calm(frozenset({shard}))
        self.answer_otherwise(1.0, fails=False)
        self.claim(shard)
        self.pass_time(0.6)
        self.place(frozenset(), rebalances=False)
        self.pass_time(0.1)
        self.claim(shard)
        self.pass_time(seconds)

    @rule(seconds=_SECONDS)
    def pass_time(self, seconds):
        self._run(asyncio.sleep(seconds))

    @rule(latency=_LATENCIES, fails=st.booleans())
    def answer_otherwise(self, latency, fails):
        self.coordinator.latency, self.coordinator.fails = latency, fails

    @rule(placed=_PLACED)
    def each_claim_ends_once_the_group_is_calm(self, placed=frozenset({1})):
        self.answer_otherwise(0.0, fails=False)
        self.place(placed, rebalances=False)
        while self.unlearned:
            self.learn()
        self.pass_time(_CALM_SECONDS)
        assert all(claim.done() for claim in self.claims), "a claim waits for ever"

    def a_membership_that_learns_nothing_more_is_replaced(self) -> None:
        """And only then: it has been in accord with the coordinator for a while."""
        self.membership._replace.clear()
        self.pass_time(_WATCHED_SECONDS)
        assert not self.membership._replace.is_set(), "replaced though all is well"
        self.place(frozenset(SHARDS) - self.membership.owned, rebalances=False)
        self.unlearned.clear()
        self.pass_time(_WATCHED_SECONDS)
        assert self.membership._replace.is_set(), "not replaced though the group has moved on"

    @invariant()
    def no_claim_is_answered_wrongly(self):
        assert not self.wrong

    @invariant()
    def one_question_is_asked_at_a_time(self):
        assert self.coordinator.most_asking <= 1

    async def _claim(self, shard: int) -> None:
        membership, since = self.membership, self.loop.time()
        try:
            await membership.claim(shard)
        except NotOwner:
            granted = False
        else:
            granted = True
            if not self.coordinator.was_placed(shard, since):
                self.wrong.append("granted what the coordinator has not placed here since")
        learned = membership._stable.is_set() and shard in membership.owned
        if granted != learned:
            self.wrong.append("otherwise than what was learned")

    async def _place(self, placed: frozenset[int] | None) -> None:
        if self.coordinator.placed is not None:
            self.unlearned.append(None)
        if placed is not None:
            self.unlearned.append(placed)
        self.coordinator.place(placed)

    async def _learn(self, placed: frozenset[int] | None) -> None:
        if placed is None:
            await self.membership.revoked()
        else:
            self.membership.assigned(placed)

    def _run(self, work) -> None:
        self.loop.run_until_complete(work)
