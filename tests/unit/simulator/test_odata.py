import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.odata import ODataError, read_filter, read_query
from ingest.simulator.times import read_instant, write_instant

ALERT = {
    "id": "da1_-2",
    "lastUpdateTime": read_instant("2026-01-02T03:04:05.0000002Z"),
    "alertCreationTime": read_instant("2026-01-01T00:00:00Z"),
    "incidentId": 7,
    "investigationId": None,
    "assignedTo": "o'neill@contoso.com",
    "status": "New",
    "severity": "High",
    "category": "Malware",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("lastUpdateTime ge 2026-01-02T03:04:05.0000002Z", True),
        ("lastUpdateTime gt 2026-01-02T03:04:05.0000002Z", False),
        ("lastUpdateTime gt 2026-01-02T03:04:05.0000001Z", True),
        ("lastUpdateTime le 2026-01-02T03:04:05.0000002Z", True),
        ("lastUpdateTime lt 2026-01-02T03:04:05.0000002Z", False),
        ("lastUpdateTime eq 2026-01-02T04:04:05.0000002+01:00", True),
        ("lastUpdateTime ge 2026-01-02T03:04:05Z", True),
        ("alertCreationTime lt 2026-01-01T00:00:00.1Z", True),
        ("status eq 'New' and severity ne 'Low'", True),
        ("status eq 'new'", False),
        ("status eq 'Resolved' or severity eq 'High' and category eq 'Malware'", True),
        ("(status eq 'Resolved' or severity eq 'High') and category eq 'Phishing'", False),
        ("not (status eq 'Resolved')", True),
        ("incidentId ge 7 and incidentId lt 8", True),
        ("InvestigationId eq null", True),
        ("InvestigationId ne null", False),
        ("InvestigationId ge 0", False),
        ("asssignedTo eq 'o''neill@contoso.com'", True),
        ("id eq 'da1_-2'", True),
    ],
)
def test_a_filter_says_what_it_says(text, holds):
    assert read_filter(text).holds(ALERT.get) is holds
    query = read_query(f"$filter={text.replace('+', '%2B')}")
    low = query.since is None or query.since <= ALERT["lastUpdateTime"]
    high = query.until is None or ALERT["lastUpdateTime"] < query.until
    rest = query.rest is None or query.rest.holds(ALERT.get)
    assert (low and high and rest) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "title eq 'x'",
        "status eq New",
        "status eq 1",
        "status is 'New'",
        "lastUpdateTime ge '2026-01-01T00:00:00Z'",
        "lastUpdateTime ge 2026-01-01",
        "lastUpdateTime ge 2026-01-01T00:00:00",
        "lastUpdateTime ge 2026-01-01T00:00:00.12345678Z",
        "lastUpdateTime ge 2026-13-01T00:00:00Z",
        "incidentId eq 'seven'",
        "status eq 'New' and",
        "(status eq 'New'",
        "status eq 'New')",
        "status eq 'New' severity eq 'Low'",
        "(" * 200 + "status eq 'New'" + ")" * 200,
        "status eq 'New",
        "lastUpdateTime ge 2026-01-01T00:00:00Z; drop",
    ],
)
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(ODataError):
        read_filter(text)


@pytest.mark.parametrize(
    "query",
    [
        "$top=10001",
        "$top=-1",
        "$top=ten",
        "$top=1&$top=2",
        "$skip=-1",
        "$orderby=title",
        "$orderby=lastUpdateTime sideways",
        "$expand=comments",
        "$select=id",
        "$count=true",
    ],
)
def test_query_options_beyond_the_documented_are_refused(query):
    with pytest.raises(ODataError):
        read_query(query)


def test_the_largest_page_is_ten_thousand():
    assert read_query("$top=10000").top == 10_000
    assert read_query("").top == 10_000
    with pytest.raises(ODataError, match="10000"):
        read_query("$top=10001")


@given(ticks=st.integers(0, 253_402_300_799 * 10_000_000), digits=st.integers(0, 7))
def test_instants_are_cut_never_rounded(ticks, digits):
    text = write_instant(ticks, digits)
    assert read_instant(text) == ticks - ticks % 10 ** (7 - digits)
    assert len(text) == 20 + (digits and digits + 1)
