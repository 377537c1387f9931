"""Every tenant as a reader is to see it: the unwell first, and the stale never as well."""

import json
import uuid

from ingest.commands.listing import Listing
from ingest.commands.paint import Paint
from ingest.errors import Blame, StatusUnreadable
from ingest.model.report import decode_report, encode_report
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, Tenant

NOW = 1_800_000_000.0
IDS = [str(uuid.UUID(int=n)) for n in range(20)]


def registered(number, name, standing=Standing.ACTIVE):
    tenant = Tenant(IDS[number], name, "eu", (("tier", "gold"),))
    return Registration(tenant, standing, Origin.COMMAND, by="ann@desk", at=NOW - 9_000, why="why")


def status(number, state=State.HEALTHY, at=NOW, **more):
    kept = {
        "code": "ok",
        "reason": f"is {state}",
        "blame": Blame.NOBODY,
        "since": NOW - 300,
        **more,
    }
    found = FeedStatus(FeedKey(IDS[number]), "then", state, fresh_at=at - 30, **kept)
    return decode_report(IDS[number].encode(), encode_report(found, replica="host:1", now=at))


ROSTER = {
    one.tenant.id: one
    for one in (
        registered(1, "well"),
        registered(2, "parked"),
        registered(3, "stale"),
        registered(4, "new"),
        registered(5, "paused", Standing.PAUSED),
        registered(6, "gone", Standing.REMOVED),
        registered(7, "odd"),
        registered(8, "Another well"),
    )
}
STATUSES = {
    IDS[1]: status(1),
    IDS[2]: status(2, State.PARKED, blame=Blame.CUSTOMER),
    IDS[3]: status(3, at=NOW - 5_000),
    IDS[5]: status(5),
    IDS[7]: StatusUnreadable("of another version"),
    IDS[8]: status(8),
    IDS[9]: status(9),
}


def listing(state=None, unreadable=None, roster=ROSTER):
    return Listing(
        roster=roster, unreadable=unreadable or {}, statuses=STATUSES, now=NOW, state=state
    )


def names(lines):
    return [json.loads(line)["name"] for line in lines]


def test_the_unwell_come_first_and_the_removed_are_not_shown():
    assert names(listing().as_json()) == [
        "odd",
        "parked",
        "stale",
        "new",
        "Another well",
        "well",
        "paused",
    ]


def test_one_state_can_be_asked_for():
    assert names(listing("unread").as_json()) == ["stale"]
    assert names(listing("removed").as_json()) == ["gone"]
    assert names(listing("healthy").as_json()) == ["Another well", "well"]


def test_a_stale_status_is_shown_as_unread_since_its_last_reading():
    (stale,) = map(json.loads, listing("unread").as_json())
    assert stale["since"] == stale["fresh_at"] == "2027-01-15T06:36:10.0000000Z"
    assert stale["reason"].startswith("unread since 2027-01-15T06:36:10Z")
    assert stale["must_act"] == "us"
    assert "healthy" not in json.dumps(stale)


def test_a_json_line_has_the_registration_and_the_status():
    (one, _) = map(json.loads, listing("healthy").as_json())
    assert one == {
        "tenant": IDS[8],
        "name": "Another well",
        "region": "eu",
        "labels": {"tier": "gold"},
        "standing": "active",
        "origin": "command",
        "by": "ann@desk",
        "at": "2027-01-15T05:30:00.0000000Z",
        "why": "why",
        "state": "healthy",
        "code": "ok",
        "reason": "is healthy",
        "must_act": "nobody",
        "since": "2027-01-15T07:55:00.0000000Z",
        "fresh_at": "2027-01-15T07:59:30.0000000Z",
        "fresh_until": "2027-01-15T08:03:00.0000000Z",
        "watermark": None,
        "replica": "host:1",
    }


def test_a_table_has_a_line_for_each_and_one_that_counts():
    lines = list(listing(unreadable={IDS[0]: "of a newer version"}).as_table(None))
    assert len(lines) == 1 + 8 + 1
    assert " ".join(lines[0].split()) == (
        "NAME TENANT REGION STANDING STATE SINCE FRESH MUST ACT REASON"
    )
    assert lines[1].split()[:2] == ["?", IDS[0]]
    assert lines[1].endswith("us        of a newer version")
    (well,) = [line for line in lines if line.startswith("well")]
    assert well.split() == [
        *("well", IDS[1], "eu", "active", "healthy", "2027-01-15", "07:55Z", "30s", "nobody"),
        *("is", "healthy"),
    ]
    assert lines[-1] == (
        "8 tenants: 2 unreadable, 1 parked, 1 unread, 1 pending, 2 healthy, 1 paused; "
        "1 removed (--state removed)"
    )


def test_a_narrow_terminal_has_room_for_the_reason():
    lines = list(listing().as_table(80))
    assert lines[0].split() == ["NAME", "STATE", "FRESH", "MUST", "ACT", "REASON"]
    assert max(map(len, lines[:-1])) <= 80
    (stale,) = [line for line in lines if line.startswith("stale")]
    assert "unread since 2027-01-15" in stale


def test_nobody_is_told_as_such():
    assert list(listing(roster={}).as_table(80)) == ["0 tenants"]
    assert list(listing("parked", roster={}).as_table(80)) == ["0 tenants parked"]


def test_an_unreadable_registration_is_a_json_line_too():
    (line,) = listing("unreadable", {IDS[0]: "why"}, roster={}).as_json()
    assert json.loads(line)["tenant"] == IDS[0]
    assert list(listing("parked", {IDS[0]: "why"}, roster={}).as_json()) == []


def test_a_state_of_a_later_version_is_shown_first():
    later = {**STATUSES, IDS[1]: status(1).__class__(**{**_fields(status(1)), "state": "new-one"})}
    lines = Listing(roster=ROSTER, unreadable={}, statuses=later, now=NOW, state=None).as_json()
    assert "well" in names(lines)[:2]


def _fields(report):
    return {name: getattr(report, name) for name in report.__slots__}


def test_on_a_terminal_those_that_are_not_well_have_the_colour_of_their_state():
    lines = list(listing().as_table(None, Paint(enabled=True)))
    plain = list(listing().as_table(None))
    assert lines[0] == f"\x1b[1m{plain[0]}\x1b[0m"
    colours = dict(zip(plain[1:], lines[1:], strict=True))
    for line, coloured in colours.items():
        if "  parked  " in line or "  unread  " in line:
            assert coloured == f"\x1b[31m{line}\x1b[0m"
        if "  healthy  " in line:
            assert coloured == line
    assert any(line != coloured for line, coloured in colours.items())
