"""What the status page finds: searched, filtered, sorted, counted."""

import pytest

from ingest.model.roster import Standing
from ingest.model.status import State
from ingest.portal.fleet_view import LATE, Query
from tests.unit.portal.fleet import LATE_AFTER, NOW, Made, guid


@pytest.fixture
def made():
    return Made()


def numbers(view):
    return [int(one.registration.tenant.id[:8], 16) for one in view.rows]


def test_the_fleet_is_counted_whole_whatever_is_asked_for(made):
    made.add(1)
    made.add(2)
    made.park(3)
    made.park(4, "secret_expired")
    made.park(5)
    made.add(6, fresh_at=NOW - LATE_AFTER - 1)
    made.add(7, standing=Standing.REMOVED)
    view = made.look(Query(text="customer 1"))
    assert (view.total, view.matching, numbers(view)) == (6, 1, [1])
    assert view.states == {"parked": 3, "healthy": 3}
    assert view.parked == {"not_consented": 2, "secret_expired": 1}
    assert view.late == 1


def test_the_unwell_come_first(made):
    made.add(1)
    made.park(2)
    made.add(3, State.FAILING)
    made.add(4, None)
    assert numbers(made.look(Query())) == [2, 3, 4, 1]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({"text": "CUSTOMER 2"}, [2]),
        ({"text": guid(3)}, [3]),
        ({"text": "not_cons"}, [3]),
        ({"text": "nobody is called so"}, []),
        ({"state": "parked"}, [3]),
        ({"state": LATE}, [2]),
        ({"state": "removed"}, [4]),
        ({"code": "not_consented"}, [3]),
        ({"act": "customer"}, [3]),
        ({"act": "nobody", "sort": "name"}, [1, 2]),
    ],
)
def test_tenants_are_found_by_name_id_code_state_and_who_must_act(made, words, found):
    made.add(1)
    made.add(2, fresh_at=NOW - 9_999)
    made.park(3)
    made.add(4, standing=Standing.REMOVED)
    assert numbers(made.look(Query(**words))) == found


@pytest.mark.parametrize(
    ("sort", "order"),
    [("name", [2, 3, 1]), ("since", [3, 1, 2]), ("fresh", [2, 1, 3]), ("act", [1, 2, 3])],
)
def test_a_table_is_sorted_by_each_column_both_ways(made, sort, order):
    made.add(1, name="C", since=NOW - 50, fresh_at=NOW - 50)
    made.add(2, name="a", since=NOW - 10, fresh_at=NOW - 90)
    made.park(3, name="B", since=NOW - 90, fresh_at=NOW - 10)
    if sort == "act":
        order = [3, 2, 1]
    assert numbers(made.look(Query(sort=sort))) == order
    assert numbers(made.look(Query(sort=sort, down=True))) == order[::-1]


def test_a_page_beyond_the_last_is_the_last(made):
    for number in range(1, 6):
        made.add(number)
    assert numbers(made.look(Query(page=1), rows=2)) == [1, 2]
    last = made.look(Query(page=99), rows=2)
    assert (last.pages, numbers(last)) == (3, [5])


def test_a_status_that_nobody_renews_is_unread_and_not_late(made):
    made.add(1, said_at=NOW - 600, fresh_at=NOW - 630)
    view = made.look(Query())
    assert (view.states, view.late) == ({"unread": 1}, 0)
    assert view.rows[0].reason.startswith("unread since 2023-11-14T22:02:50Z")


def test_a_registration_that_cannot_be_read_is_shown_with_why(made):
    made.damaged[guid(9)] = "run the version that wrote it"
    view = made.look(Query())
    assert view.states == {"unreadable": 1}
    assert made.one(guid(9)).reason == "run the version that wrote it"
    assert made.one(guid(8)) is None


def test_looking_again_at_once_costs_nothing_and_a_moment_later_is_news(made):
    made.add(1)
    assert made.look(Query()).total == 1
    made.add(2)
    assert made.look(Query()).total == 1
    made.clock.now += 1.5
    assert made.look(Query()).total == 2


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"state": "fine"}, "state"),
        ({"act": "them"}, "act"),
        ({"sort": "colour"}, "sort"),
        ({"down": "2"}, "down"),
        ({"page": "0"}, "page"),
        ({"page": "-1"}, "page"),
        ({"page": "9" * 30}, "page"),
        ({"page": "²"}, "page"),
    ],
)
def test_a_word_that_is_none_is_refused_by_name(words, wrong):
    with pytest.raises(ValueError, match=f"^{wrong}: "):
        Query.of(words)


def test_a_link_says_what_differs_and_is_read_back():
    query = Query(text="a&b <c>", state="parked", sort="name", down=True, page=3)
    assert Query().link() == "?"
    link = query.link(page=4)
    assert link == "?q=a%26b+%3Cc%3E&state=parked&sort=name&page=4&down=1"
    assert query.link(state="") == "?q=a%26b+%3Cc%3E&sort=name&down=1"
