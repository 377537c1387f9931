import json

import pytest

from ingest.errors import CheckpointUnreadable, Recovery
from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS
from ingest.model.journal import header_key, journal_key, journal_number
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach

FEED = FeedKey("11111111-1111-1111-1111-111111111111")
PREFIX = str(FEED)
HEADER, FIRST, SECOND = header_key(PREFIX), journal_key(PREFIX, 1), journal_key(PREFIX, 2)
NOW = 10_000 * TICKS
REACH = Reach(overlap=60 * TICKS, look_back=600 * TICKS, first=3600 * TICKS)


def written():
    """Return a state, and what the topic holds of it: a header and two journal records."""
    state = FeedState.first(FEED, now=NOW, reach=REACH)
    topic = {}
    for number in range(2):
        records = [
            Alert(f"sécret {number}", NOW, NOW, False, b"raw", number),
            Malformed(b"?", "no_id", 10 + number),
        ]
        judgement = state.judge(records, now=NOW, canonical=lambda _: 7, rejected={}, reach=REACH)
        step = state.advance(judgement, reach=REACH, now=NOW, fast=NOW - TICKS)
        topic |= step.records
        state.apply(step)
    return state, topic


def changed(topic, key, **fields):
    return topic | {key: json.dumps({**json.loads(topic[key]), **fields}).encode()}


def test_what_was_committed_is_read_back():
    state, topic = written()
    assert set(topic) == {HEADER, FIRST, SECOND}
    assert FeedState.decode(FEED, topic) == state


def test_another_feeds_journal_is_not_this_ones():
    assert journal_number(PREFIX, b"other/j/1") is None
    assert journal_number(PREFIX, HEADER) is None
    assert journal_number(PREFIX, SECOND) == 2
    assert journal_number(PREFIX, SECOND + b"x") is None


DAMAGED = [b"", b"{", b"null", b"[]", b"17", b'"x"', b"\xff", b"[" * 100_000, b"{}", b'{"v":1}']


@pytest.mark.parametrize("raw", DAMAGED)
@pytest.mark.parametrize("key", [HEADER, FIRST, SECOND])
def test_a_damaged_record_is_not_guessed_at_and_its_key_is_named(key, raw):
    _, topic = written()
    with pytest.raises(CheckpointUnreadable, match=key.decode() + " is missing, damaged"):
        FeedState.decode(FEED, topic | {key: raw})


@pytest.mark.parametrize("key", [HEADER, FIRST, SECOND])
def test_a_record_of_a_newer_version_is_left_as_it_is_and_its_key_is_named(key):
    _, topic = written()
    with pytest.raises(CheckpointUnreadable, match=key.decode() + ".* newer version"):
        FeedState.decode(FEED, changed(topic, key, v=2))


@pytest.mark.parametrize("key", [HEADER, FIRST, SECOND])
def test_a_missing_record_is_noticed_and_the_header_is_named(key):
    _, topic = written()
    del topic[key]
    with pytest.raises(CheckpointUnreadable, match=HEADER.decode() + " is missing"):
        FeedState.decode(FEED, topic)


def test_a_journal_record_that_should_be_gone_is_noticed():
    _, topic = written()
    with pytest.raises(CheckpointUnreadable):
        FeedState.decode(FEED, topic | {journal_key(PREFIX, 3): topic[SECOND]})


def test_a_journal_record_under_another_number_is_noticed():
    _, topic = written()
    topic[journal_key(PREFIX, 3)] = topic.pop(SECOND)
    with pytest.raises(CheckpointUnreadable):
        FeedState.decode(FEED, topic)


@pytest.mark.parametrize(
    "fields",
    [
        {"fast": None},
        {"fast": "1"},
        {"slow": 1.5},
        {"slow": True},
        {"horizon": 2**70},
        {"horizon": -(2**70)},
        {"seq": 1},
        {"n": 3},
        {"sum": 4},
        {"sum": []},
    ],
)
def test_a_header_that_says_what_cannot_be_is_not_believed(fields):
    _, topic = written()
    with pytest.raises(CheckpointUnreadable, match=HEADER.decode()):
        FeedState.decode(FEED, changed(topic, HEADER, **fields))


@pytest.mark.parametrize(
    "entry",
    [
        [],
        ["a", 1, 2, [3]],
        [5, 1, 2, [3], 0],
        ["a", "1", 2, [3], 0],
        ["a", 1, 2, 3, 0],
        ["a", 1, 2, ["3"], 0],
        ["a", 1, 2, [3] * 9, 0],
        ["a", 1, -2, [3], 0],
        ["a", 2**70, 2, [3], 0],
        ["a", 1, 2, [2**64], 0],
        ["a", 1, 2, [3], "0"],
        None,
    ],
)
def test_a_journal_that_says_what_cannot_be_is_not_believed(entry):
    _, topic = written()
    with pytest.raises(CheckpointUnreadable, match=SECOND.decode()):
        FeedState.decode(FEED, changed(topic, SECOND, e=[entry]))


@pytest.mark.parametrize("mark", [[1], [1, 2, 3], ["1", 2], [1, None], [1, 2**70], 5])
def test_a_quarantine_mark_that_cannot_be_is_not_believed(mark):
    _, topic = written()
    with pytest.raises(CheckpointUnreadable, match=SECOND.decode()):
        FeedState.decode(FEED, changed(topic, SECOND, q=[mark]))


def test_what_cannot_be_read_parks_the_tenant_and_shows_no_alert():
    _, topic = written()
    with pytest.raises(CheckpointUnreadable) as caught:
        FeedState.decode(FEED, topic | {SECOND: topic[SECOND][:-9]})
    assert caught.value.recovery is Recovery.PARK
    assert FEED.tenant in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_large_judgement_is_written_in_several_records_that_no_broker_refuses():
    state = FeedState.first(FEED, now=NOW, reach=REACH)
    records = [Alert(f"{n}{'ä' * 800}", NOW, NOW, False, b"", n) for n in range(300)]
    records += [Malformed(b"", "no_id", n) for n in range(10_000)]
    judgement = state.judge(records, now=NOW, canonical=lambda _: 7, rejected={}, reach=REACH)
    step = state.advance(judgement, reach=REACH, now=NOW)
    assert len(step.records) > 5
    assert all(len(value) < 300_000 for value in step.records.values())
    state.apply(step)
    assert FeedState.decode(FEED, step.records) == state


def test_a_journal_record_is_dropped_when_all_it_said_is_said_anew():
    state, topic = written()
    alert = Alert("sécret 0", NOW + 1, NOW, False, b"raw", 5)
    judged = {"now": NOW, "canonical": lambda _: 8, "rejected": {}, "reach": REACH}
    step = state.advance(state.judge([alert], **judged), reach=REACH, now=NOW)
    assert None not in step.records.values()
    state.apply(step)
    later = NOW + 10 * REACH.look_back
    step = state.advance(None, reach=REACH, now=later, fast=later, slow=later)
    assert [key for key, value in step.records.items() if value is None] == [
        FIRST,
        SECOND,
        journal_key(PREFIX, 3),
    ]
    state.apply(step)
    assert FeedState.decode(FEED, {HEADER: step.records[HEADER]}) == state
    assert topic[HEADER] != step.records[HEADER]
