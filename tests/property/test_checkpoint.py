"""A checkpoint says exactly what the state is, whatever happened to it, and no more than changed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS
from ingest.model.journal import header_key
from ingest.model.memory import Reason
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach, Tier

FEED = FeedKey("11111111-1111-1111-1111-111111111111")
BEGIN = 1_000_000 * TICKS
REACH = Reach(overlap=60 * TICKS, look_back=3200 * TICKS, first=6400 * TICKS)
SMALL = Reach(overlap=60 * TICKS, look_back=3200 * TICKS, first=6400 * TICKS, remembered=20)

SECONDS = st.integers(-7000, 12_000)
IDS = st.sampled_from([f"a{n}" for n in range(30)]) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4
)


def alert(id_: str, second: int, content: int, resolved: bool) -> Alert:
    # The same bytes say the same time; the lowest bit is in the bytes and not in the content.
    number = (second + 10_000) << 48 | content
    return Alert(id_, BEGIN + second * TICKS, BEGIN, resolved, b"%d" % number, number)


ALERTS = st.builds(
    alert, IDS, SECONDS, st.integers(0, 5) | st.integers(0, 2**48 - 1), st.booleans()
)
MALFORMED = st.builds(
    lambda second: Malformed(
        b"?", "no_id", 2**40 + (second or 0), None if second is None else BEGIN + second * TICKS
    ),
    st.none() | SECONDS.filter(bool),
)
TURNS = st.lists(
    st.tuples(
        st.lists(ALERTS | MALFORMED, max_size=12),
        st.integers(0, 2000),
        st.sampled_from(list(Tier)),
        st.sets(st.integers(0, 6), max_size=2),
    ),
    max_size=12,
)


def content(one) -> int:
    # No hash of a content is one of bytes.
    return int(one.raw) // 2 + 2**63


@settings(deadline=None, max_examples=80)
@given(turns=TURNS, reach=st.sampled_from([REACH, SMALL]))
def test_what_is_decoded_is_what_was_applied(turns, reach):
    state = FeedState.first(FEED, now=BEGIN, reach=reach)
    topic: dict[bytes, bytes] = {}
    now = BEGIN
    for records, seconds, tier, refused in turns:
        now += seconds * TICKS
        rejected = {
            r.digest: "too_large"
            for r in records
            if isinstance(r, Alert) and r.digest % 7 in refused
        }
        judgement = state.judge(records, now=now, canonical=content, rejected=rejected, reach=reach)
        assert judgement.received == len(records)
        assert judgement.received == (
            len(judgement.published)
            + judgement.duplicates
            + judgement.stale
            + len(judgement.quarantined)
        )
        before = (state.fast, state.slow, state.horizon)
        step = state.advance(judgement, reach=reach, now=now, **{str(tier): now})
        assert (state.fast, state.slow, state.horizon) == before
        for key, value in step.records.items():
            if value is None:
                del topic[key]
            else:
                topic[key] = value
        state.apply(step)
        assert all(new >= old for new, old in zip((state.fast, state.slow), before, strict=False))
        assert state.horizon >= before[2]
        assert max(state.fast, state.slow) <= now
        assert all(state.window(t, reach) >= state.horizon for t in Tier)
        if topic:
            assert FeedState.decode(FEED, topic) == state


@settings(deadline=None, max_examples=40)
@given(turns=TURNS)
def test_the_same_records_shown_again_are_published_no_more(turns):
    state = FeedState.first(FEED, now=BEGIN, reach=REACH)
    for records, _, _, _ in turns:
        decided = {"now": BEGIN, "canonical": content, "rejected": {}, "reach": REACH}
        first = state.judge(records, **decided)
        state.apply(state.advance(first, reach=REACH, now=BEGIN))
        again = state.judge(records, **decided)
        assert not again.published
        assert not again.quarantined
        assert not again.changes


def test_a_commit_writes_what_changed_and_not_what_is_remembered():
    state = FeedState.first(FEED, now=BEGIN, reach=REACH)
    many = [Alert(f"a{n}", BEGIN + n, BEGIN, False, b"%d" % n, n) for n in range(5000)]
    decided = {"now": BEGIN, "canonical": content, "rejected": {}, "reach": REACH}
    state.apply(state.advance(state.judge(many, **decided), reach=REACH, now=BEGIN))
    one = state.judge([Alert("b", BEGIN, BEGIN, False, b"7", 7)], **decided)
    step = state.advance(one, reach=REACH, now=BEGIN)
    assert len(step.records) == 2
    assert header_key(str(FEED)) in step.records
    assert sum(len(value) for value in step.records.values()) < 500


def test_memory_is_bounded_and_what_it_had_no_room_for_is_not_published_again():
    state = FeedState.first(FEED, now=BEGIN, reach=SMALL)
    alerts = [Alert(f"a{n}", BEGIN + n, BEGIN, False, b"%d" % n, n) for n in range(100)]
    now = BEGIN + 1000 * TICKS
    decided = {"now": now, "canonical": content, "rejected": {}, "reach": SMALL}
    state.apply(state.advance(None, reach=SMALL, now=now, fast=now, slow=now))
    squeezed = 0
    for at in range(0, 100, 10):
        step = state.advance(state.judge(alerts[at : at + 10], **decided), reach=SMALL, now=now)
        squeezed += step.squeezed
        state.apply(step)
        assert state.remembered <= SMALL.remembered + 10
    assert squeezed > 50
    again = state.judge(alerts, **decided)
    assert not again.published
    assert again.reasons[Reason.BEYOND] > 50
