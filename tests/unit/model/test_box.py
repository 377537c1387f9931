import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model.box import GRAIN, Box, ceiling, cut_around, cut_at, cut_blindly, floor
from ingest.model.instant import TICKS, format_instant, parse_instant

END = parse_instant("9999-12-31T23:59:59.9999999Z")


def seen(*times):
    """Return records of these seconds: of `lastUpdateTime`, or of both times."""
    pairs = [time if isinstance(time, tuple) else (time, time) for time in times]
    return [(int(u * TICKS), int(c * TICKS), n) for n, (u, c) in enumerate(pairs)]


def updated_edges(boxes):
    return [(box.updated_from, box.updated_to) for box in boxes]


def test_a_box_is_cut_on_both_sides_of_the_second_of_its_median_record():
    boxes = cut_around(Box(0), seen(3, 5.5, 9), GRAIN)
    assert updated_edges(boxes) == [
        (0, 5 * TICKS),
        (5 * TICKS, 6 * TICKS),
        (6 * TICKS, None),
    ]


def test_a_tie_becomes_a_box_of_its_own():
    boxes = cut_around(Box(0, 100 * TICKS), seen(*[7.25] * 50), GRAIN)
    assert (7 * TICKS, 8 * TICKS) in updated_edges(boxes)


def test_a_box_of_one_second_is_cut_by_creation():
    box = Box(5 * TICKS, 6 * TICKS)
    boxes = cut_around(box, seen((5.1, 1), (5.2, 2), (5.3, 3)), GRAIN)
    assert updated_edges(boxes) == [(5 * TICKS, 6 * TICKS)] * 3
    assert [(box.created_from, box.created_to) for box in boxes] == [
        (None, 2 * TICKS),
        (2 * TICKS, 3 * TICKS),
        (3 * TICKS, None),
    ]


def test_a_box_of_one_second_of_both_times_cannot_be_cut_on_whole_seconds():
    box = Box(5 * TICKS, 6 * TICKS, 2 * TICKS, 3 * TICKS)
    assert cut_around(box, seen((5.5, 2.5)), GRAIN) == []
    assert len(cut_around(box, seen((5.5, 2.5)), 1)) == 3


def test_records_outside_the_box_do_not_say_where_to_cut_it():
    assert cut_around(Box(5 * TICKS, 6 * TICKS, 0, TICKS), seen((9, 9), (2, 2)), GRAIN) == []


def test_records_without_times_do_not_say_where_to_cut():
    assert cut_around(Box(0), [(None, None, 1)], GRAIN) == []
    assert cut_around(Box(0), [], GRAIN) == []


def test_no_cut_is_made_at_an_instant_that_cannot_be_written():
    boxes = cut_around(Box(0), [(END, END, 1), (END, END, 2)], GRAIN)
    assert boxes
    for _, edge in updated_edges(boxes):
        assert edge is None or format_instant(edge)


def test_a_box_that_nobody_saw_is_cut_at_the_present_and_then_in_the_middle():
    assert updated_edges(cut_blindly(Box(0), 99 * TICKS + 1)) == [
        (0, 100 * TICKS),
        (100 * TICKS, None),
    ]
    assert updated_edges(cut_blindly(Box(0, 99 * TICKS), 0)) == [
        (0, 49 * TICKS),
        (49 * TICKS, 99 * TICKS),
    ]


@pytest.mark.parametrize("box", [Box(5 * TICKS, 6 * TICKS), Box(100 * TICKS), Box(END + 1)])
def test_a_box_too_narrow_to_cut_blindly_is_left_whole(box):
    assert cut_blindly(box, 99 * TICKS) == []


TIMES = st.integers(0, 60 * TICKS) | st.just(END)
BOXES = st.builds(
    lambda start, width, created: Box(
        floor(start), None if width is None else floor(start) + width * TICKS, *created
    ),
    st.integers(0, 30 * TICKS),
    st.none() | st.integers(1, 40),
    st.sampled_from([(None, None), (0, None), (None, 50 * TICKS), (3 * TICKS, 50 * TICKS)]),
)


@settings(deadline=None, max_examples=100)
@given(
    box=BOXES,
    records=st.lists(st.tuples(TIMES | st.none(), TIMES | st.none(), st.integers()), max_size=9),
    grain=st.sampled_from([GRAIN, TICKS // 1000, 1]),
)
def test_the_parts_of_a_box_are_smaller_and_leave_no_gap(box, records, grain):
    parts = cut_around(box, records, grain)
    if not parts:
        return
    axis = "updated" if parts[0].updated_to != box.updated_to else "created"
    edges = [getattr(part, f"{axis}_from") for part in parts[1:]]
    assert edges == sorted(set(edges))
    assert cut_at(box, edges, axis=axis) == parts
    assert all(edge % grain == 0 for edge in edges)
    assert all(part != box for part in parts)


@given(ticks=st.integers(-(10**18), 10**18), grain=st.sampled_from([1, 10_000, TICKS]))
def test_floor_and_ceiling_enclose_an_instant(ticks, grain):
    assert floor(ticks, grain) <= ticks <= ceiling(ticks, grain)
    assert ceiling(ticks, grain) - floor(ticks, grain) in (0, grain)
