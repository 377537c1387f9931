"""A checkpoint of pieces: two owners that do not know of each other, each cut off wherever it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import CheckpointUnreadable
from ingest.model.alert import Alert
from ingest.model.checkpoint import FeedState, mend
from ingest.model.instant import TICKS
from ingest.model.journal import header_key
from ingest.model.window import Tier
from tests.property.test_checkpoint import ALERTS, BEGIN, FEED, MALFORMED, REACH, content

NEVER = 1000
ACTS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.booleans(),
        st.lists(ALERTS | MALFORMED, max_size=6),
        st.integers(0, 2000),
        st.sampled_from(list(Tier)),
        st.integers(0, 4) | st.just(NEVER),
    ),
    max_size=20,
)


def apply(topic: dict[bytes, bytes], records) -> None:
    for key, value in records:
        if value is None:
            topic.pop(key, None)
        else:
            topic[key] = value


def restored(topic: dict[bytes, bytes]) -> FeedState:
    if header_key(str(FEED)) in topic:
        return FeedState.decode(FEED, topic, torn=True)
    first = FeedState.first(FEED, now=BEGIN, reach=REACH)
    return FeedState.decode(FEED, topic | first.header(), torn=True)


@settings(deadline=None, max_examples=150)
@given(acts=ACTS)
def test_whatever_the_pieces_only_what_was_published_counts_as_published(acts):
    topic: dict[bytes, bytes] = {}
    published: set[int] = set()
    owners: list[FeedState | None] = [None, None]
    now = BEGIN
    for who, anew, records, seconds, tier, cut in acts:
        now += seconds * TICKS
        state = owners[who]
        if anew or state is None:
            state = owners[who] = restored(topic)
        decided = {"now": now, "canonical": content, "rejected": {}, "reach": REACH}
        judgement = state.judge(records, **decided)
        # All that is published is acknowledged before the first piece of the checkpoint is sent.
        published |= {one.alert.digest for one in judgement.published}
        step = state.advance(judgement, reach=REACH, now=now, **{str(tier): now})
        apply(topic, list(step.records.items())[:cut])
        if cut < len(step.records):
            owners[who] = None
        else:
            state.apply(step)
        again = restored(topic)
        assert max(again.fast, again.slow) <= now
        for id_ in {one.id for one in records if isinstance(one, Alert)}:
            if (entry := again.ledger.entry(id_)) is not None:
                assert entry.digest in published
    if header_key(str(FEED)) in topic:
        pieces = FeedState.decode(FEED, topic, torn=True)
        apply(topic, mend(FEED, topic).items())
        assert FeedState.decode(FEED, topic).ledger == emptied(pieces).ledger
    else:
        apply(topic, mend(FEED, topic).items())
        assert not topic


def emptied(state: FeedState) -> FeedState:
    state.leave_nothing_over()
    return state


def test_pieces_are_damage_where_transactions_were_promised():
    state = FeedState.first(FEED, now=BEGIN, reach=REACH)
    one = Alert("a", BEGIN, BEGIN, False, b"1", 1)
    judgement = state.judge([one], now=BEGIN, canonical=content, rejected={}, reach=REACH)
    step = state.advance(judgement, reach=REACH, now=BEGIN)
    records = {key: value for key, value in step.records.items() if value is not None}
    header = {header_key(str(FEED)): records[header_key(str(FEED))]}
    with pytest.raises(CheckpointUnreadable):
        FeedState.decode(FEED, header)
    assert FeedState.decode(FEED, header, torn=True).fast == state.fast
