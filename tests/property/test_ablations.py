"""The laws can fail: each test breaks one part, and sees what the part is there for.

The worlds are fixed. The whole reader keeps every law in all of them, so what fails is the part.
"""

from collections import Counter
from dataclasses import replace

import pytest

from ingest.errors import CheckpointUnreadable
from ingest.model.box import Answer
from ingest.model.checkpoint import FeedState
from ingest.model.memory import Judgement
from ingest.model.sweep import Sweep
from ingest.model.window import Reach, Tier
from tests.fakes.vendor import Quirks
from tests.property.reader import Reader
from tests.property.worlds import HOUR, REACH, World

SEEDS = range(6)


def broken_laws(reader, world, **options) -> Counter:
    """Return how often each law was broken in worlds of some seeds."""
    counts: Counter = Counter()
    for seed in SEEDS:
        findings = reader(replace(world, seed=seed), **options).run()
        counts.update({name: len(what) for name, what in findings.broken_laws.items()})
    return counts


def caught(reader, world, **options) -> Counter:
    """Return what the laws say of a broken reader in worlds where the whole one keeps them."""
    assert not broken_laws(Reader, world)
    return broken_laws(reader, world, **options)


class ShortReach(Reach):
    """Remembers no further back than the fast reading looks."""

    def horizon(self, *, fast: int, slow: int) -> int:
        return self.start(Tier.FAST, fast=fast, slow=slow)


class Guessing(FeedState):
    """Takes what it does not remember for new, and looks back whether it remembers or not."""

    def window(self, tier: Tier, reach: Reach) -> int:
        return reach.start(tier, fast=self.fast, slow=self.slow)

    def judge(self, records, **options) -> Judgement:
        reader = FeedState(self.feed, self.fast, self.slow, 0, self.sequence, self.ledger)
        return reader.judge(records, **options)


class Short(Reader):
    state_class = Guessing

    def __init__(self, world: World) -> None:
        super().__init__(world, reach=ShortReach(REACH.overlap, REACH.look_back, REACH.first))


def test_a_memory_as_short_as_the_overlap_doubles():
    assert caught(Short, World(0, late=True))["doubled"]


class Honest(Reader):
    """Remembers as little, but knows what it does not know."""

    def __init__(self, world: World) -> None:
        super().__init__(world, reach=ShortReach(REACH.overlap, REACH.look_back, REACH.first))


def test_a_short_memory_that_does_not_guess_loses_what_comes_late():
    found = caught(Honest, World(0, late=True))
    assert found["lost"]
    assert not found["doubled"]


class ByLocalClock(Sweep):
    def answered(self, answer: Answer) -> None:
        super().answered(replace(answer, server_time=1 << 62))


class Local(Reader):
    """Takes its own clock for the truth."""

    sweep_class = ByLocalClock

    def server_time(self, page) -> int:
        return self.local()


def test_the_local_clock_alone_loses_and_runs_ahead():
    found = caught(Local, World(0, late=True, local_skew=2 * HOUR))
    assert found["lost"]
    assert found["ahead"]


class AlertsFirst(Reader):
    """Commits the checkpoint apart from the alerts, a moment later."""

    def write(self, judgement, step) -> None:
        if judgement is not None:
            self.findings.publish(judgement)
        self._may_crash()
        self.write_checkpoint(step)


class CheckpointFirst(Reader):
    """Commits the alerts apart from the checkpoint, a moment later."""

    def write(self, judgement, step) -> None:
        self.write_checkpoint(step)
        self._may_crash()
        if judgement is not None:
            self.findings.publish(judgement)


def test_alerts_that_are_committed_before_their_checkpoint_are_doubled_by_a_crash():
    assert caught(AlertsFirst, World(0, crashes=0.05))["doubled"]


def test_alerts_that_are_committed_after_their_checkpoint_are_lost_by_a_crash():
    assert caught(CheckpointFirst, World(0, crashes=0.05))["lost"]


class Hasty(Reader):
    """Goes on, now and then, with a state that Kafka never got."""

    def _commit(self, judgement, step) -> None:
        if judgement is not None and self._rng.random() < 0.1:
            self.state.apply(step)
        else:
            super()._commit(judgement, step)


def test_a_state_that_ran_ahead_of_kafka_is_no_checkpoint_that_anybody_believes():
    with pytest.raises(CheckpointUnreadable):
        caught(Hasty, World(0))


class Believing(Sweep):
    """Takes an answer shorter than it asked for as the last."""

    def _judge_whole(self, frame, answer) -> None:
        frame.records = answer.records
        if len(answer.records) < frame.top:
            self._prove()
        else:
            self._cut(frame)


class Following(Sweep):
    """Takes an answer without a link as the last, and follows links until there is none."""

    def _judge_whole(self, frame, answer) -> None:
        frame.records, frame.link = answer.records, answer.next_link
        self._follow_link_or_prove(frame)

    def _judge_link(self, frame, answer) -> None:
        frame.link = answer.next_link
        if answer.next_link is None or self._since_progress > 50:
            self._prove()


class Believer(Reader):
    sweep_class = Believing


class Follower(Reader):
    sweep_class = Following


@pytest.mark.parametrize("hides", ["newest", "oldest", "random"])
def test_a_short_page_that_is_believed_loses(hides):
    world = World(0, quirks=Quirks(cap=6, hides=hides))
    assert caught(Believer, world)["lost"]


@pytest.mark.parametrize("links", ["absent", "looping", "empty", "foreign"])
def test_a_link_that_is_believed_loses(links):
    world = World(0, quirks=Quirks(cap=6, links=links))
    assert caught(Follower, world)["lost"]
