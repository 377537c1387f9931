"""A machine of one feed's memory: what is offered, decided, committed, lost, forgotten and read back."""

from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ingest.model.checkpoint import FeedState, Step
from ingest.model.instant import TICKS
from ingest.model.memory import Judgement
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach, Tier
from tests.property.consumer import STEP, Consumer, canonical, record

FEED = FeedKey("11111111-1111-1111-1111-111111111111")
BEGIN = 1_000_000 * TICKS
_REACH = {"overlap": 60 * TICKS, "look_back": 3200 * TICKS, "first": 6400 * TICKS}
_TOO_LARGE = 9
"""The content that Kafka does not take."""

OFFERED = st.tuples(
    st.sampled_from("abcdef"),
    st.integers(-8, 70) | st.integers(0, 3),
    st.integers(0, _TOO_LARGE),
    st.booleans(),
    st.sampled_from(["alert"] * 6 + ["malformed", "timeless"]),
)
"""Which alert, how many steps old, its content, the order of its lists, and what is wrong with it."""

OUTCOMES = st.sampled_from(["committed", "committed", "answer lost", "lost", "dropped"])


class Remembering(RuleBasedStateMachine):
    """The real state. `topic` is compacted: of each key it has the newest value, and no deleted ones."""

    state_class = FeedState

    @initialize(remembered=st.sampled_from([500_000, 12]))
    def start(self, remembered):
        self.limits = patch.multiple("ingest.model.checkpoint", _ROOM=6, _FUTURE_ALERTS=4)
        self.limits.start()
        self.reach = Reach(**_REACH, remembered=remembered)
        self.now = BEGIN
        self.topic: dict[bytes, bytes] = {}
        self.consumer = Consumer()
        self.floor = (0, 0, 0)
        self.restore()

    def teardown(self) -> None:
        if hasattr(self, "limits"):
            self.limits.stop()

    @rule()
    def restore(self):
        """Crash, and begin anew with what the topic has."""
        if self.topic:
            self.state = self.state_class.decode(FEED, self.topic)
        else:
            self.state = self.state_class.first(FEED, now=self.now, reach=self.reach)

    @rule(steps=st.integers(0, 3) | st.integers(0, 60))
    def pass_time(self, steps):
        self.now += steps * STEP

    @rule(
        offers=st.lists(OFFERED, max_size=10),
        tier=st.sampled_from(Tier),
        ahead=st.integers(-20, 5),
        outcome=OUTCOMES,
    )
    def offer(self, offers, tier, ahead, outcome):
        records = [record(self.now, *offered) for offered in offers]
        refused = {
            one.digest: "too_large"
            for one, (_, _, content, _, _) in zip(records, offers, strict=True)
            if content == _TOO_LARGE
        }
        judgement = self.state.judge(
            records, now=self.now, canonical=canonical, rejected=refused, reach=self.reach
        )
        assert judgement.received == len(records)
        assert judgement.received == (
            len(judgement.published)
            + judgement.duplicates
            + judgement.stale
            + len(judgement.quarantined)
        )
        reached = {str(tier): self.now + ahead * STEP}
        step = self.state.advance(judgement, reach=self.reach, now=self.now, **reached)
        horizon = self.state.horizon
        self._end(judgement, step, outcome)
        if self.reach.remembered > 12 and outcome in ("committed", "answer lost"):
            self.consumer.miss_nothing(records, horizon, self.now)

    @rule(tier=st.sampled_from(Tier), ahead=st.integers(-40, 5), outcome=OUTCOMES)
    def conclude_a_reading(self, tier, ahead, outcome):
        reached = {str(tier): self.now + ahead * STEP}
        step = self.state.advance(None, reach=self.reach, now=self.now, **reached)
        self._end(Judgement(), step, outcome)

    @rule(steps=st.integers(0, 80), outcome=OUTCOMES)
    def rewind(self, steps, outcome):
        """An operator asks for everything since an instant once more."""
        since = self.now - steps * STEP
        state, records = self.state.rewound(since)
        if outcome.startswith(("committed", "answer")):
            self._write(
                {key: value for key, value in records.items() if value or key in self.topic}
            )
            self.consumer.ask_again(since)
            self.floor = tuple(min(bound, since) for bound in self.floor)
            self.state = state
        if outcome != "committed":
            self.restore()

    @invariant()
    def what_the_topic_says_is_what_was_applied(self):
        if self.topic:
            assert self.state_class.decode(FEED, self.topic) == self.state
            assert set(self.topic) <= set(self.state.keys())

    @invariant()
    def no_journal_record_says_nothing(self):
        assert all(count > 0 for count in self.state.ledger.journals.values())

    @invariant()
    def no_bound_goes_back_nor_beyond_the_apis_time(self):
        bounds = (self.state.fast, self.state.slow, self.state.horizon)
        if self.topic:
            assert all(new >= old for new, old in zip(bounds, self.floor, strict=True))
            self.floor = bounds
        assert max(bounds) <= self.now
        assert all(self.state.window(tier, self.reach) >= bounds[2] for tier in Tier)

    @invariant()
    def all_that_is_above_the_horizon_is_remembered(self):
        horizon = self.state.horizon
        known = {id_: time for id_, time in self.consumer.newest.items() if time >= horizon}
        assert {
            id_: self.state.ledger.entry(id_).updated for id_ in self.state.ledger.ids()
        } == known

    def _end(self, judgement: Judgement, step: Step, outcome: str) -> None:
        if outcome in ("committed", "answer lost"):
            self._write(step.records)
            self.consumer.see(judgement, self.state.horizon)
        if outcome == "committed":
            self.state.apply(step)
        elif outcome != "dropped":
            self.restore()

    def _write(self, records) -> None:
        for key, value in records.items():
            if value is None:
                del self.topic[key]
            else:
                self.topic[key] = value
