"""A shard has one owner at a time, whatever befalls its replicas; and the machine sees a broken part."""

from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from hypothesis import settings

from ingest.sink.layout import TopicNames
from ingest.sink.restore import read_back
from ingest.sink.shard import Shard
from tests.property.breaking import what_fails
from tests.property.ownership import Ownership
from tests.property.replicas import NAMES, SHARD, Replica

PLACE = TopicPartition(NAMES.checkpoints, SHARD)

TestOwnership = Ownership.TestCase
TestOwnership.settings = settings(deadline=None, max_examples=80, stateful_step_count=25)


class RestoringFirst(Shard):
    """Reads before it fences: what the former owner commits between the two is not known."""

    async def _take_over(self):
        found = await read_back(self._taking_over._connection, PLACE, nonce=None, seconds=60.0)
        producer = await super()._take_over()
        self._feeds = found.feeds
        return producer


class CommittingTwice(Shard):
    """Commits the checkpoint after its alerts, in a transaction of its own."""

    async def _take_over(self):
        producer = await super()._take_over()
        whole = producer.transact

        async def apart(batches, **more):
            await whole([replace(batch, checkpoint={}) for batch in batches], **more)
            return await whole([replace(batch, records=()) for batch in batches], now=0.0)

        producer.transact = apart
        return producer


class AskingOnce(Shard):
    """Asks whose the shard is before it fences, and not after."""

    async def _take_over(self):
        claim = self._taking_over._claim
        asked = iter([claim])

        async def once(number):
            if ask := next(asked, None):
                await ask(number)

        self._taking_over._claim = once
        try:
            return await super()._take_over()
        finally:
            self._taking_over._claim = claim


class NamedForItself(Replica):
    """Names the transactional id after the process, so that nobody fences anybody else."""

    @property
    def names(self):
        name = self.process.name

        class Named(TopicNames):
            def transactional_id(self, shard):
                return f"{self.checkpoints}-{name}"

        return Named(NAMES.prefix)


class Unasking(Replica):
    """Takes its shard over again without asking the coordinator whether it is its own still."""

    async def claim(self, _):
        await self.process.gate()


def with_a(shard: type[Shard]) -> type[Replica]:
    return type("Broken", (Replica,), {"shard_class": shard})


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (with_a(RestoringFirst), "a_reader_sees_each_number_once_and_in_order"),
        (with_a(CommittingTwice), "a_reader_sees_each_number_once_and_in_order"),
        (NamedForItself, "a_reader_sees_each_number_once_and_in_order"),
        (with_a(AskingOnce), "nobody_publishes_whose_shard_was_moved_before_it_took_over"),
        (Unasking, "nobody_publishes_whose_shard_was_moved_before_it_took_over"),
    ],
    ids=["restore first", "two commits", "own id", "one claim", "no claim"],
)
def test_a_broken_part_is_found(broken, law):
    assert law in shard_breaks(broken)


def test_a_reading_that_ends_where_the_leader_says_is_found(monkeypatch):
    """And not at its own record: a leader that has just become one does not know its end yet."""

    async def to_the_told_end(*of, nonce, **options):
        return await read_back(*of, nonce=None, **options)

    monkeypatch.setattr("ingest.sink.takeover.read_back", to_the_told_end)
    assert "a_reader_sees_each_number_once_and_in_order" in shard_breaks(Replica)


def shard_breaks(replica: type[Replica]) -> set[str]:
    return what_fails(Ownership, replica_class=replica, stalled=lambda _: None)
