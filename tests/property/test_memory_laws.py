"""Memory keeps its laws over losses and crashes; and the machine sees a broken part."""

from dataclasses import replace

import pytest
from hypothesis import settings

from ingest.model.checkpoint import FeedState
from tests.property.breaking import what_fails
from tests.property.remembering import Remembering

TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(deadline=None, max_examples=80, stateful_step_count=30)


class Guessing(FeedState):
    """Takes what it does not remember for new."""

    def judge(self, records, **options):
        state = FeedState(self.feed, self.fast, self.slow, 0, self.sequence, self.ledger)
        return state.judge(records, **options)


class Unbound(FeedState):
    """Lets a watermark pass the API's own time."""

    def advance(self, judgement, *, now, **options):
        return super().advance(judgement, now=now * 2, **options)


class Hoarding(FeedState):
    """Leaves records in the topic that say nothing any more."""

    def advance(self, judgement, **options):
        step = super().advance(judgement, **options)
        return replace(step, records={k: v for k, v in step.records.items() if v is not None})


class Backwards(FeedState):
    """Believes whatever watermark a reading reached, also an older one."""

    def advance(self, judgement, *, fast=None, **options):
        step = super().advance(judgement, fast=fast, **options)
        return step if fast is None else replace(step, fast=min(fast, options["now"]))


class Unsorted(FeedState):
    """Publishes a page in the order in which it came, and the newest for all."""

    def judge(self, records, **options):
        judgement = super().judge(records, **options)
        judgement.published.reverse()
        return judgement


class Forgetting(FeedState):
    """Forgets what it has just published, though a reading may still show it."""

    def advance(self, judgement, **options):
        if judgement is not None:
            judgement.entries.clear()
        return super().advance(judgement, **options)


class RunningAhead(FeedState):
    """Remembers what it decided, whether Kafka has it or not."""

    def advance(self, judgement, **options):
        step = super().advance(judgement, **options)
        self.apply(step)
        return step


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Guessing, "see"),
        (Unbound, "no_bound_goes_back_nor_beyond_the_apis_time"),
        (Hoarding, "decode"),
        (Backwards, "no_bound_goes_back_nor_beyond_the_apis_time"),
        (Unsorted, "see"),
        (Forgetting, "all_that_is_above_the_horizon_is_remembered"),
        (RunningAhead, "all_that_is_above_the_horizon_is_remembered"),
    ],
)
def test_a_broken_part_is_found(broken, law):
    assert law in what_fails(Remembering, state_class=broken)
