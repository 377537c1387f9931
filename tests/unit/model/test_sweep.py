"""One sweep against an API of a few records, question by question."""

import random

import pytest

from ingest.model.box import Answer, Ask, Box
from ingest.model.instant import TICKS, parse_instant
from ingest.model.sweep import Sweep, Yardstick
from tests.fakes.vendor import Quirks, Refused, Vendor, Version

NOW = parse_instant("2024-03-01T12:00:00Z")
START = NOW - 3600 * TICKS
TOP = 10


def records(count, *, gap=TICKS, tied=False):
    """Return alerts of the last hour, one every `gap`, or all of one tick."""
    times = [START + 60 * TICKS + (0 if tied else n * gap) for n in range(count)]
    return [Version(f"a{n}", 0, time, time, 0) for n, time in enumerate(times)]


def make(*, slow=False, yardstick=0, handful=4, now=NOW):
    return Sweep(
        start=START, now=now, top=TOP, slow=slow, yardstick=Yardstick(yardstick), handful=handful
    )


def answer_of(vendor, ask):
    page = vendor.answer(ask)
    seen = [(record.updated, record.created, record.digest) for record in page.records]
    return Answer(seen, page.next_link, page.server_time, linked=page.linked)


def read(sweep, versions, quirks, *, largest=None):
    """Answer a sweep to its end; return the questions, and what was shown."""
    vendor = Vendor(versions, quirks, now=NOW, rng=random.Random(1))
    asks: list[Ask] = []
    shown = set()
    while (ask := sweep.next()) is not None:
        asks.append(ask)
        try:
            answer = answer_of(vendor, ask)
        except Refused:
            assert sweep.refused()
            continue
        if largest is not None and len(answer.records) > largest:
            sweep.too_large()
            continue
        shown |= {digest for _, _, digest in answer.records}
        sweep.answered(answer)
    return asks, shown


def test_an_empty_window_is_read_with_one_question():
    sweep = make()
    asks, _ = read(sweep, [], Quirks())
    assert asks == [Ask(Box(START), TOP)]
    assert sweep.done
    assert sweep.watermark == NOW


def test_a_fast_sweep_believes_a_handful():
    asks, _ = read(make(), records(4), Quirks())
    assert len(asks) == 1


def test_a_slow_sweep_believes_no_handful_without_a_probe():
    asks, _ = read(make(slow=True), records(4), Quirks())
    assert [ask.skip for ask in asks] == [0, 4]


def test_a_handful_that_offers_a_link_is_probed():
    asks, _ = read(make(), records(4), Quirks(links="foreign"))
    assert [ask.skip for ask in asks] == [0, 4]


def test_a_link_is_asked_for_what_speaks_against_an_answer():
    asks, _ = read(make(), records(4), Quirks(links="looping"))
    assert [(ask.skip, ask.link) for ask in asks] == [(0, None), (4, None), (0, "0")]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("count", [9, 10, 11, 35])
@pytest.mark.parametrize("cap", [None, 5, 9])
def test_a_window_is_read_whole_however_short_the_pages(count, cap, slow):
    sweep = make(slow=slow)
    _, shown = read(sweep, records(count), Quirks(cap=cap))
    assert len(shown) == count
    assert sweep.doubts == 0


def test_a_tie_larger_than_a_page_is_drained_by_skip():
    sweep = make()
    asks, shown = read(sweep, records(35, tied=True), Quirks(cap=5))
    assert len(shown) == 35
    assert sweep.doubts == 0
    assert max(ask.skip for ask in asks) >= 30


@pytest.mark.parametrize("at", range(30))
def test_a_record_that_leaves_a_tie_while_it_is_drained_hides_no_other(at):
    # All behind it move up by one place, and one of them over the edge of a page.
    tied = records(14, tied=True)
    moved = Version("a0", 1, NOW, START, NOW + at * TICKS)
    vendor = Vendor([*tied, moved], Quirks(cap=5), now=NOW, rng=random.Random(1))
    sweep = make()
    shown = set()
    while (ask := sweep.next()) is not None:
        page = vendor.answer(ask)
        shown |= {record.id for record in page.records}
        seen = [(record.updated, record.created, record.digest) for record in page.records]
        sweep.answered(Answer(seen, None, page.server_time))
        vendor.pass_time(TICKS)
    assert shown == {f"a{n}" for n in range(14)}


@pytest.mark.parametrize("quirks", [Quirks(skip="ignored"), Quirks(skip="refused")])
def test_a_tie_that_cannot_be_drained_is_passed_in_doubt(quirks):
    sweep = make()
    read(sweep, records(35, tied=True), quirks)
    assert sweep.doubts >= 1
    assert sweep.done


@pytest.mark.parametrize("skip", ["ignored", "refused"])
def test_what_shares_a_second_is_cut_within_it_where_skip_does_not_reach(skip):
    sweep = make()
    _, shown = read(sweep, records(35, gap=TICKS // 40), Quirks(skip=skip))
    assert len(shown) == 35


@pytest.mark.parametrize("skip", ["ignored", "refused"])
@pytest.mark.parametrize("literals", [TICKS, TICKS // 1000])
def test_a_server_that_truncates_filters_hides_nothing_without_a_doubt(skip, literals):
    # Cut within a second, such a filter asks from an instant to itself: always an empty answer.
    sweep = make()
    _, shown = read(sweep, records(35, tied=True), Quirks(skip=skip, literals=literals))
    assert len(shown) < 35
    assert sweep.doubts >= 1


def test_a_refused_filter_on_creation_is_not_asked_again():
    tied = [Version(f"a{n}", 0, NOW - TICKS, START + n * 10 * TICKS, 0) for n in range(35)]
    sweep = make()
    asks, shown = read(sweep, tied, Quirks(creation_filter=False))
    assert len(shown) == 35
    assert sum(ask.box.created_to is not None for ask in asks) == 1


def test_a_refused_first_question_fails_the_sweep():
    sweep = make()
    sweep.next()
    assert not sweep.refused()


def test_a_refused_link_speaks_neither_for_nor_against():
    sweep = make()
    sweep.next()
    sweep.answered(Answer([], "link", NOW, linked=True))
    assert sweep.next().link == "link"
    assert sweep.refused()
    assert sweep.done


def test_a_link_that_shows_more_makes_the_answer_a_part():
    sweep = make()
    sweep.next()
    first = [(START + TICKS, START, 1)]
    sweep.answered(Answer(first, "link", NOW, linked=True))
    sweep.next()
    sweep.answered(Answer([], None, NOW))
    assert sweep.next().link == "link"
    sweep.answered(Answer([*first, (START + 5 * TICKS, START, 2)], None, NOW))
    assert not sweep.done
    assert sweep.next().box != Box(START)


def test_an_answer_that_is_too_large_is_asked_for_in_smaller_boxes():
    sweep = make()
    _, shown = read(sweep, records(9, gap=200 * TICKS), Quirks(), largest=3)
    assert len(shown) == 9
    assert sweep.doubts == 0


def test_a_tie_that_is_too_large_is_asked_for_in_smaller_pages():
    sweep = make()
    _, shown = read(sweep, records(9, tied=True), Quirks(), largest=3)
    assert len(shown) == 9
    assert sweep.doubts == 0


def test_a_record_that_can_never_be_read_is_passed_in_doubt_and_the_rest_is_read():
    sweep = make()
    poison = {5}
    tied = records(9, tied=True)
    shown = set()
    while (ask := sweep.next()) is not None:
        rows = [n for n, v in enumerate(tied) if _within(ask.box, v)][ask.skip :][: ask.top]
        if poison & set(rows):
            sweep.too_large()
            continue
        shown |= set(rows)
        sweep.answered(Answer([(tied[n].updated, tied[n].created, n) for n in rows], None, NOW))
    assert shown == set(range(9)) - poison
    assert sweep.doubts >= 1


def _within(box, version):
    return version.updated >= box.updated_from and (
        box.updated_to is None or version.updated < box.updated_to
    )


def test_the_watermark_is_the_start_until_an_answer_came():
    sweep = make()
    sweep.next()
    assert sweep.watermark == START


@pytest.mark.parametrize("skew", [-100 * TICKS, 100 * TICKS])
def test_the_watermark_passes_neither_clock(skew):
    sweep = make()
    read(sweep, [], Quirks(skew=skew))
    assert sweep.watermark == min(NOW, NOW + skew)


def test_the_watermark_rises_with_the_proven_boxes_only():
    sweep = make(slow=True)
    vendor = Vendor(records(35), Quirks(), now=NOW, rng=random.Random(1))
    marks = []
    while (ask := sweep.next()) is not None:
        assert ask.box.updated_from >= sweep.watermark
        sweep.answered(answer_of(vendor, ask))
        marks.append(sweep.watermark)
    assert marks == sorted(marks)
    assert marks[0] == START


def test_an_api_that_always_has_more_ends_the_sweep_in_doubt_or_short():
    sweep = make()
    fresh = iter(range(10**9))
    while (ask := sweep.next()) is not None:
        time = max(START, ask.box.updated_from) + 1
        sweep.answered(Answer([(time, time, next(fresh)) for _ in range(TOP)], None, NOW))
    assert sweep.calls <= 2_000
    assert sweep.doubts
    assert sweep.watermark <= NOW


def test_a_sweep_that_is_cut_short_leaves_its_watermark_at_what_it_proved():
    sweep = make(slow=True)
    vendor = Vendor(records(3000), Quirks(cap=5), now=NOW, rng=random.Random(1))
    while (ask := sweep.next()) is not None:
        sweep.answered(answer_of(vendor, ask))
    assert sweep.cut_short
    assert START < sweep.watermark < START + 3000 * TICKS


def test_the_yardstick_remembers_the_longest_answer_and_wears_off():
    sweep = make()
    read(sweep, records(9), Quirks())
    assert sweep.yardstick.longest == 9
    worn = sweep.yardstick
    for _ in range(50):
        worn = worn.worn()
    assert worn.longest == 0


def test_an_answer_well_below_the_longest_is_believed_where_skip_says_nothing():
    asks, _ = read(make(yardstick=40), records(6), Quirks(skip="ignored"))
    assert len(asks) == 2


def test_an_answer_as_long_as_the_longest_is_not_believed():
    asks, _ = read(make(yardstick=7), records(6), Quirks(cap=6))
    assert len(asks) > 2


def test_what_was_cut_by_creation_holds_the_watermark_until_each_part_is_read():
    timeless = [(None, START + n * TICKS, n) for n in range(TOP)]
    timed = [(START + (60 + n) * TICKS, START, 100 + n) for n in range(TOP)]
    sweep = make()
    answers = iter([timeless, timed, []])
    for answer in answers:
        asked = sweep.next()
        sweep.answered(Answer(answer, None, NOW))
    assert asked.box.updated_to is not None
    assert sweep.watermark == START


def test_what_lies_beyond_now_ends_no_reading_while_parts_before_it_are_left():
    timeless = [(None, START + n * TICKS, n) for n in range(TOP)]
    sweep = make()
    sweep.next()
    sweep.answered(Answer(timeless, None, NOW))
    older = sweep.next().box.created_to
    for n in range(100):
        ahead = [(NOW + (2 + n + m) * TICKS, START, 1000 * n + m) for m in range(TOP)]
        sweep.answered(Answer(ahead if n % 3 == 0 else [], None, NOW))
        asked = sweep.next()
        if asked is None or (asked.box.created_from or 0) >= older:
            break
    assert asked is not None
