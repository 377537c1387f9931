"""Without transactions nothing is lost, whatever befalls replicas; a checkpoint only says what is there."""

from dataclasses import replace

from hypothesis import settings
from hypothesis.stateful import invariant

from ingest.sink.shard import Shard
from tests.property.breaking import what_fails
from tests.property.ownership import Ownership
from tests.property.replicas import Replica, checkpoints, numbers, written


class Unfenced(Replica):
    delivery = "at_least_once"


class UnfencedOwnership(Ownership):
    """The same replicas, crashes and freezes, and two owners at once for as long as one does not know."""

    replica_class = Unfenced

    def nobody_publishes_whose_shard_was_moved_before_it_took_over(self):
        """Nothing fences: somebody may."""

    @invariant()
    def a_reader_sees_each_number_once_and_in_order(self):
        """Each at least once, and the first of each in order."""
        for key, seen in numbers(self.broker).items():
            firsts = list(dict.fromkeys(seen))
            assert firsts == list(range(1, len(firsts) + 1)), (key, seen)

    @invariant()
    def a_checkpoint_says_only_what_was_there_before_it(self):
        published = written(self.broker)
        for key, number, at in checkpoints(self.broker):
            there = {one for one, when in published[key] if when <= at}
            assert there >= set(range(1, number + 1)), (key, number)


TestUnfencedOwnership = UnfencedOwnership.TestCase
TestUnfencedOwnership.settings = settings(deadline=None, max_examples=80, stateful_step_count=25)


class CheckpointFirst(Shard):
    """Writes the checkpoint before its alerts."""

    async def _take_over(self):
        producer = await super()._take_over()
        whole = producer.transact

        async def reversed_(batches, **more):
            await whole([replace(batch, records=()) for batch in batches], now=0.0)
            return await whole([replace(batch, checkpoint={}) for batch in batches], **more)

        producer.transact = reversed_
        return producer


def test_a_checkpoint_that_goes_first_is_found():
    broken = type("Broken", (Unfenced,), {"shard_class": CheckpointFirst})
    failed = what_fails(UnfencedOwnership, replica_class=broken, stalled=lambda _: None)
    assert failed & {
        "a_reader_sees_each_number_once_and_in_order",
        "a_checkpoint_says_only_what_was_there_before_it",
    }
