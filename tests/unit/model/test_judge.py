import pytest

from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS, parse_instant
from ingest.model.judge import Judge
from ingest.model.ledger import Ledger
from ingest.model.memory import Judgement, Kind, Reason, remember
from ingest.model.tenant import FeedKey
from ingest.model.window import SKEW, SLACK, Reach, Tier
from tests.fakes.vendor import digest

FEED = FeedKey("11111111-1111-1111-1111-111111111111")
NOW = parse_instant("2024-03-01T12:00:00Z")
MINUTE = 60 * TICKS
REACH = Reach(overlap=5 * MINUTE, look_back=60 * MINUTE, first=120 * MINUTE)
END = parse_instant("9999-12-31T23:59:59.9999999Z")


def alert(id_="a", updated=NOW - MINUTE, *, content=1, noise=0, resolved=False):
    raw = f"{id_} {content} {noise}".encode()
    return Alert(id_, updated, NOW - MINUTE, resolved, raw, digest(raw))


def malformed(raw=b"{}", updated=None):
    return Malformed(raw, "no_id", digest(raw), updated)


def canonical(one: Alert) -> int:
    return digest(one.raw.rsplit(b" ", 1)[0])


def state(*, passed=NOW, reach=REACH):
    found = FeedState.first(FEED, now=NOW, reach=reach)
    found.apply(found.advance(None, reach=reach, now=NOW, fast=passed, slow=passed))
    return found


def judge(of, *records, now=NOW, rejected=None, reach=REACH):
    """Judge, and remember what was judged."""
    judgement = of.judge(
        records, now=now, canonical=canonical, rejected=rejected or {}, reach=reach
    )
    of.apply(of.advance(judgement, reach=reach, now=now))
    return judgement


def reasons(judgement):
    return {reason: count for reason, count in judgement.reasons.items() if count}


def test_a_judgement_changes_nothing_by_itself():
    of = state()
    of.judge([alert(), malformed()], now=NOW, canonical=canonical, rejected={}, reach=REACH)
    assert of == state()


def test_versions_of_one_alert_on_one_page_are_published_oldest_first():
    times = [NOW - 3 * TICKS, NOW - TICKS, NOW - 2 * TICKS]
    judgement = judge(state(), *(alert(updated=time) for time in times))
    assert [verdict.alert.updated for verdict in judgement.published] == sorted(times)
    assert [verdict.kind for verdict in judgement.published] == [
        Kind.CREATED,
        Kind.UPDATED,
        Kind.UPDATED,
    ]


def test_an_alert_that_is_shown_twice_on_one_page_is_published_once():
    judgement = judge(state(), alert(), alert(), alert(noise=1))
    assert reasons(judgement) == {Reason.NEW: 1, Reason.DUPLICATE: 2}


def test_what_lies_below_the_horizon_is_counted_and_not_published():
    of = state()
    judgement = judge(of, alert(updated=of.horizon - 1), alert("b", of.horizon))
    assert reasons(judgement) == {Reason.NEW: 1, Reason.BEYOND: 1}


def test_an_alert_below_the_overlap_was_found_late():
    passed = NOW - REACH.overlap
    judgement = judge(state(), alert("a", passed - 1), alert("b", passed))
    assert judgement.late == 1
    assert {v.alert.id: v.late for v in judgement.published} == {"a": True, "b": False}


@pytest.mark.parametrize("updated", [NOW + SKEW + 1, END])
def test_an_alert_from_the_future_is_published_once_and_flagged(updated):
    of = state()
    first, again = judge(of, alert(updated=updated)), judge(of, alert(updated=updated))
    assert [verdict.future for verdict in first.published] == [True]
    assert first.future == 1
    assert reasons(again) == {Reason.DUPLICATE: 1}
    assert (of.fast, of.slow) == (NOW, NOW)


def test_a_small_skew_is_not_the_future():
    assert judge(state(), alert(updated=NOW + SKEW)).future == 0


def test_alerts_from_the_future_are_bounded_and_those_of_today_are_not():
    of = state()
    many = judge(of, *(alert(f"a{n}", END) for n in range(10_001)))
    assert reasons(many) == {Reason.NEW: 10_000, Reason.BEYOND: 1}
    more = judge(of, alert("b", END), alert("c", NOW))
    assert reasons(more) == {Reason.NEW: 1, Reason.BEYOND: 1}


def test_the_future_has_room_again_once_it_is_the_present():
    of = state()
    soon = NOW + SKEW + MINUTE
    judge(of, *(alert(f"a{n}", soon) for n in range(10_000)))
    assert not judge(of, alert("b", END)).published
    assert judge(of, alert("b", END), now=soon).published


def test_what_cannot_be_understood_is_set_aside_once():
    of = state()
    first, again = judge(of, malformed(), malformed(b"[]")), judge(of, malformed())
    assert [item.record.raw for item in first.quarantined] == [b"{}", b"[]"]
    assert [item.reason for item in first.quarantined] == ["no_id", "no_id"]
    assert (len(again.quarantined), again.duplicates) == (0, 1)


def test_a_record_without_a_time_is_set_aside_once_as_long_as_it_is_shown():
    of = state()
    judge(of, malformed())
    now = NOW
    for _ in range(20):
        now += REACH.look_back // 4
        of.apply(of.advance(None, reach=REACH, now=now, fast=now, slow=now))
        assert not judge(of, malformed(), now=now).quarantined


def test_a_malformed_record_below_the_horizon_is_counted_only():
    of = state()
    judgement = judge(of, malformed(updated=of.horizon - 1))
    assert reasons(judgement) == {Reason.BEYOND: 1}
    assert not judgement.quarantined


def test_a_malformed_record_from_the_end_of_time_is_remembered_as_of_now():
    of = state()
    record = malformed(updated=END)
    judge(of, record)
    assert of.ledger.aside(record.digest) == NOW


def test_what_kafka_refused_is_set_aside_with_its_reason_and_never_published():
    of, refused = state(), alert()
    first = judge(of, refused, alert("b"), rejected={refused.digest: "too_large"})
    assert [item.reason for item in first.quarantined] == ["too_large"]
    assert [verdict.alert.id for verdict in first.published] == ["b"]
    assert reasons(judge(of, refused)) == {Reason.DUPLICATE: 1}


def test_what_kafka_refused_is_set_aside_once_however_its_lists_are_ordered():
    of, one, other = state(), alert(noise=1), alert(noise=2)
    judge(of, one, rejected={one.digest: "too_large"})
    again = judge(of, other, rejected={other.digest: "too_large"})
    assert (len(again.quarantined), again.duplicates) == (0, 1)


def test_the_next_version_of_what_kafka_refused_is_published():
    of, refused = state(), alert()
    judge(of, refused, rejected={refused.digest: "too_large"})
    assert judge(of, alert(updated=refused.updated + 1, content=2)).published


def test_the_sum_of_all_decisions_is_what_was_received():
    of, refused = state(), alert("refused")
    judge(of, alert())
    judgement = judge(
        of,
        *(alert(), alert(content=2), alert("b"), alert(updated=NOW - 2 * MINUTE)),
        *(alert("old", of.horizon - 1), alert("later", END), refused),
        *(malformed(), malformed(), malformed(b"x", of.horizon - 1)),
        rejected={refused.digest: "too_large"},
    )
    assert judgement.received == 10
    assert len(judgement.published) == 3
    assert len(judgement.quarantined) == 2
    assert (judgement.duplicates, judgement.stale) == (2, 3)


def test_where_memory_is_full_the_unknown_is_counted_and_the_known_still_decided():
    ledger = Ledger()
    ledger.write(1, {"known": remember(alert("known"), canonical)}, {})
    judgement = Judge(
        ledger=ledger,
        horizon=0,
        now=NOW,
        passed=0,
        refresh_before=0,
        room=2,
        future_room=9,
        canonical=canonical,
        rejected={},
        judgement=Judgement(),
    ).decide([*(alert(f"a{n}") for n in range(3)), malformed(), alert("known", NOW)])
    assert reasons(judgement) == {Reason.NEW: 1, Reason.CHANGED: 1, Reason.BEYOND: 2}
    assert len(judgement.quarantined) == 1


def test_a_window_never_starts_below_what_memory_reaches():
    of = FeedState.first(FEED, now=NOW, reach=REACH)
    assert {of.window(tier, REACH) for tier in Tier} == {NOW - REACH.first}
    of.apply(of.advance(None, reach=REACH, now=NOW, fast=NOW, slow=NOW))
    assert of.window(Tier.FAST, REACH) == NOW - REACH.overlap
    assert of.window(Tier.SLOW, REACH) == NOW - REACH.look_back
    assert of.horizon == NOW - REACH.look_back - SLACK


def test_a_longer_look_back_than_before_reads_only_as_far_as_memory_reaches():
    of = state()
    longer = Reach(REACH.overlap, 10 * REACH.look_back, REACH.first)
    assert of.window(Tier.SLOW, longer) == of.horizon


def test_no_watermark_goes_back_or_passes_the_apis_own_time():
    of = state()
    for fast, slow in ((NOW - MINUTE, NOW - MINUTE), (NOW + MINUTE, END)):
        of.apply(of.advance(None, reach=REACH, now=NOW, fast=fast, slow=slow))
        assert (of.fast, of.slow) == (NOW, NOW)


def test_a_step_that_changes_nothing_writes_nothing():
    of = state()
    assert not of.advance(None, reach=REACH, now=NOW, fast=NOW).records
