import pytest

from ingest.model.instant import format_instant, from_http_date, from_unix, parse_instant, to_unix

SECOND = 17_041_646_450_000_000
"""2024-01-02T03:04:05Z in ticks."""


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("2024-01-02T03:04:05Z", SECOND),
        ("2024-01-02t03:04:05z", SECOND),
        ("2024-01-02 03:04:05Z", SECOND),
        ("2024-01-02T03:04:05.1Z", SECOND + 1_000_000),
        ("2024-01-02T03:04:05.0000001Z", SECOND + 1),
        ("2024-01-02T03:04:05.9999999Z", SECOND + 9_999_999),
        ("2024-01-02T03:04:05.12345670000Z", SECOND + 1_234_567),
        ("2024-01-02T05:04:05+02:00", SECOND),
        ("2024-01-01T21:34:05.5-05:30", SECOND + 5_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.9999999Z", -1),
    ],
)
def test_a_timestamp_is_read_to_the_tick(text, ticks):
    assert parse_instant(text) == ticks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-01-02",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04Z",
        "2024-01-02T03:04:05.Z",
        "2024-01-02T03:04:05.12345678Z",
        "2024-01-02T03:04:05,5Z",
        "2024-01-02T03:04:05ZZ",
        " 2024-01-02T03:04:05Z",
        "2024-01-02T03:04:05Z\n",
        "2024-01-02T03:04:05+0200",
        "2024-01-02T03:04:05+24:00",
        "2024-13-02T03:04:05Z",
        "2024-02-30T03:04:05Z",
        "2023-02-29T03:04:05Z",
        "2024-01-02T24:00:01Z",
        "2024-01-02T03:60:05Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "-2024-01-02T03:04:05Z",
        "2024-01-02T03:04:05.\u0661Z",
        "\u0662024-01-02T03:04:05Z",
    ],
)
def test_what_is_no_timestamp_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the class is all that callers rely on
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59.9999999-14:00",
        "0001-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_an_instant_that_its_zone_takes_out_of_the_years_1_to_9999_is_refused(text):
    # It could not be written where the alert is published, nor in a query.
    with pytest.raises(ValueError):  # noqa: PT011 - the class is all that callers rely on
        parse_instant(text)


def test_the_first_and_the_last_instant_can_be_written():
    for text in ("0001-01-01T00:00:00.0000000Z", "9999-12-31T23:59:59.9999999Z"):
        assert format_instant(parse_instant(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Tue, 32 Jan 2024 03:04:05 GMT",
        "Tue, 02 Jan 2024 03:04:05",
        "Tue, 02 Jan 2024 03:04:05 -0000",
    ],
)
def test_what_is_no_http_date_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the class is all that callers rely on
        from_http_date(text)


def test_a_http_date_is_read():
    assert from_http_date("Tue, 02 Jan 2024 03:04:05 GMT") == SECOND


def test_unix_seconds_come_and_go():
    assert from_unix(1_704_164_645.5) == SECOND + 5_000_000
    assert to_unix(SECOND + 5_000_000) == 1_704_164_645.5
