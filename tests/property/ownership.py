"""A machine of replicas that share a shard, and of all that can befall them."""

import asyncio
import random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes.broker import Broker
from tests.fakes.kafka_clients import Loss
from tests.fakes.process import Fate
from tests.fakes.virtual_loop import VirtualLoop
from tests.property.replicas import FEEDS, Group, Replica, numbers, publications

_NAMES = ("one", "two", "three")
_WHO = st.sampled_from(_NAMES)
_PASSAGES = st.integers(0, 40)
_SECONDS = st.sampled_from([0.01, 0.1, 1.0, 6.0])
_SLOWNESS = st.sampled_from([0.0, 0.05, 2.0])
_CALM_SECONDS = 60
"""A transaction's bound, a pause of a contested shard, and some more."""


class Ownership(RuleBasedStateMachine):
    """The real shard, in three processes; any of them can crash or freeze at any await."""

    replica_class: type[Replica] = Replica

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.broker = Broker()
        self.group = Group(_NAMES[0])
        self.replicas: dict[str, Replica] = {}
        self.gone: list[Replica] = []

    def teardown(self) -> None:
        try:
            if self.replicas:
                self.the_rightful_owner_publishes_once_faults_stop()
                self.a_reader_sees_each_number_once_and_in_order()
                self.nobody_publishes_whose_shard_was_moved_before_it_took_over()
        finally:
            for replica in self.replicas.values():
                replica.process.kill()
            left = [*self.gone, *self.replicas.values()]
            while tasks := {task for replica in left for task in replica.process.tasks}:
                self._run(asyncio.wait(tasks))
            self.loop.close()

    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed):
        self.rng = random.Random(seed)
        for name in _NAMES:
            self._run(self._begin(name))

    @rule(seconds=_SECONDS)
    def pass_time(self, seconds):
        self._run(asyncio.sleep(seconds))

    @rule(name=_WHO, seconds=_SECONDS)
    def move(self, name, seconds):
        self._run(self._move(name))
        self.pass_time(seconds)

    @rule(name=_WHO, fate=st.sampled_from(Fate), passages=_PASSAGES, seconds=_SECONDS)
    def doom(self, name, fate, passages, seconds):
        self.replicas[name].process.doom(fate, passages)
        self.pass_time(seconds)

    @precondition(lambda self: any(r.process.is_frozen for r in self.replicas.values()))
    @rule()
    def wake_the_frozen(self):
        for replica in self.replicas.values():
            replica.process.wake()

    @precondition(lambda self: any(r.process.is_dead for r in self.replicas.values()))
    @rule()
    def restart_the_dead(self):
        for name, replica in list(self.replicas.items()):
            if replica.process.is_dead:
                self.gone.append(replica)
                self._run(self._begin(name))

    @rule(names=st.permutations(_NAMES), passages=_PASSAGES, seconds=_SECONDS)
    def freeze_in_a_take_over(self, names, passages, seconds):
        """The shard moves on to another while it is frozen, and then it wakes."""
        former, name, later = names
        self.move(former, 3.0)
        self.replicas[name].process.doom(Fate.FREEZE, passages)
        self.move(name, 3.0)
        self.move(later, seconds)
        self.replicas[name].process.wake()
        self.pass_time(seconds)

    @rule(name=_WHO, loss=st.sampled_from(Loss))
    def lose_the_answer_of_a_commit(self, name, loss):
        self.replicas[name].connection.loss = loss

    @rule()
    def let_transactions_expire(self):
        self._run(self._expire())

    @rule(seconds=_SLOWNESS)
    def write_markers_slowly(self, seconds):
        self.broker.marker_seconds = seconds

    @rule(seconds=_SLOWNESS)
    def show_what_is_written_slowly(self, seconds):
        self.broker.lag_seconds = seconds

    @rule()
    def the_rightful_owner_publishes_once_faults_stop(self):
        self.broker.marker_seconds = self.broker.lag_seconds = 0.0
        for replica in self.replicas.values():
            replica.process.doom(None, 0)
            replica.connection.loss = None
        self.wake_the_frozen()
        self.restart_the_dead()
        self.broker.settle()
        before, published = len(list(publications(self.broker))), numbers(self.broker)
        for _ in range(_CALM_SECONDS):
            self.pass_time(1.0)
            fresh = list(publications(self.broker))[before:]
            counts = numbers(self.broker)
            grown = all(len(counts[key]) > len(published[key]) for key in _keys())
            if grown and fresh[-1][0] is self.replicas[self.group.owner].process:
                return
        self.stalled()

    def stalled(self) -> None:
        raise AssertionError("the owner publishes nothing though nothing is in its way")

    @invariant()
    def a_reader_sees_each_number_once_and_in_order(self):
        for key, seen in numbers(self.broker).items():
            assert seen == list(range(1, len(seen) + 1)), (key, seen)

    @invariant()
    def nobody_publishes_whose_shard_was_moved_before_it_took_over(self):
        for author, epoch, decided in publications(self.broker):
            since = next(
                at
                for (who, _, e), at in self.group.initialised.items()
                if (who, e) == (author, epoch)
            )
            assert self.group.placed(author.name, since, decided), (author, since, decided)

    @invariant()
    def no_task_ends_by_a_defect(self):
        for replica in self.replicas.values():
            assert not replica.defects

    async def _begin(self, name: str) -> None:
        self.replicas[name] = self.replica_class(
            name, group=self.group, broker=self.broker, rng=self.rng
        )

    async def _move(self, name: str) -> None:
        self.group.move(name)

    async def _expire(self) -> None:
        for name in list(self.broker.ids):
            self.broker.expire(name)

    def _run(self, work) -> None:
        self.loop.run_until_complete(work)


def _keys() -> list[bytes]:
    return [str(feed).encode() for feed in FEEDS]
