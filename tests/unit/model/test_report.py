"""A status that is written is read as it was, and is shown as unread when nobody renews it."""

import json

import pytest

from ingest.errors import Blame, StatusUnreadable
from ingest.model.report import (
    FRESH_SECONDS,
    PENDING,
    UNREAD,
    UNREADABLE,
    decode_report,
    encode_report,
    seen,
)
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.status import FeedStatus, Poll, State, Transition
from ingest.model.tenant import FeedKey, Tenant

NOW = 1_800_000_000.0
TENANT = Tenant("11111111-2222-3333-4444-555555555555", "contoso", "eu")
KEY = TENANT.id.encode()


def registered(standing=Standing.ACTIVE, why=""):
    return Registration(TENANT, standing, Origin.COMMAND, by="ann@desk", at=NOW - 500, why=why)


def status(state=State.HEALTHY, **changes):
    return FeedStatus(
        **{
            "feed": FeedKey(TENANT.id),
            "name": "contoso",
            "state": state,
            "code": "ok",
            "reason": "read to the end",
            "blame": Blame.NOBODY,
            "since": NOW - 300,
            "fresh_at": NOW - 30,
            "watermark": NOW - 900,
            **changes,
        }
    )


def report(now=NOW, **changes):
    return decode_report(KEY, encode_report(status(**changes), replica="host:1", now=now))


def test_what_is_written_is_read_back():
    found = report()
    assert (found.tenant, found.state, found.code) == (TENANT.id, "healthy", "ok")
    assert (found.reason, found.must_act) == ("read to the end", "nobody")
    assert (found.since, found.fresh_at, found.watermark) == (NOW - 300, NOW - 30, NOW - 900)
    assert (found.replica, found.fresh_until) == ("host:1", NOW + FRESH_SECONDS)


def test_its_history_is_read_back_too():
    entered = Transition(NOW - 300, "healthy", "healthy", "nobody")
    poll = Poll(NOW - 30, "fast", "whole", 0.5, 3, 1, 1)
    more = {"silent_since": NOW - 99, "calls_left": 7, "reconciled_at": NOW - 50}
    found = report(transitions=(entered,), polls=(poll,), **more)
    assert (found.transitions, found.polls) == ((entered,), (poll,))
    assert (found.calls_left, found.instant("silent_since")) == (7, NOW - 99)
    assert (found.instant("reconciled_at"), found.instant("looked_at")) == (NOW - 50, None)


@pytest.mark.parametrize("rest", [{}, {"transitions": 7}, {"transitions": [7, {"at": "then"}, {}]}])
def test_what_of_a_history_cannot_be_read_is_left_out(rest):
    document = json.loads(encode_report(status(), replica="host:1", now=NOW))
    del document["transitions"], document["polls"], document["calls_left"]
    found = decode_report(KEY, json.dumps(document | rest).encode())
    assert (found.transitions, found.polls, found.calls_left) == ((), (), None)


@pytest.mark.parametrize("strange", [["Z"] * 20, dict.fromkeys("abcdefghijklmnopqrst"), 7, True])
def test_a_time_that_is_no_text_is_none(strange):
    document = json.loads(encode_report(status(), replica="r", now=NOW))
    document |= {"reconciled_at": strange, "polls": [{"at": strange}]}
    found = decode_report(KEY, json.dumps(document).encode())
    assert (found.instant("reconciled_at"), found.polls) == (None, ())


def test_damage_beside_what_every_page_shows_costs_the_history_only():
    value = encode_report(status(), replica="host:1", now=NOW)
    found = decode_report(KEY, value.replace(b'"transitions":[]', b'"transitions":["\xff"]'))
    assert (found.state, found.since) == ("healthy", NOW - 300)
    assert (found.document, found.transitions, found.instant("silent_since")) == ({}, (), None)


def test_what_was_never_read_has_no_freshness():
    found = report(fresh_at=None, watermark=None)
    assert (found.fresh_at, found.watermark) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": "1"},
        {"state": 3},
        {"since": None},
        {"fresh_until": "soon"},
        {"reason": None},
    ],
)
def test_a_status_of_another_form_is_unreadable_and_names_its_tenant(changes):
    document = json.loads(encode_report(status(), replica="host:1", now=NOW))
    with pytest.raises(StatusUnreadable, match=TENANT.id):
        decode_report(KEY, json.dumps(document | changes).encode())


@pytest.mark.parametrize("value", [b"", b"well", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_status_is_unreadable(value):
    with pytest.raises(StatusUnreadable):
        decode_report(KEY, value)


def test_a_fresh_status_is_shown_as_it_is():
    shown = seen(registered(), report(), NOW + FRESH_SECONDS)
    assert (shown.state, shown.reason, shown.must_act) == ("healthy", "read to the end", "nobody")
    assert (shown.since, shown.fresh_at) == (NOW - 300, NOW - 30)


@pytest.mark.parametrize("state", list(State))
def test_a_status_that_nobody_renews_is_unread_and_never_its_last_word(state):
    shown = seen(registered(), report(state=state), NOW + FRESH_SECONDS + 1)
    assert (shown.state, shown.must_act) == (UNREAD, "us")
    assert shown.since == NOW - 30
    assert shown.reason.startswith("unread since 2027-01-15T07:59:30Z: ")
    assert "since 2027-01-15T08:00:00Z" in shown.reason
    assert "read to the end" not in shown.reason


def test_one_that_was_never_read_and_is_renewed_no_more_is_unread_too():
    shown = seen(registered(), report(fresh_at=None), NOW + FRESH_SECONDS + 1)
    assert (shown.state, shown.since) == (UNREAD, None)
    assert shown.reason.startswith("never read to the end: ")


def test_one_without_a_status_is_not_read_yet():
    shown = seen(registered(), None, NOW)
    assert (shown.state, shown.since) == (PENDING, NOW - 500)
    assert shown.reason.startswith("not read yet")


def test_one_that_was_resumed_a_moment_ago_is_not_shown_as_paused():
    assert seen(registered(), report(state=State.PAUSED), NOW).state == PENDING


def test_one_whose_status_is_unreadable_is_shown_so():
    shown = seen(registered(), StatusUnreadable("of another version"), NOW)
    assert (shown.state, shown.reason, shown.must_act) == (UNREADABLE, "of another version", "us")


@pytest.mark.parametrize("standing", [Standing.PAUSED, Standing.REMOVED])
def test_who_is_not_to_be_read_is_so_by_the_registration_whatever_was_said_before(standing):
    for said in (None, report(), report(now=0.0)):
        shown = seen(registered(standing, why="a question"), said, NOW)
        assert shown.state == standing
        assert shown.reason == f"{standing} by ann@desk: a question"
        assert shown.since == NOW - 500
