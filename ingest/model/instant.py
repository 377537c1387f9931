"""Instants as integers of 100 ns since 1970-01-01T00:00:00Z, exact where `datetime` is not.

Microsoft writes timestamps with 0 to 7 digits of fraction; seven do not fit `datetime`, and strings
of different width do not compare in time order. So an instant is an `int`: years 1 to 9999.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

TICKS = 10_000_000
"""Ticks in one second."""

_FORM = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,7})0*)?(?:[Zz]|([+-]\d{2}:\d{2}))",
    re.ASCII,
)
_UP_TO_MINUTE, _UP_TO_SECOND = 17, 19
_SCALE = {_UP_TO_SECOND + 2 + digits: 10 ** (7 - digits) for digits in range(1, 8)}
_SCALE[_UP_TO_SECOND + 1] = TICKS
"""By the length of a UTC timestamp with a fraction of up to 7 digits: ticks in its last digit."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def parse_instant(text: str) -> int:
    """Read an ISO 8601 timestamp with zone into ticks.

    Raises:
        ValueError: if it is not one, or lies outside the years 1 to 9999.
    """
    # Nearly all are of this form, and share their minute with others of the same page.
    scale = _SCALE.get(len(text))
    if (
        scale
        and (text[_UP_TO_SECOND] == "." or scale == TICKS)
        and text[-1] == "Z"
        and text.isascii()
    ):
        digits = text[_UP_TO_MINUTE:_UP_TO_SECOND] + text[_UP_TO_SECOND + 1 : -1]
        if digits.isdigit() and digits < "60":
            ticks: int = _minute(text[:_UP_TO_MINUTE]) + int(digits) * scale
            return ticks
    return _parse(text)


@lru_cache(maxsize=4096)
def _minute(text: str) -> int:
    return _parse(text + "00Z")


def _parse(text: str) -> int:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("not a timestamp of the form 2024-01-02T03:04:05.1234567Z")
    date, time, fraction, zone = match.groups()
    whole = datetime.fromisoformat(f"{date}T{time}{zone or '+00:00'}")
    try:
        whole = whole.astimezone(UTC)
    except OverflowError:
        raise ValueError("its zone takes it out of the years 1 to 9999") from None
    return (whole - _EPOCH) // _SECOND * TICKS + int((fraction or "").ljust(7, "0"))


def format_instant(ticks: int) -> str:
    """Write ticks as an ISO 8601 timestamp in UTC with all seven digits of fraction."""
    minutes, rest = divmod(ticks, 60 * TICKS)
    # A leading one keeps the zeros; a format with a width costs twice as much.
    digits = str(100 * TICKS + rest)
    return f"{_minute_text(minutes)}{digits[1:3]}.{digits[3:]}Z"


@lru_cache(maxsize=4096)
def _minute_text(minutes: int) -> str:
    """Most timestamps of a page share their minute with others: the slow part is done once."""
    return f"{_EPOCH + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:}".rjust(17, "0")


def from_http_date(text: str) -> int:
    """Read an HTTP `Date` header into ticks.

    Raises:
        ValueError: if it is not one.
    """
    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        # Of the three forms only the oldest, asctime's, has no zone and no comma (RFC 9110, 5.6.7).
        if "," in text:
            raise ValueError("a date without a zone")
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _SECOND * TICKS


def from_unix(seconds: float) -> int:
    """Turn Unix seconds into ticks, to the microsecond."""
    return round(seconds * 1_000_000) * 10


def to_unix(ticks: int) -> float:
    """Turn ticks into Unix seconds."""
    return ticks / TICKS
