"""Instants are exact: every width of fraction, every year, every zone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.instant import TICKS, format_instant, from_http_date, from_unix, parse_instant

FIRST = parse_instant("0001-01-01T00:00:00Z")
LAST = parse_instant("9999-12-31T23:59:59.9999999Z")
TIMES = st.integers(FIRST, LAST)


@given(ticks=TIMES)
def test_an_instant_is_written_and_read_to_the_tick(ticks):
    text = format_instant(ticks)
    assert len(text) == 28
    assert parse_instant(text) == ticks


@given(one=TIMES, other=TIMES)
def test_written_instants_sort_as_instants(one, other):
    assert (format_instant(one) < format_instant(other)) == (one < other)


@given(moment=st.datetimes(), digits=st.integers(0, 7), number=st.integers(0, 10**7 - 1))
def test_every_width_of_fraction_is_exact(moment, digits, number):
    fraction = f"{number:07d}"[:digits]
    text = f"{moment.replace(microsecond=0).isoformat()}{'.' if digits else ''}{fraction}Z"
    whole = parse_instant(f"{moment.replace(microsecond=0).isoformat()}Z")
    assert parse_instant(text) == whole + int(fraction.ljust(7, "0"))


@given(ticks=TIMES, zeros=st.integers(0, 5))
def test_zeros_beyond_the_seventh_digit_are_no_precision(ticks, zeros):
    text = format_instant(ticks)
    assert parse_instant(f"{text[:-1]}{'0' * zeros}Z") == ticks


@given(
    moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - made aware below
    minutes=st.integers(-24 * 60 + 1, 24 * 60 - 1),
)
def test_a_zone_shifts_the_instant(moment, minutes):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_instant(moment.isoformat()) == (moment - epoch) // timedelta(seconds=1) * TICKS


@given(
    text=st.from_regex(r"\d{4}-[01]\d-[0-3]\d[Tt ][0-2]\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
)
def test_what_looks_like_an_instant_is_one_or_a_value_error(text):
    try:
        ticks = parse_instant(text)
    except ValueError:
        return
    assert parse_instant(format_instant(ticks)) == ticks


@pytest.mark.parametrize("zone", ["Z", "+14:00", "-14:00", "+23:59", "-23:59", "+24:00"])
@pytest.mark.parametrize("year", [0, 1, 2, 9998, 9999])
@pytest.mark.parametrize("day", ["01-01T00:00:00", "12-31T23:59:59.9999999", "02-29T12:00:00"])
def test_what_is_read_as_an_instant_can_be_written(year, day, zone):
    # Else one hostile record would stop its feed where it is published.
    try:
        ticks = parse_instant(f"{year:04d}-{day}{zone}")
    except ValueError:
        return
    assert parse_instant(format_instant(ticks)) == ticks


@given(seconds=st.integers(0, 250_000_000_000))
def test_a_http_date_is_whole_seconds(seconds):
    moment = datetime.fromtimestamp(seconds, UTC)
    assert from_http_date(f"{moment:%a, %d %b %Y %H:%M:%S} GMT".replace("  ", " ")) == (
        seconds * TICKS
    )


@given(micros=st.integers(0, 4_000_000_000_000_000))
def test_unix_seconds_are_exact_to_the_microsecond(micros):
    assert from_unix(micros / 1e6) == micros * 10
