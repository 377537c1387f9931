from urllib.parse import parse_qs, urlsplit

import pytest

from ingest.model.instant import parse_instant
from ingest.model.sweep import Ask, Box
from ingest.source.query import followed_link, url_of

API = "https://api.test"
T = parse_instant("2024-01-02T03:04:05.1234567Z")


def test_a_box_becomes_a_filter_with_all_seven_digits():
    url = url_of(API, Ask(Box(T, T + 1, T + 2, T + 3), top=10_000))
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{API}/api/alerts"
    expected = (
        "lastUpdateTime ge 2024-01-02T03:04:05.1234567Z and "
        "lastUpdateTime lt 2024-01-02T03:04:05.1234568Z and "
        "alertCreationTime ge 2024-01-02T03:04:05.1234569Z and "
        "alertCreationTime lt 2024-01-02T03:04:05.1234570Z"
    )
    assert parse_qs(parts.query) == {
        "$filter": [expected],
        "$top": ["10000"],
        "$expand": ["evidence"],
    }


def test_an_open_box_and_a_probe_say_only_what_they_must():
    query = parse_qs(urlsplit(url_of(API, Ask(Box(T), top=5, skip=7))).query)
    assert query["$filter"] == ["lastUpdateTime ge 2024-01-02T03:04:05.1234567Z"]
    assert query["$skip"] == ["7"]


@pytest.mark.parametrize(
    "link",
    [
        f"{API}/api/alerts?$skiptoken=abc",
        "https://API.test:443/api/alerts?$skiptoken=abc",
        "/api/alerts?$skiptoken=abc",
        "?$skiptoken=abc",
    ],
)
def test_a_link_to_the_same_origin_and_path_is_followed(link):
    assert followed_link(API, link) is not None


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/api/alerts?$skip=1",
        "https://api.test.evil.test/api/alerts",
        "https://api.test@evil.test/api/alerts",
        "https://user:pw@api.test/api/alerts",
        "https://api.test:8443/api/alerts",
        "https://api.test:99999999/api/alerts",
        "http://api.test/api/alerts",
        "//evil.test/api/alerts",
        "\\\\evil.test\\api\\alerts",
        "https://api.test\\@evil.test/api/alerts",
        "https://api.test/api/machines",
        "https://api.test/api/alerts/../machines",
        "https://api.test/api/alerts\r\nHost: evil.test",
        "https://api.test/api/alerts?a b",
        "https://[::1/api/alerts",
        "https://api.test/api/alerts?" + "x" * 10_000,
        "https://ápi.test/api/alerts",
        "file:///etc/passwd",
        "",
        17,
        ["https://api.test/api/alerts"],
        None,
    ],
)
def test_a_link_that_leads_elsewhere_is_not_followed(link):
    assert followed_link(API, link) is None
