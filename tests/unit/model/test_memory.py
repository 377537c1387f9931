import itertools

import pytest

from ingest.model.alert import Alert
from ingest.model.memory import PRINTS_PER_TIME, Entry, Judgement, Kind, Reason, compare, kind_of
from ingest.model.memory import remember as remembered

HORIZON = 1000


def alert(updated=5000, *, content=1, noise=0, created=4000, resolved=False):
    """Return an alert; `noise` is what changes its bytes and not its content."""
    raw = f"{content} {noise}".encode()
    return Alert("a", updated, created, resolved, raw, content * 1000 + noise)


def canonical(one: Alert) -> int:
    return int(one.raw.split()[0])


def entry_of(*alerts):
    """Return what is remembered after these were published."""
    entry = None
    for one in alerts:
        entry = remembered(one, canonical) if entry is None else compare(entry, one, canonical)[1]
    return entry


def test_a_newer_time_is_a_change():
    newer = alert(5001, content=2)
    reason, entry = compare(entry_of(alert()), newer, canonical)
    assert reason is Reason.CHANGED
    assert entry == Entry(5001, newer.digest, (2,), resolved=False)


def test_a_newer_time_is_a_change_even_with_the_same_content():
    assert compare(entry_of(alert()), alert(5001), canonical)[0] is Reason.CHANGED


def test_the_same_bytes_are_a_duplicate_without_a_look_at_the_content():
    def never(raw):
        raise AssertionError(raw)

    assert compare(entry_of(alert()), alert(), never) == (Reason.DUPLICATE, None)


def test_other_bytes_of_the_same_content_are_a_duplicate():
    assert compare(entry_of(alert()), alert(noise=1), canonical) == (Reason.DUPLICATE, None)


def test_other_content_at_the_same_time_changed_silently():
    reason, entry = compare(entry_of(alert()), alert(content=2), canonical)
    assert reason is Reason.SILENT
    assert entry.prints == (1, 2)
    assert entry.updated == 5000


def test_content_that_comes_back_at_the_same_time_is_a_duplicate():
    entry = entry_of(alert(content=1), alert(content=2))
    assert compare(entry, alert(content=1), canonical) == (Reason.DUPLICATE, None)


def test_an_alert_that_keeps_changing_silently_is_flapping_and_published_no_more():
    entry = entry_of(*(alert(content=n) for n in range(PRINTS_PER_TIME)))
    assert len(entry.prints) == PRINTS_PER_TIME
    assert compare(entry, alert(content=99), canonical) == (Reason.FLAPPING, None)


def test_a_flapping_alert_is_published_again_once_its_time_moves():
    entry = entry_of(*(alert(content=n) for n in range(PRINTS_PER_TIME)))
    reason, entry = compare(entry, alert(5001, content=99), canonical)
    assert reason is Reason.CHANGED
    assert entry.prints == (99,)


def test_an_older_time_is_stale_whatever_its_content():
    assert compare(entry_of(alert()), alert(4999, content=2), canonical) == (Reason.STALE, None)


def test_one_tick_is_enough_to_tell_two_times_apart():
    entry = entry_of(alert(17_000_000_000_000_001))
    assert compare(entry, alert(17_000_000_000_000_000), canonical)[0] is Reason.STALE
    assert compare(entry, alert(17_000_000_000_000_002), canonical)[0] is Reason.CHANGED


@pytest.mark.parametrize("resolved", [False, True])
def test_an_alert_that_nobody_knew_and_is_young_was_created(resolved):
    assert kind_of(alert(resolved=resolved), None, HORIZON) is Kind.CREATED


def test_an_alert_from_before_memory_that_is_shown_first_was_updated():
    assert kind_of(alert(created=HORIZON - 1), None, HORIZON) is Kind.UPDATED


def test_an_alert_from_before_memory_that_is_shown_resolved_was_resolved():
    assert kind_of(alert(created=HORIZON - 1, resolved=True), None, HORIZON) is Kind.RESOLVED


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (False, False, Kind.UPDATED),
        (False, True, Kind.RESOLVED),
        (True, True, Kind.UPDATED),
        (True, False, Kind.REOPENED),
    ],
)
def test_a_known_alert_is_told_by_what_became_of_its_status(before, after, kind):
    entry = entry_of(alert(resolved=before))
    assert kind_of(alert(5001, resolved=after), entry, HORIZON) is kind


def test_what_is_remembered_says_whether_it_was_resolved():
    for first, second in itertools.product([False, True], repeat=2):
        entry = entry_of(alert(resolved=first), alert(content=2, resolved=second))
        assert entry.resolved is second


def test_flapping_counts_as_duplicate_and_beyond_as_stale():
    judgement = Judgement()
    for reason in Reason:
        judgement.reasons[reason] = 1
    assert judgement.duplicates == 2
    assert judgement.stale == 2
    assert not judgement.changes
